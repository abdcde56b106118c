"""Structured outputs: whether a text is valid JSON, strictly, and what differs between two documents. Values in, values out.

Messages name keys and places, never values: they may be clinical. Nothing here recurses over what it is given.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_TEXT = 1_000_000
MAX_DEPTH = 100
MAX_CHANGES = 200
MAX_SHOWN = 200
MAX_KEY = 60

# Dotted keys and [places] from the top of a document: "medication[0].dose"; "" is the document itself.
Path: TypeAlias = str


@dataclass(frozen=True)
class Validity:
    """Whether a text is one JSON document; if not, why, and from which line and column (from 1; 0 where it is no one place)."""

    valid: bool
    message: str
    line: int = 0
    column: int = 0
    value: Any = None

    def as_dict(self) -> dict[str, Any]:
        return {"valid": self.valid, "message": self.message, "line": self.line, "column": self.column}


@dataclass(frozen=True)
class Change:
    """One place where two documents differ: `kind` is "added" (only in b), "removed" (only in a), "changed", or "type"."""

    path: Path
    kind: str
    a: str
    b: str


@dataclass(frozen=True)
class Structure:
    """What differs between two documents, in the order of the first. `more`: there are further changes beyond those listed."""

    changes: tuple[Change, ...]
    more: bool


class _Refused(ValueError):
    pass


def check(text: str) -> Validity:
    """Whether `text` is exactly one JSON document (RFC 8259): no NaN or infinity, no key twice in one object, nothing around it."""
    if len(text) > MAX_TEXT:
        return Validity(False, f"Too long to check: {len(text):,} characters.")
    if not text.strip():
        return Validity(False, "The text is empty.")
    if text.lstrip().startswith("```"):
        return Validity(False, "A code fence stands around it: a program would have to take it off first.", *_place(text, text.index("`")))
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        return Validity(False, f"{_reason(error)} at line {error.lineno}, column {error.colno}.", error.lineno, error.colno)
    except _Refused as refused:
        return Validity(False, str(refused))
    except RecursionError:
        return Validity(False, f"Nested too deeply: more than {MAX_DEPTH} levels.")
    except ValueError:
        return Validity(False, "A number has too many digits.")
    if _is_deep(value):
        return Validity(False, f"Nested too deeply: more than {MAX_DEPTH} levels.")
    return Validity(True, "Valid JSON.", value=value)


def compare(a: Any, b: Any) -> Structure:
    """What differs between two parsed documents: objects by key, lists by place. At most 200 changes."""
    found: list[Change] = []
    for change in _changes(a, b):
        if len(found) == MAX_CHANGES:
            return Structure(tuple(found), True)
        found.append(change)
    return Structure(tuple(found), False)


def _changes(a: Any, b: Any) -> Iterator[Change]:
    waiting: list[tuple[Path, Any, Any]] = [("", a, b)]
    while waiting:
        path, left, right = waiting.pop()
        if left is _NOTHING:
            yield Change(path, "added", "", shown(right))
        elif right is _NOTHING:
            yield Change(path, "removed", shown(left), "")
        elif _kind(left) != _kind(right):
            yield Change(path, "type", f"{_kind(left)}: {shown(left)}", f"{_kind(right)}: {shown(right)}")
        elif isinstance(left, dict):
            keys = [*left, *(key for key in right if key not in left)]
            waiting += [(_below(path, key), left.get(key, _NOTHING), right.get(key, _NOTHING)) for key in reversed(keys)]
        elif isinstance(left, list):
            most = max(len(left), len(right))
            waiting += [
                (f"{path}[{n}]", left[n] if n < len(left) else _NOTHING, right[n] if n < len(right) else _NOTHING)
                for n in reversed(range(most))
            ]
        elif left != right:
            yield Change(path, "changed", shown(left), shown(right))


def shown(value: Any) -> str:
    """A value as a page can show it: short, and without halves of characters, which no page can carry."""
    if isinstance(value, dict | list):
        size = len(value)
        return f"{_kind(value)} of {size}"
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _below(path: Path, key: str) -> Path:
    key = shown(key)
    key = key if len(key) <= MAX_KEY else key[:MAX_KEY] + "…"
    return f"{path}.{key}" if path else key


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below = [one for above in level if isinstance(above, dict | list) for one in (above.values() if isinstance(above, dict) else above)]
        if not below:
            return False
        level = below
    return any(isinstance(one, dict | list) for one in level)


def _reason(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return "Something stands after the document"
    if error.msg == "Expecting value" and not error.doc[: error.pos].strip():
        return "It does not begin like JSON"
    # The parser says what it expected, never what it found.
    return error.msg.removesuffix(" at").split(":")[0]


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _Refused(f"The key “{_below('', twice)}” occurs twice in one object.")
    return made


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("A number is too large to be a number.")
    return value


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON value.")


_NOTHING = object()
_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
