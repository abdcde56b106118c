"""Reading other people's files strictly: every refusal names a line and a field, and never repeats the text it found there."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

MAX_TEXT = 200_000
MAX_PROBLEMS = 50
# Reading stops here: a file this wrong is another kind of file.
ENOUGH = 10_000
MAX_ID = 120

Row = dict[str, Any]

_LABEL = re.compile(r"[\w &/,().-]{1,40}")
# Text that some tokenizer would read as a turn of its own: Phi, ChatML, Llama, Gemma, Mistral.
_SPECIAL_TOKEN = re.compile(r"<\|[A-Za-z0-9_]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>")
# Control, direction-changing, zero-width and tag characters are kept as they are, and counted: a reader should know of them.
_ODD = re.compile(
    "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)
_ODD_ASCII = bytes([*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_SURROGATE = re.compile("[\ud800-\udfff]")
# What a problem of this kind answers over HTTP; everything else is a 422 (the client can put it right).
STATUS = {"upload.too_large": 413, "import.conflict": 409}


@dataclass(frozen=True)
class Problem:
    """What is wrong where. `line` counts from 1 in the file's own `unit`, 0 means the file as a whole; `field` is a column's name or empty.

    `code` is stable: programs may rely on it, people read the message.
    """

    line: int
    field: str
    message: str
    code: str = "import.invalid"
    unit: str = "Line"

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 422)

    def __str__(self) -> str:
        where = f"{self.unit} {self.line}" if self.line else "The file"
        return f"{where}{f', {self.field}' if self.field else ''}: {self.message}"


class ImportRefused(Exception):
    """A file was not taken. `problems` holds the first 50 in the order of the file; `total` counts them all. Nothing was stored."""

    def __init__(self, problems: Iterable[Problem], total: int | None = None) -> None:
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        self.status = self.problems[0].status
        many = f"{self.total}{' or more' if self.total >= ENOUGH else ''} problem{'s' if self.total != 1 else ''}"
        super().__init__(f"{many}; nothing was stored. First: {self.problems[0]}")


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

    def warn(self, line: int, column: str, message: str, code: str = "import.unusual") -> None:
        self.warning_count += 1
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(line, column, message, code))

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
    """Collects what stops an import and what it only tells of, until there is too much to be of use.

    `found` and `warnings` hold the first 50 each; `total`, `warning_count` and `counts` (by code) count them all. `left_out` counts rows
    that were left out on request, by code. `unit` is what a place in this file is called.
    """

    def __init__(self, unit: str = "Line") -> None:
        self.unit = unit
        self.found: list[Problem] = []
        self.total = 0
        self.warnings: list[Problem] = []
        self.warning_count = 0
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(self, line: int, column: str, message: str, code: str = "import.invalid") -> None:
        self.total += 1
        self.counts[code] += 1
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(line, column, message, code, self.unit))

    def warn(self, line: int, column: str, message: str, code: str = "import.unusual") -> None:
        self.warning_count += 1
        self.counts[code] += 1
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(line, column, message, code, self.unit))

    def leave_out(self, line: int, column: str, message: str, code: str) -> None:
        self.left_out[code] += 1
        self.warn(line, column, message, code)

    @property
    def enough(self) -> bool:
        return self.total >= ENOUGH

    def refuse_if_any(self) -> None:
        if self.total:
            raise ImportRefused(self.found, self.total)


Told = Problems | ImportReport


def check_text(value: Any, problems: Problems, number: int, column: str, *, required: bool = True) -> str | None:
    """The text if it can be stored, else None and a problem. Never coerces."""
    if not isinstance(value, str):
        problems.add(number, column, f"Text is expected, not {kind(value)}.", "import.type")
    elif required and (not value or value.isspace()):
        problems.add(number, column, "The text is empty.", "text.empty")
    elif len(value) > MAX_TEXT:
        problems.add(number, column, f"The text has {len(value):,} characters; {MAX_TEXT:,} are allowed.", "text.too_long")
    elif (at := value.find("\x00")) >= 0:
        problems.add(number, column, f"The text holds a NUL character at position {at + 1}, which no database can store.", "text.nul")
    elif not value.isascii() and (found := _SURROGATE.search(value)):
        problems.add(
            number, column, f"The text holds half a character (a lone surrogate) at position {found.start() + 1}.", "text.surrogate"
        )
    else:
        return value
    return None


def check_id(value: Any, problems: Problems, number: int, column: str) -> str | None:
    """An identifier: short, printable, no white space at its ends."""
    text = check_text(value, problems, number, column)
    if text is None:
        return None
    if len(text) > MAX_ID:
        problems.add(number, column, f"The identifier has {len(text)} characters; {MAX_ID} are allowed.", "text.too_long")
    elif not text.isprintable():
        problems.add(number, column, "The identifier holds a control character.", "text.control")
    elif text != text.strip():
        problems.add(number, column, "The identifier begins or ends with white space.", "text.control")
    else:
        return text
    return None


def notice_oddities(value: str, report: Told, number: int, column: str) -> None:
    if many := _odd(value):
        report.warn(
            number,
            column,
            f"The text holds {many} control, direction-changing or zero-width character{'s' if many > 1 else ''}; it was kept as it is.",
            "text.control",
        )
    if many := _special_tokens(value):
        marks = f"{many} marks that look like a model's control tokens" if many > 1 else "what looks like a model's control token"
        report.warn(number, column, f"The text holds {marks}; training reads it as plain text.", "text.special_token")


def unremarkable(value: Any) -> bool:
    """Whether there is nothing to say about a value: a text of allowed length without anything that `check_text` or
    `notice_oddities` would tell of. It may be empty."""
    return (
        type(value) is str
        and len(value) <= MAX_TEXT
        and "\x00" not in value
        and not _odd(value)
        and (value.isascii() or not _SURROGATE.search(value))
        and not _special_tokens(value)
    )


def _odd(value: str) -> int:
    # Asked of every text of millions of rows: a table of bytes is six times as fast as a pattern.
    if value.isascii():
        return len(value) - len(value.encode().translate(None, _ODD_ASCII))
    if value.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return 0
    return len(_ODD.findall(value))


def _special_tokens(value: str) -> int:
    """How many there are. A text with few brackets is asked at its brackets only."""
    if not ("<" in value and ">" in value) and not ("[" in value and "]" in value):
        return 0
    if value.count("<") + value.count("[") > 30:
        return len(_SPECIAL_TOKEN.findall(value))
    found = 0
    for bracket in "<[":
        at = value.find(bracket)
        while at >= 0:
            if mark := _SPECIAL_TOKEN.match(value, at):
                found += 1
            at = value.find(bracket, mark.end() if mark else at + 1)
    return found


def label(value: str) -> str:
    """A short label as it may be shown in a message; anything longer may be clinical text and is only described."""
    return value if _LABEL.fullmatch(value) else f"({len(value)} characters)"


def digest_of(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def text_digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def kind(value: Any) -> str:
    """What a value is, in words that repeat nothing of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str | list | dict):
        return {str: "text", list: "a list", dict: "an object"}[next(t for t in (str, list, dict) if isinstance(value, t))]
    return "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"
