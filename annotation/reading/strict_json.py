"""One JSON value, strictly (RFC 8259): nothing that Python's reader would mend in silence is taken.

Refused are NaN, Infinity, numbers beyond a double or that a double would make zero, integers of more than 4,300 digits, a key twice in
one object, nesting deeper than 32, more values than a row can mean. Reading is the C scanner's; what it lets pass is counted afterwards,
and only where the text has brackets enough to be suspicious.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from annotation.reading.limits import MAX_DEPTH, MAX_VALUES
from annotation.records import Problems, Row, kind, label

_MASKED = 40
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_OPENED = re.compile(rb"[\[{]{%d}" % (MAX_DEPTH + 1))
_TEXTS = re.compile(r'"(?:[^"\\]|\\.)*"')


class _BadNumber(ValueError):
    pass


class _Twice(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        seen: set[str] = set()
        raise _Twice(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return row


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadNumber(f"the number {text[:20]} is too large")
    if value == 0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
        raise _BadNumber(f"the number {text[:20]} is too small")
    return value


def _constant(name: str) -> Any:
    raise _BadNumber(f"{name} is not a JSON number")


decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)


def parse(text: str, problems: Problems, place: int) -> Any:
    """The value, or `problems` and Ellipsis (which no JSON means)."""
    try:
        value = decoder.decode(text)
    except ValueError as error:
        explain(error, text, problems, place)
        return ...
    except RecursionError:
        problems.add(place, "", f"Nested too deeply: the depth limit is {MAX_DEPTH}.", "import.depth")
        return ...
    return value if bounded(value, text, problems, place) else ...


def objects(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Row]]:
    """The object on each numbered line; what is none is a problem. Stops where the first line shows that the file is one document."""
    for number, text in lines:
        if number == 1 and text.strip() in {"[", "{"}:
            what = "an array" if text.strip() == "[" else "an object that goes on below"
            problems.add(1, "", f"The line starts {what}; write one object a line.", "import.not_jsonl")
            return
        if len(text) > MAX_VALUES and (full := too_full(text)):
            problems.add(number, "", full[1], full[0])
            continue
        value = parse(text, problems, number)
        if isinstance(value, dict):
            yield number, value
        elif value is not ...:
            problems.add(number, "", f"The line holds {kind(value)}; one object a line is expected.", "import.not_jsonl")
            if number == 1 and isinstance(value, list):
                return


def bounded(value: Any, text: str, problems: Problems, place: int) -> bool:
    """Whether a value is no deeper and no fuller than a row may be."""
    brackets = text.count("{") + text.count("[")
    if brackets > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        problems.add(place, "", f"Nested too deeply: the depth limit is {MAX_DEPTH}.", "import.depth")
        return False
    return True


def too_full(text: str) -> tuple[str, str] | None:
    """(code, message) for a text that holds more values than a row can mean; asked before it is read, because each of them takes memory."""
    marks = text.count(",") + text.count("[") + text.count("{")
    if marks <= MAX_VALUES:
        return None
    bare = _TEXTS.sub("", text)
    if bare.count(",") + bare.count("[") + bare.count("{") <= MAX_VALUES:
        return None
    # Bytes that are no bracket fall away in place; a pattern would hold a million pieces.
    if _OPENED.search(bare.encode("utf-8", "replace").translate(None, _NO_BRACKET)):
        return "import.depth", f"Nested too deeply: the depth limit is {MAX_DEPTH}."
    return "import.values", f"More than {MAX_VALUES:,} values; a row has fewer."


def explain(error: ValueError, text: str, problems: Problems, place: int) -> None:
    """What the reader stumbled over, in words that name the place and repeat no letter of the text."""
    if isinstance(error, _Twice):
        problems.add(place, label(str(error.args[0])), "The key occurs twice in one object.", "import.duplicate_key")
    elif isinstance(error, _BadNumber):
        problems.add(place, "", f"Not a number that can be stored: {error}.", "import.number")
    elif not isinstance(error, json.JSONDecodeError):
        problems.add(place, "", "A number has too many digits: 4,300 are allowed.", "import.type")
    elif error.msg == "Extra data":
        problems.add(
            place,
            "",
            f"Not valid JSON at column {error.pos + 1}: extra data after the object. Write one object a line.",
            "import.not_jsonl",
        )
    else:
        reason = error.msg[:1].lower() + error.msg[1:]
        around = masked(text[max(0, error.pos - _MASKED // 2) : error.pos + _MASKED // 2])
        problems.add(place, "", f"Not valid JSON at column {error.pos + 1}: {reason}. It looks like this there: {around}", "import.json")


def masked(text: str) -> str:
    """The shape of a text without what it says: letters as x, digits as 9, anything that does not print as a dot."""
    return "".join("x" if c.isalpha() else "9" if c.isdigit() else c if c.isascii() and c.isprintable() else "·" for c in text)


def _deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
