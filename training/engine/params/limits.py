"""Limits that many kinds' parameters share: each names the first field that is beyond them, and why, or nothing. Standard library only."""

from __future__ import annotations

from typing import Any


def positive(params: Any, *names: str) -> tuple[str, str] | None:
    for name in names:
        value = getattr(params, name)
        if value is not None and value <= 0:
            return name, "must be above 0"
    return None


def share(params: Any, *names: str) -> tuple[str, str] | None:
    for name in names:
        if not 0 <= getattr(params, name) < 1:
            return name, "must be from 0 up to, not including, 1"
    return None


def steps_or_epochs(params: Any, *, endless: bool) -> tuple[str, str] | None:
    if (params.steps is None) == (params.epochs is None):
        return "steps", "give steps or epochs, and not both"
    if endless and params.steps is None:
        return "steps", "is needed with a generated corpus, which has no end"
    return None
