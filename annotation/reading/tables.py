"""Comma-, semicolon- and tab-separated values, strictly: quoted cells may hold line breaks, every row has the header's cells."""

import csv
from collections.abc import Iterator
from typing import IO, Any

from annotation.reading import jsonl
from annotation.reading.fields import TextRow
from annotation.reading.limits import LIMITS, MAX_COLUMNS, MAX_LINE_BYTES, Limits
from annotation.records import Problems, Row, label

# The module's own limit is 128 KiB a cell, for the whole process.
csv.field_size_limit(MAX_LINE_BYTES)
MAX_CELLS = 100_000


def rows(
    file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS, *, delimiter: str = ",", header: bool = True
) -> Iterator[tuple[int, Row]]:
    """(line on which the row begins, its cells by the header's names), all of them text. Rows whose cells are all empty are skipped and
    told of. Without a header the columns are called column_1, column_2, …"""
    reader = csv.reader(_bounded(jsonl.whole_lines(file, problems, digest, limits), delimiter, problems), delimiter=delimiter, strict=True)
    names: list[str] = []
    begins = 1
    try:
        for cells in reader:
            place, begins = begins, reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = cells if header else [f"column_{number}" for number in range(1, len(cells) + 1)]
                if not sound(names, problems, place):
                    return
                if header:
                    continue
            if not any(cells):
                problems.warn(place, "", "All cells of the row are empty; it was skipped.", "import.empty_row")
            elif len(cells) != len(names):
                problems.add(place, "", f"The row has {len(cells)} cells, the header {len(names)}.", "import.cells")
                if problems.enough:
                    return
            else:
                yield place, TextRow(zip(names, cells, strict=True))
    except csv.Error as error:
        problems.add(begins, "", f"Not valid CSV: {_words(error)}.", "import.csv")


def _bounded(lines: Iterator[str], delimiter: str, problems: Problems) -> Iterator[str]:
    """The lines, up to one of more cells than would fit into memory."""
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_CELLS and line.count(delimiter) > MAX_CELLS:
            problems.add(number, "", f"The line has more than {MAX_CELLS:,} cells; {MAX_COLUMNS} columns are allowed.", "import.columns")
            return
        yield line


def sound(names: list[str], problems: Problems, place: int) -> bool:
    """Whether a header names each column once."""
    before = problems.total
    if len(names) > MAX_COLUMNS:
        problems.add(place, "", f"The header has {len(names)} columns; {MAX_COLUMNS} are allowed.", "import.columns")
        return False
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(place, label(name), "The header names this column twice.", "import.duplicate_key")
    for number, name in enumerate(names, start=1):
        if not name.strip():
            problems.add(place, "", f"Column {number} has no name.", "import.columns")
        elif not name.isprintable():
            problems.add(place, label(name), f"The name of column {number} holds a control character.", "text.control")
    return problems.total == before


def _words(error: csv.Error) -> str:
    words = str(error)
    if "field limit" in words:
        return f"a cell is longer than {MAX_LINE_BYTES // 2**20} MiB; is a quotation mark not closed"
    return words.replace("'\"'", "a quotation mark").split(" - ")[0]
