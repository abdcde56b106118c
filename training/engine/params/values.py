"""Values of decoded JSON, checked strictly against a type annotation. Standard library only."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training.engine.errors import SpecError


def exact_keys(raw: Mapping[str, object], known: set[str], needed: set[str], path: str) -> None:
    def at(key: object) -> str:
        return f"{path}.{key}" if path else str(key)

    for key in raw:
        if key not in known:
            raise SpecError(at(key), "is unknown")
    for key in sorted(needed):
        if key not in raw:
            raise SpecError(at(key), "is missing")


def checked(shape: Any, raw: object, path: str) -> Any:
    """``raw`` checked against the annotation ``shape``; whole numbers are welcome where a float is asked."""
    if shape is Any:
        return raw
    origin = get_origin(shape)
    if origin in (Union, types.UnionType):
        return _union(get_args(shape), raw, path)
    if origin is Literal:
        if raw not in get_args(shape) or isinstance(raw, bool):
            raise SpecError(path, f"must be one of {', '.join(map(str, get_args(shape)))}")
        return raw
    if origin is list:
        if not isinstance(raw, list):
            raise SpecError(path, "must be a list")
        return [checked(get_args(shape)[0], item, f"{path}[{index}]") for index, item in enumerate(raw)]
    if origin is dict:
        if not isinstance(raw, dict):
            raise SpecError(path, "must be an object")
        return {str(key): checked(get_args(shape)[1], item, f"{path}.{key}") for key, item in raw.items()}
    if dataclasses.is_dataclass(shape):
        return _dataclass(shape, raw, path)
    return _scalar(shape, raw, path)


def _union(options: tuple[Any, ...], raw: object, path: str) -> Any:
    if raw is None:
        if type(None) in options:
            return None
        raise SpecError(path, "must not be null")
    rest = [option for option in options if option is not type(None)]
    problems = []
    for option in rest:
        try:
            return checked(option, raw, path)
        except SpecError as problem:
            problems.append(problem)
    # The most specific complaint is the one that got furthest into the value.
    raise max(problems, key=lambda problem: len(problem.field))


def _scalar(shape: Any, raw: object, path: str) -> Any:
    if shape is bool:
        if isinstance(raw, bool):
            return raw
        raise SpecError(path, "must be true or false")
    if shape is int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        raise SpecError(path, "must be a whole number")
    if shape is float:
        if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
            return float(raw)
        raise SpecError(path, "must be a finite number")
    if shape is str:
        if isinstance(raw, str):
            return raw
        raise SpecError(path, "must be text")
    raise AssertionError(f"no rule for {shape!r}")


def _dataclass(shape: Any, raw: object, path: str) -> Any:
    if not isinstance(raw, dict):
        raise SpecError(path, "must be an object")
    hints = get_type_hints(shape)
    by_key = {entry.metadata.get("key", entry.name): entry for entry in dataclasses.fields(shape)}
    needed = {
        key for key, entry in by_key.items()
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }  # fmt: skip
    exact_keys(raw, set(by_key), needed, path)
    made = shape(**{
        by_key[key].name: checked(hints[by_key[key].name], item, f"{path}.{key}") for key, item in raw.items()
    })  # fmt: skip
    if problem := made.problem():
        raise SpecError(f"{path}.{problem[0]}", problem[1])
    return made
