"""Excel workbooks (.xlsx), the first sheet, streamed; what the zip archive claims is looked at before anything is unpacked."""

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from xml.parsers import expat

from annotation.reading import tables
from annotation.reading.fields import TextRow
from annotation.reading.limits import LIMITS, MAX_LINE_BYTES, MIB, Limits
from annotation.records import Problems, Row

MAX_ENTRIES = 1000
MAX_DIRECTORY = 256 * 1024
MAX_BLANK_ROWS = 100_000
RATIO_FROM = 4 * MIB
_CONTENT = "[Content_Types].xml"
_TEXTS = "xl/sharedStrings.xml"


class _Declared(Exception):
    """An XML part declares a document type, which is where entities that unfold come from."""


class _Started(Exception):
    """The first element was reached: no document type can follow."""


def is_workbook(path: Path) -> bool:
    """Whether a zip archive is an Excel workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return _CONTENT in names and any(name.startswith("xl/") for name in names)


def rows(path: Path, problems: Problems, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(row of the sheet, its cells by the first row's names). Empty cells are empty texts, dates ISO texts, numbers numbers."""
    if not safe(path, problems, limits):
        return
    # Costs a tenth of a second that only workbooks should cost.
    import openpyxl

    try:
        # By its bytes: of a path the library wants to see the ending.
        file = path.open("rb")
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        try:
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            if not sheets:
                problems.add(0, "", "The workbook has no sheet that is shown.", "import.empty")
                return
            if len(sheets) > 1:
                problems.warn(0, "", f"The workbook has {len(sheets)} sheets; only the first was read.", "import.sheets")
            # What the sheet says of its own size may be anything.
            sheets[0].reset_dimensions()
            yield from _cells(sheets[0], problems, limits)
        finally:
            book.close()
            file.close()
    except Exception as error:
        # The library's own failures on a file that is no workbook are of every kind.
        if isinstance(error, MemoryError):
            raise
        problems.add(0, "", f"The workbook is damaged ({type(error).__name__}).", "upload.damaged")


def _cells(sheet: Any, problems: Problems, limits: Limits) -> Iterator[tuple[int, Row]]:
    names: list[str] = []
    blank = 0
    for place, given in enumerate(sheet.iter_rows(values_only=True), start=1):
        if place > limits.rows:
            problems.add(place, "", f"More than {limits.rows:,} rows: send the workbook in parts.", "upload.too_large")
            return
        cells = [_value(value) for value in given]
        while cells and cells[-1] == "":
            cells.pop()
        if not cells:
            blank += 1
            if blank > MAX_BLANK_ROWS:
                problems.add(place, "", f"More than {MAX_BLANK_ROWS:,} empty rows.", "upload.too_large")
                return
            continue
        if not names:
            names = [cell if isinstance(cell, str) else str(cell) for cell in cells]
            if not tables.sound(names, problems, place):
                return
            continue
        if len(cells) > len(names):
            problems.add(place, "", f"The row has {len(cells)} cells, the header {len(names)}.", "import.cells")
            if problems.enough:
                return
            continue
        yield place, TextRow(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=True))


def _value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) else str(value)


def safe(path: Path, problems: Problems, limits: Limits = LIMITS) -> bool:
    """Whether a workbook's archive is small enough, honest and without document types. Looked at without unpacking it."""
    if not _directory_fits(path, problems):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if (refusal := _refusal(entries, path.stat().st_size, limits)) is not None:
                problems.add(0, "", refusal[1], refusal[0])
                return False
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels", ".vml")) and _declares(archive, entry):
                    problems.add(0, "", "A part of the workbook declares an XML document type, which no workbook needs.", "upload.type")
                    return False
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, expat.ExpatError, RuntimeError) as error:
        problems.add(0, "", f"The workbook is damaged ({type(error).__name__}).", "upload.damaged")
        return False
    return True


def _refusal(entries: list[zipfile.ZipInfo], size: int, limits: Limits) -> tuple[str, str] | None:
    names = [entry.filename for entry in entries]
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or len(set(names)) != len(names):
        return "upload.type", "The archive holds too many parts, or one twice."
    if any(entry.flag_bits & 1 for entry in entries):
        return "upload.type", "The workbook is encrypted. Save it without a password."
    if _CONTENT not in names:
        return "upload.type", "This zip archive is no workbook."
    if any(name.startswith("/") or ".." in name.split("/") or "\\" in name for name in names):
        return "upload.type", "A part of the archive lies outside of it."
    if any(entry.external_attr >> 28 == 0xA for entry in entries):
        return "upload.type", "The archive holds a link."
    if any(name.casefold().endswith((".zip", ".gz", ".xlsx", ".xlsm", ".7z", ".bz2", ".xz")) for name in names):
        return "upload.ratio", "The workbook holds another archive."
    if unpacked > RATIO_FROM and unpacked > limits.ratio * size:
        return "upload.ratio", f"It unpacks to more than {limits.ratio} times its size, which a sheet of texts does not."
    if unpacked > limits.workbook_bytes:
        return "upload.too_large", f"It unpacks to {unpacked // MIB:,} MiB; {limits.workbook_bytes // MIB} MiB are allowed. Save it as CSV."
    texts = next((entry.file_size for entry in entries if entry.filename == _TEXTS), 0)
    if texts > limits.workbook_texts_bytes:
        return (
            "upload.too_large",
            f"Its texts have {texts // MIB:,} MiB; {limits.workbook_texts_bytes // MIB} MiB are allowed in a workbook. Save it as CSV.",
        )
    return None


def _directory_fits(path: Path, problems: Problems) -> bool:
    """Whether the archive's list of parts is small: reading it takes memory for each."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        problems.add(0, "", "The workbook is cut off: the archive's end is missing.", "upload.damaged")
        return False
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory > MAX_DIRECTORY or tail[max(0, at - 20) : max(0, at - 20) + 4] == b"PK\x06\x07":
        problems.add(0, "", "The archive holds more parts than a workbook has.", "upload.too_large")
        return False
    return True


def _declares(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether an XML part declares a document type. Read up to its first element only."""
    parser = expat.ParserCreate()

    def declared(*_: Any) -> None:
        raise _Declared

    def started(*_: Any) -> None:
        raise _Started

    parser.StartDoctypeDeclHandler = declared
    parser.StartElementHandler = started
    try:
        with archive.open(entry) as part:
            read = 0
            while data := part.read(16 * 1024):
                read += len(data)
                parser.Parse(data, False)
                if read > MAX_LINE_BYTES:
                    return True
    except _Declared:
        return True
    except _Started:
        return False
    return False
