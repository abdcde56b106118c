"""The shape of a model's answers beside another's to the same prompts: how long, whether JSON where JSON was asked for, refused, cut off.

Pure: texts in, counts out. It reads no meaning; what is right or safe is for clinicians to say.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from annotation import structure
from training.evidence.figures import LONG, SHORT

# An answer that declines says so at its beginning.
_OPENING = 240
_DECLINES = re.compile(
    r"\b(?:i(?:['’]m| am) (?:sorry|unable|not able)\b"
    r"|i (?:can(?:no|['’])t|can not|am not allowed to|must decline|won['’]t|will not) "
    r"(?:to )?(?:help|assist|answer|provide|comply|do that|fulfil|give|offer)"
    r"|(?:as|being) an ai\b|unable to (?:assist|help|comply|provide|answer)|cannot (?:assist|help|comply) with)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """One answer. `json`: whether its prompt asked for JSON. `cut`: whether it was cut off at the longest that was allowed."""

    text: str
    json: bool = False
    cut: bool = False

    @property
    def words(self) -> int:
        return len(self.text.split())

    @property
    def valid(self) -> bool:
        return structure.check(self.text).valid

    @property
    def declines(self) -> bool:
        return bool(_DECLINES.search(self.text[:_OPENING]))

    @property
    def covers(self) -> bool:
        """Whether there is an answer, and all of it."""
        return bool(self.text.strip()) and not self.cut


@dataclass(frozen=True)
class Beside:
    """Counts of two models' answers to the same `n` prompts. `ratio`: median over prompts of challenger's words over champion's, None where
    no prompt has two answers. The others are (challenger, champion): valid JSON of the `json` prompts that asked for it,
    answers that decline, answers that are there and whole.
    """

    n: int
    ratio: float | None
    json: int
    valid: tuple[int, int]
    declined: tuple[int, int]
    covered: tuple[int, int]

    @property
    def faults(self) -> list[str]:
        """What keeps the gate shut, in words."""
        found = []
        if self.ratio is None or not SHORT <= self.ratio <= LONG:
            found.append("the length")
        if self.valid[0] < self.valid[1]:
            found.append("valid JSON")
        if self.declined[0] > self.declined[1]:
            found.append("refusals")
        if self.covered[0] < self.covered[1]:
            found.append("coverage")
        return found


def beside(pairs: Iterable[tuple[Answer, Answer]]) -> Beside:
    """Compare (challenger's, champion's) answers, one pair a prompt."""
    both = list(pairs)
    ratios = [ours.words / theirs.words for ours, theirs in both if ours.words and theirs.words]
    asked = [(ours, theirs) for ours, theirs in both if ours.json]
    return Beside(
        n=len(both), ratio=median(ratios) if ratios else None, json=len(asked),
        valid=(sum(ours.valid for ours, _ in asked), sum(theirs.valid for _, theirs in asked)),
        declined=(sum(ours.declines for ours, _ in both), sum(theirs.declines for _, theirs in both)),
        covered=(sum(ours.covers for ours, _ in both), sum(theirs.covers for _, theirs in both)),
    )  # fmt: skip
