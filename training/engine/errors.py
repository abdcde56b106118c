"""What can go wrong in an attempt, in words a result file can carry.

A message names fields, lines, counts and limits, and never a clinical text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class EngineError(Exception):
    """An attempt failed. ``code`` is stable, ``retryable`` says whether the same spec may succeed later."""

    code = "engine_error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class SpecError(EngineError):
    """``spec.json`` is missing, malformed, or has an unknown, missing or mistyped field. ``field`` is its path."""

    code = "bad_spec"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class InputError(EngineError):
    """A file under ``inputs/`` cannot be used; the message names file, line and field."""

    code = "bad_input"


class TooFewPairs(EngineError):
    """Fewer preference pairs than the run asks for."""

    code = "too_few_pairs"


class TooLong(EngineError):
    """A row is longer than ``max_length`` or than the model's context; nothing is ever cut silently."""

    code = "too_long"


class RopeSide(EngineError):
    """An answer might cross the length at which LongRoPE changes every position's angle; ``prompts`` are their positions."""

    code = "rope_side"

    def __init__(self, prompts: Sequence[int], switch: int, room: int) -> None:
        named = ", ".join(map(str, prompts[:20])) + (" …" if len(prompts) > 20 else "")
        super().__init__(
            f"{len(prompts)} prompts and {room} new tokens would cross the {switch} tokens at which this model changes its position"
            f" encoding, in the middle of an answer: prompts {named}. Ask for fewer new tokens, or leave them out"
        )


class BadModel(EngineError):
    """A model folder is incomplete, not in safetensors, or does not fit the others."""

    code = "bad_model"


class ReferenceMismatch(EngineError):
    """DPO's first loss is not ln 2: policy and reference are not the same model before the first step."""

    code = "reference_mismatch"


class Cancelled(EngineError):
    """The attempt was asked to stop (SIGTERM) and stopped at the next step."""

    code = "cancelled"


class DiskFull(EngineError):
    """There is no room for what has to be written. ``need`` and ``free`` are in bytes; the job waits for room and goes on."""

    code = "disk_full"
    retryable = True

    def __init__(self, need: int, free: int, folder: Path) -> None:
        wanted = f"need {need / 1e6:.1f} MB, have" if need else "no room left:"
        super().__init__(f"{wanted} {free / 1e6:.1f} MB on the volume {mount_of(folder)}")
        self.need, self.free = need, free


def mount_of(folder: Path) -> Path:
    """Where the volume that holds ``folder`` is mounted: the name an operator knows it by."""
    place = folder.resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place
