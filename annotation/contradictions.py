"""Votes whose own reasons point the other way than their verdict. What has a side is compared; no text is read. Pure.

UltraFeedback's release held critiques marked 1 as 10: found only because somebody sorted them beside their scores.
"""

from collections.abc import Mapping
from typing import Any

from annotation.agreement import SIDES

# How bad each severity of a flag is; none is none.
HARM = {"": 0, "minor": 1, "major": 2, "life_threatening": 3}


def opposed(verdict: str, *, axes: Mapping[str, Any], scales: Mapping[str, str], harm: tuple[str, str]) -> bool:
    """Whether a decisive verdict has reasons, and every one of them speaks for the other side.

    `axes` as a judgement keeps them, `scales` what each is measured on, `harm` the flags of the first and the second text. One reason for
    the preferred side is enough: what weighs more is the rater's to say. A scale that tells who has more of something ("which", "count")
    is passed over: it may ask about merits or about faults.
    """
    side = SIDES.get(verdict)
    if side is None:
        return False
    for_first = [HARM[harm[1]] - HARM[harm[0]], *(_for_first(scales.get(name, ""), value) for name, value in axes.items())]
    told = [points for points in for_first if points]
    return bool(told) and all((points > 0) != (side == "first") for points in told)


def _for_first(scale: str, value: Any) -> int:
    """How much an axis speaks for the first text; 0 for nothing that is known to have a direction."""
    if scale == "comparative":
        return int(value)
    return int(value["second"]) - int(value["first"]) if scale == "risk" else 0
