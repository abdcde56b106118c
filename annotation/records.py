"""Reading other people's files strictly: every refusal names a line and a field, and never repeats the text it found there."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any

MAX_LINE_BYTES = 4 * 2**20
MAX_TEXT = 200_000
MAX_PROBLEMS = 50
MAX_ID = 120

Row = dict[str, Any]

_LABEL = re.compile(r"[\w &/,().-]{1,40}")
_SPECIAL_TOKEN = re.compile(r"<\|[a-z_]{1,30}\|>")
# Control and direction-changing characters are kept as they are, and counted: a reader should know of them.
_ODD = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f‪-‮⁦-⁩]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive or an Office file",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong where. `line` counts from 1, 0 means the file as a whole; `field` is a column's name or empty."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"Line {self.line}" if self.line else "The file"
        return f"{where}{f', {self.field}' if self.field else ''}: {self.message}"


class ImportRefused(Exception):
    """A file was not taken. `problems` holds the first 50 in the order of the file; `total` counts them all. Nothing was stored."""

    def __init__(self, problems: Iterable[Problem], total: int | None = None) -> None:
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__(f"{self.total} problem{'s' if self.total != 1 else ''}; nothing was stored. First: {self.problems[0]}")


@dataclass
class ImportReport:
    """What an import did. `stored` rows are new, `already` rows were there before; `warnings` were kept as they are."""

    source: str
    rows: int = 0
    stored: int = 0
    already: int = 0
    by_group: dict[str, int] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)
    warning_count: int = 0
    file_digest: str = ""

    def warn(self, line: int, column: str, message: str) -> None:
        self.warning_count += 1
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(line, column, message))

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "rows": self.rows,
            "stored": self.stored,
            "already": self.already,
            "by_group": self.by_group,
            "warnings": self.warning_count,
            "file_digest": self.file_digest,
        }


class Problems:
    """Collects problems until there are too many to be of use."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.total = 0

    def add(self, line: int, column: str, message: str) -> None:
        self.total += 1
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(line, column, message))

    def refuse_if_any(self) -> None:
        if self.total:
            raise ImportRefused(self.found, self.total)


class _BadNumber(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise KeyError(twice)
    return row


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadNumber(f"the number {text[:20]} is too large")
    return value


def _constant(name: str) -> Any:
    raise _BadNumber(f"{name} is not a JSON number")


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)


def lines(file: IO[bytes], problems: Problems, digest: Any = None) -> Iterator[tuple[int, str]]:
    """Numbered lines of UTF-8 text, split at line feeds only, without their ends. Stops at the first line that is not text.

    A byte-order mark at the very start is dropped; blank lines are skipped.
    """
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if digest is not None:
            digest.update(raw)
        if number == 1:
            for signature, kind in _SIGNATURES.items():
                if raw.startswith(signature):
                    problems.add(1, "", f"This looks like {kind}. Save it as UTF-8 text.")
                    return
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > MAX_LINE_BYTES:
            problems.add(number, "", f"The line is longer than {MAX_LINE_BYTES // 2**20} MiB. Is each record on a line of its own?")
            return
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            problems.add(
                number, "", f"Byte 0x{raw[error.start]:02X} at byte {error.start + 1} of the line is not UTF-8. Save the file as UTF-8."
            )
            return
        if text.strip():
            yield number, text.removesuffix("\n").removesuffix("\r")


def read_jsonl(file: IO[bytes], problems: Problems, digest: Any = None) -> Iterator[tuple[int, Row]]:
    """One JSON object a line, strictly: no NaN, no infinite number, no key twice, nothing after the object."""
    for number, text in lines(file, problems, digest):
        try:
            value = _decoder.decode(text)
        except json.JSONDecodeError as error:
            problems.add(number, "", f"Not valid JSON at column {error.colno}: {_plain(error.msg)}.")
            if number == 1 and text.lstrip().startswith(("<", "PK")):
                return
            if number == 1 and text.strip() in {"[", "{"}:
                problems.add(number, "", "This is one JSON document over several lines; write one object a line.")
                return
        except KeyError as error:
            problems.add(number, label(str(error.args[0])), "The key occurs twice in one object.")
        except _BadNumber as error:
            problems.add(number, "", f"Not a number that can be stored: {error}.")
        except RecursionError:
            problems.add(number, "", "Nested too deeply; fields hold text or numbers.")
        except ValueError:
            problems.add(number, "", "A number has too many digits.")
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                problems.add(number, "", f"The line holds {_kind(value)}; one object a line is expected.")
                if number == 1 and isinstance(value, list):
                    return


def check_text(value: Any, problems: Problems, number: int, column: str, *, required: bool = True) -> str | None:
    """The text if it can be stored, else None and a problem. Never coerces."""
    if not isinstance(value, str):
        problems.add(number, column, f"Text is expected, not {_kind(value)}.")
    elif required and not value.strip():
        problems.add(number, column, "The text is empty.")
    elif len(value) > MAX_TEXT:
        problems.add(number, column, f"The text has {len(value):,} characters; {MAX_TEXT:,} are allowed.")
    elif (at := value.find("\x00")) >= 0:
        problems.add(number, column, f"The text holds a NUL character at position {at + 1}, which no database can store.")
    elif found := _SURROGATE.search(value):
        problems.add(number, column, f"The text holds half a character (a lone surrogate) at position {found.start() + 1}.")
    else:
        return value
    return None


def check_id(value: Any, problems: Problems, number: int, column: str) -> str | None:
    """An identifier: short, printable, no white space at its ends."""
    text = check_text(value, problems, number, column)
    if text is None:
        return None
    if len(text) > MAX_ID:
        problems.add(number, column, f"The identifier has {len(text)} characters; {MAX_ID} are allowed.")
    elif not text.isprintable():
        problems.add(number, column, "The identifier holds a control character.")
    elif text != text.strip():
        problems.add(number, column, "The identifier begins or ends with white space.")
    else:
        return text
    return None


def notice_oddities(value: str, report: ImportReport, number: int, column: str) -> None:
    if _ODD.search(value):
        report.warn(number, column, "The text holds control or direction-changing characters; it was kept as it is.")
    if _SPECIAL_TOKEN.search(value):
        report.warn(number, column, "The text holds what looks like a model's control token; training reads it as plain text.")


def label(value: str) -> str:
    """A short label as it may be shown in a message; anything longer may be clinical text and is only described."""
    return value if _LABEL.fullmatch(value) else f"({len(value)} characters)"


def digest_of(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def text_digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {"int": "a number", "float": "a number", "str": "text", "list": "a list", "dict": "an object"}[type(value).__name__]


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:]
