"""Where a record's fields come from: a mapping of our names to a file's columns, constants and templates, and strict checks of each value.

A mapping gives each of our fields a source:

- `"note"` is the column of that name; `"meta.note"` looks into objects, and `"options.0"` into lists.
- `"=other"` is the constant `other`; `"=Findings: {findings}"` is a template, in which `{column}` is filled in (`{{` is a brace).
- a field that is not named has no source: it is empty, or has its declared default.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from annotation import records
from annotation.reading import strict_json
from annotation.records import Problems, Row

Mapped = Mapping[str, str]
MISSING: Any = ...
# Labels are short; see `annotation.models.Sample`.
LABELS = {"task_type": 60, "input_data": 80, "output_format": 20, "difficulty_level": 20, "error_type": 60}
MAX_SYSTEM = 80
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Options:
    """What the importer chose for what would stop a file; each use is counted and told of.

    nul: "refuse", or "replace" each NUL by U+FFFD. pairs: "refuse" pairs that are identical, empty or lack a side, or "exclude" them.
    doubles: "refuse" a file that says the same twice, or "exclude" what was there before (`annotation.reading.doubles`).
    bad: "refuse" a file that holds a row which cannot be stored, or "skip" such rows (`annotation.import_child.Reported`).
    """

    nul: str = "refuse"
    pairs: str = "refuse"
    doubles: str = "refuse"
    bad: str = "refuse"


STRICT = Options()


class TextRow(dict[str, Any]):
    """A row of a format whose every cell is text (CSV): numbers and nested values are written out in it."""


def get(row: Row, path: str) -> Any:
    """The value at a column's name, else at a dotted path into it; `MISSING` where there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def optional(row: Row, given: str, problems: Problems, place: int) -> Any:
    """The same for a field that may be absent: then MISSING, and no problem."""
    if not given:
        return MISSING
    if given.startswith("="):
        return fill(row, given[1:], problems, place)
    value = get(row, given)
    return MISSING if value is None else value


def source(row: Row, given: str, problems: Problems, place: int) -> Any:
    """What a mapping's entry means for this row; a missing column is a problem."""
    if given.startswith("="):
        return fill(row, given[1:], problems, place)
    value = get(row, given)
    if value is MISSING:
        problems.add(place, records.label(given), "The column is missing.", "import.column")
    return value


@lru_cache(maxsize=256)
def parts(template: str) -> tuple[tuple[str, str], ...]:
    """A template cut into (literal, column) pairs; the column is empty at the end and at a doubled brace."""
    made: list[tuple[str, str]] = []
    at = 0
    for found in _PLACE.finditer(template):
        literal = template[at : found.start()]
        made.append((literal + found.group()[0], "") if found.group(1) is None else (literal, found.group(1)))
        at = found.end()
    return (*made, (template[at:], ""))


def fill(row: Row, template: str, problems: Problems, place: int) -> Any:
    texts: list[str] = []
    for literal, column in parts(template):
        texts.append(literal)
        if column:
            value = get(row, column)
            if value is MISSING:
                problems.add(place, records.label(column), "The column is missing.", "import.column")
                return MISSING
            text = plain(value, problems, place, column)
            if text is None:
                return MISSING
            texts.append(text)
    return "".join(texts)


def text_of(row: Row, given: str, problems: Problems, place: int, options: Options = STRICT, *, required: bool = True) -> str | None:
    """A mapped text, checked; an absent one that is not required is the empty text. None after a problem."""
    if not given:
        if required:
            problems.add(place, "", "A column has to be mapped to a field that is required.", "import.column")
            return None
        return ""
    value = source(row, given, problems, place) if required else optional(row, given, problems, place)
    if value is MISSING:
        return None if required else ""
    name = "" if given.startswith("=") else records.label(given)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = "\n".join(value)
    return text(value, problems, place, name, options, required=required)


def label_of(row: Row, given: str, problems: Problems, place: int, *, most: int) -> str | None:
    value = optional(row, given, problems, place)
    if value is MISSING:
        return ""
    if isinstance(value, bool | int):
        value = plain(value, problems, place, given)
    return label(value, problems, place, records.label(given), most=most, required=False)


def plain(value: Any, problems: Problems, place: int, column: str) -> str | None:
    """A value as a template writes it: text as it is, whole numbers in decimals, lists of texts line by line, null as nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    problems.add(place, records.label(column), f"Text is expected, not {records.kind(value)}.", "import.type")
    return None


def text(value: Any, problems: Problems, place: int, column: str, options: Options = STRICT, *, required: bool = True) -> str | None:
    """The text if it can be stored, else None and a problem; tells of what is odd in it."""
    if isinstance(value, str) and options.nul == "replace" and "\x00" in value:
        problems.warn(place, column, f"{value.count(chr(0))} NUL became U+FFFD, as was asked.", "text.nul_replaced")
        value = value.replace("\x00", "\ufffd")
    found = records.check_text(value, problems, place, column, required=required)
    if found:
        records.notice_oddities(found, problems, place, column)
    return found


def label(value: Any, problems: Problems, place: int, column: str, *, most: int, required: bool = True) -> str | None:
    """A short text; control characters are refused in it, since it names something."""
    found = records.check_text(value, problems, place, column, required=required)
    if found is None:
        return None
    if len(found) > most:
        problems.add(place, column, f"The label has {len(found)} characters; {most} are allowed.", "text.too_long")
        return None
    if not found.isprintable():
        problems.add(place, column, "The label holds a control character.", "text.control")
        return None
    return found


def identifier(value: Any, problems: Problems, place: int, column: str) -> str | None:
    """An identifier; whole numbers are written in decimals. Null and absence are the empty text: the row's digest will name it."""
    if value is None or value is MISSING or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return records.check_id(value, problems, place, column)


def number(value: Any, row: Row, problems: Problems, place: int, column: str, *, low: float, high: float, scale: str) -> float | None:
    """A number on a scale, or None: where there is none (null, an empty cell), or where it is a problem. Text is no number, save in CSV."""
    if value is None or value is MISSING:
        return None
    if isinstance(row, TextRow) and isinstance(value, str):
        if not value:
            return None
        if _NUMBER.fullmatch(value) and len(value) < 40:
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.add(place, column, "A number is expected.", "import.type")
        return None
    if not low <= value <= high:
        problems.add(place, column, scale, "import.type")
        return None
    return float(value)


def whole(value: Any) -> int | None:
    """A whole number, from CSV too; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value) and len(value) < 20:
        return int(value)
    return None


def nested(value: Any, row: Row, problems: Problems, place: int) -> Any:
    """A list or an object; in CSV it is written as JSON in its cell. Something else is given back as it is."""
    if isinstance(row, TextRow) and isinstance(value, str) and value[:1] in "[{" and value:
        if full := strict_json.too_full(value):
            problems.add(place, "", full[1], full[0])
            return MISSING
        return strict_json.parse(value, problems, place)
    return value


def as_json(value: Any) -> str:
    """A nested value as text, canonical, for what has no field of its own."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
