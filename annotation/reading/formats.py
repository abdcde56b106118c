"""The formats that are read, each as a stream of numbered rows; what a file is by its bytes."""

import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from annotation.reading import arrays, columnar, folders, iob, jsonl, opening, tables, workbooks
from annotation.reading.limits import LIMITS, Limits
from annotation.records import Problems, Row

TEXTS: dict[str, Callable[..., Iterator[tuple[int, Row]]]] = {
    "jsonl": jsonl.rows,
    "json": arrays.rows,
    "csv": tables.rows,
    "csv_semicolon": partial(tables.rows, delimiter=";"),
    "csv_tab": partial(tables.rows, delimiter="\t"),
    "csv_no_header": partial(tables.rows, header=False),
    "iob": iob.rows,
}
FORMATS = {
    "jsonl": "JSON Lines",
    "jsonl.gz": "JSON Lines, gzip",
    "jsonl.zst": "JSON Lines, Zstandard",
    "json": "JSON, one document",
    "json.gz": "JSON, one document, gzip",
    "csv": "CSV",
    "csv.gz": "CSV, gzip",
    "csv.zst": "CSV, Zstandard",
    "csv_semicolon": "CSV with semicolons",
    "csv_tab": "CSV with tabs",
    "csv_no_header": "CSV without a header",
    "iob": "Tagged sentences (IOB)",
    "parquet": "Parquet",
    "arrow": "Arrow stream",
    "xlsx": "Excel workbook",
    "hf": "Data set folder",
    "potato": "Potato export with its items",
}
# What the place of a row is called in each format, where it is not a line.
UNITS = {"json": "Record", "parquet": "Row", "arrow": "Row", "xlsx": "Row", "hf": "Row"}
READ = 1024 * 1024


def rows(path: Path, *, format: str, problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(place, row) of every row that can be read; what cannot is a problem. Memory is flat: a row, a line or a small batch at a time.

    `format` is one of FORMATS, or empty: then it is found out. "hf:CONFIG" and "hf:CONFIG:SPLIT" name a part of a data set folder. The
    place is what a person would look for: a line of text, a record of an array, a row of a table (`UNITS`). `digest` is fed every byte of
    the file as it was sent, in a folder those of the files that are read. A generator: nothing happens before it is asked. Raises
    KeyError for an unknown format, OSError.
    """
    kind, _, wanted = (format or recognise(path, "", problems)).partition(":")
    if not kind:
        return
    base, _, codec = kind.partition(".")
    problems.unit = UNITS.get(base, "Line")
    if base == "hf":
        yield from folders.rows(path, wanted, problems, digest, limits, _read)
    elif base == "potato":
        yield from folders.potato_rows(path, problems, digest, limits, _read)
    elif base in TEXTS:
        if not opening.too_large(path, problems, limits):
            # A digest of a packed file is of the packed bytes.
            with opening.opened(path, codec, problems, digest, limits) as file:
                yield from TEXTS[base](file, problems, None, limits)
    elif not opening.too_large(path, problems, limits):
        reader = {"parquet": columnar.parquet, "arrow": columnar.arrow, "xlsx": workbooks.rows}[base]
        if digest is not None:
            _feed(path, digest)
        yield from reader(path, problems, limits)


def lines(path: Path, *, format: str, problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, str]]:
    """The numbered lines of "jsonl", "jsonl.gz" or "jsonl.zst", blank ones left out, not looked into; else as `rows`."""
    problems.unit = "Line"
    if not opening.too_large(path, problems, limits):
        with opening.opened(path, format.partition(".")[2], problems, digest, limits) as file:
            yield from jsonl.lines(file, problems, None, limits)


def _read(path: Path, format: str, problems: Problems, digest: Any, limits: Limits) -> Iterator[tuple[int, Row]]:
    return rows(path, format=format, problems=problems, digest=digest, limits=limits)


def _feed(path: Path, digest: Any) -> None:
    with path.open("rb") as file:
        while data := file.read(READ):
            digest.update(data)


def recognise(path: Path, name: str, problems: Problems) -> str:
    """The format of a file or folder by what it holds; empty and a problem for one that is not read.

    `name` decides only where two formats look alike: a document that begins with an array is refused as JSON Lines when it is called so.
    """
    if path.is_dir():
        return _folder(path, problems)
    name = (name or path.name).casefold()
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        problems.add(0, "", "The file holds no records.", "import.empty")
        return ""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\xff\xff\xff\xff") or head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"PK\x03\x04"):
        return _archive(path, problems)
    codec = "gz" if head.startswith(b"\x1f\x8b") else "zst" if head.startswith(b"\x28\xb5\x2f\xfd") else ""
    start = b""
    with opening.opened(path, codec, problems, None) as file:
        start = file.read(64 * 1024)
    if problems.total:
        return ""
    base = _text_format(start, name.removesuffix(f".{codec}") if codec else name, problems)
    return f"{base}.{codec}" if base and codec else base


def _folder(path: Path, problems: Problems) -> str:
    try:
        if folders.potato(path):
            return "potato"
        folders.parts(path)
    except folders.Unfit as error:
        problems.add(0, "", str(error), "upload.type")
        return ""
    return "hf"


def _archive(path: Path, problems: Problems) -> str:
    try:
        if workbooks.is_workbook(path):
            return "xlsx"
        with zipfile.ZipFile(path) as archive:
            many = len(archive.namelist())
        what = f"This is a zip archive of {many:,} files. Unpack it and send the data file itself."
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        what = "This looks like a damaged zip archive."
    problems.add(0, "", what, "upload.type")
    return ""


def _text_format(start: bytes, name: str, problems: Problems) -> str:
    if jsonl.wrong_type(start, problems):
        return ""
    bare = start.removeprefix(jsonl.BOM).lstrip(b" \t\r\n")
    if not bare:
        if len(start) < 64 * 1024:
            problems.add(0, "", "The file holds no records.", "import.empty")
            return ""
        return "jsonl"
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if bare[:1] == b"[":
        return "json"
    if bare[:1] == b"{":
        return "jsonl" if _one_a_line(bare) and not (name.endswith(".json") and _keyed(bare)) else "json"
    if name.endswith((".json",)):
        return "json"
    return _table(start, name)


def _one_a_line(bare: bytes) -> bool:
    """Whether a text that begins with an object has it on its first line."""
    first, feed, _ = bare.partition(b"\n")
    first = first.rstrip()
    return first.endswith(b"}") or not feed


def _keyed(bare: bytes) -> bool:
    """Whether a text is one line that begins with an object inside an object: records by their keys."""
    return b"\n" not in bare.rstrip() and re.match(rb'\{\s*"[^"\\]*"\s*:\s*\{', bare) is not None


def _table(start: bytes, name: str) -> str:
    text = start.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = [line.removesuffix("\r") for line in text.split("\n")[:200] if line.strip()]
    if len(start) == 64 * 1024 and len(lines) > 1:
        lines = lines[:-1]
    tagged = [line for line in lines if line.count("\t") == 1 and (line.endswith("\tO") or "\tB-" in line or "\tI-" in line)]
    if lines and len(tagged) == len(lines):
        return "iob"
    first = lines[0] if lines else ""
    counts = {kind: first.count(mark) for kind, mark in (("csv", ","), ("csv_semicolon", ";"), ("csv_tab", "\t"))}
    best = max(counts, key=lambda kind: counts[kind])
    if name.endswith(".tsv") and counts["csv_tab"]:
        best = "csv_tab"
    if not counts[best]:
        return "csv"
    return best
