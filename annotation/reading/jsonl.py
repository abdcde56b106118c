"""JSON Lines: one object a line, split at line feeds only, strictly."""

from collections.abc import Iterator
from typing import IO, Any

from annotation.reading import strict_json
from annotation.reading.limits import LIMITS, MAX_BLANK, MAX_LINE_BYTES, MIB, Limits
from annotation.records import Problems, Row

BOM = b"\xef\xbb\xbf"
# What a JSON text may have around its values; str.strip() would also swallow U+2028 and its like.
WHITE = " \t\r\n"
# Longer lines are not counted as blank ones.
SHORT = 16
SIGNATURES = {
    b"PK\x03\x04": "a zip archive or an Office file",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"SQLite format 3": "a SQLite database",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
}
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def lines(
    file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS, *, most: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, str]]:
    """Numbered lines of UTF-8 text, split at line feeds only, without their ends. Stops at the first line that is not text.

    A byte-order mark at the very start is dropped and told of; blank lines are skipped.
    """
    for number, text in enumerate(whole_lines(file, problems, digest, limits, most=most), start=1):
        bare = text.removesuffix("\n").removesuffix("\r")
        if bare.strip(WHITE):
            yield number, bare


def whole_lines(
    file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS, *, most: int = MAX_LINE_BYTES
) -> Iterator[str]:
    """The same with their ends, and blank ones too."""
    number = total = blank = 0
    while raw := file.readline(most + 1):
        number += 1
        size = len(raw)
        total += size
        if digest is not None:
            digest.update(raw)
        if number == 1:
            if wrong_type(raw, problems):
                return
            if raw.startswith(BOM):
                raw = raw[len(BOM) :]
                problems.warn(1, "", "The file begins with a byte-order mark, which was not taken as text.", "import.bom")
        if size > most:
            problems.add(
                number, "", f"The line is longer than {most // MIB} MiB. Is each record on a line of its own?", "upload.line_too_long"
            )
            return
        if total > limits.bytes:
            problems.add(number, "", f"More than {limits.bytes // MIB:,} MiB of text: send the file in parts.", "upload.too_large")
            return
        if number > limits.rows:
            problems.add(number, "", f"More than {limits.rows:,} lines: send the file in parts.", "upload.too_large")
            return
        if size < SHORT:
            blank += not raw.strip()
            if blank > MAX_BLANK:
                problems.add(number, "", f"More than {MAX_BLANK:,} blank lines.", "upload.too_large")
                return
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            not_utf8(raw, error, number, problems)
            return
        if problems.enough:
            return


def wrong_type(head: bytes, problems: Problems) -> bool:
    """Whether the first bytes are those of something else than UTF-8 text; told of then."""
    if head.startswith(UTF16):
        problems.add(1, "", "This looks like UTF-16 text. Save it as UTF-8.", "import.encoding")
        return True
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            problems.add(
                1,
                "",
                f"This looks like {name}, not like lines of text. Send it under its own name, or save it as UTF-8 text.",
                "upload.type",
            )
            return True
    if head.lstrip()[:1] == b"<":
        problems.add(1, "", "This looks like a web page or XML, not like data in lines.", "upload.type")
        return True
    return False


def not_utf8(raw: bytes, error: UnicodeDecodeError, number: int, problems: Problems) -> None:
    column = len(raw[: error.start].decode("utf-8")) + 1
    problems.add(
        number, "", f"Byte 0x{raw[error.start]:02X} at byte {error.start + 1} of the line (column {column}) is not UTF-8. Save the file as "
        "UTF-8.", "import.encoding",
    )  # fmt: skip


def rows(file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """One JSON object a line, strictly: no NaN, no infinite number, no key twice, nothing after the object."""
    return strict_json.objects(lines(file, problems, digest, limits), problems)
