"""From votes to a soft target, purely: how likely a rater of this campaign is to prefer the chosen side, and when there is no saying."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

# How strongly each verdict speaks for the first completion. A start to be calibrated on repeats: a rater who says "much better"
# would be contradicted by a colleague about one time in twelve, one who says "slightly" one time in four.
P_FIRST = {"first_much": 0.92, "first_slightly": 0.75, "both_acceptable": 0.5, "second_slightly": 0.25, "second_much": 0.08}
STRENGTH = {"first_much": 2, "first_slightly": 1, "both_acceptable": 0, "second_slightly": -1, "second_much": -2}
PRIOR_WEIGHT = 1.0  # one imaginary vote for "equal": a single judgement never looks certain

NO_JUDGEMENT, TIE, BOTH_UNACCEPTABLE, CANNOT_JUDGE, EVEN = "no_judgement", "tie", "both_unacceptable", "cannot_judge", "even"
REASONS = {
    NO_JUDGEMENT: "no judgement yet",
    TIE: "both acceptable: nothing to prefer",
    BOTH_UNACCEPTABLE: "both unacceptable: neither may be chosen",
    CANNOT_JUDGE: "nobody could judge it",
    EVEN: "votes for both sides balance",
}


@dataclass(frozen=True)
class Resolution:
    """`first_is_chosen` is None when the pair teaches no preference; then `reason` says why. `p_chosen` lies in (0.5, 1).

    `chosen`, `rejected` and `tie` count votes; `strength` is the mean of −2…2 for the chosen side over those votes.
    """

    first_is_chosen: bool | None
    p_chosen: float
    chosen: int = 0
    rejected: int = 0
    tie: int = 0
    strength: float = 0.0
    reason: str = ""


def resolve(verdicts: Iterable[str]) -> Resolution:
    """The resolution of one pair's current verdicts (annotation.models.Verdict values), in any order.

    p = (Σ p(verdict) + ½·w) / (n + w) over preferences and ties, with prior weight w = 1. "Cannot judge" is no vote. A pair that at
    least half of its votes call unacceptable on both sides is left out: an unfit text is never chosen.
    """
    counts = Counter(verdicts)
    if unknown := counts.keys() - {*P_FIRST, BOTH_UNACCEPTABLE, CANNOT_JUDGE}:
        raise ValueError(f"Unknown verdicts: {sorted(unknown)}")
    if not counts.total():
        return _dropped(NO_JUDGEMENT)
    votes = sum(counts[verdict] for verdict in P_FIRST)
    if 2 * counts[BOTH_UNACCEPTABLE] >= votes + counts[BOTH_UNACCEPTABLE] > 0:
        return _dropped(BOTH_UNACCEPTABLE)
    if not votes:
        return _dropped(CANNOT_JUDGE)
    p_first = (fsum(p * counts[verdict] for verdict, p in P_FIRST.items()) + 0.5 * PRIOR_WEIGHT) / (votes + PRIOR_WEIGHT)
    if counts["both_acceptable"] == votes:
        return _dropped(TIE)
    # Rounded, so that a digest over the value does not hang on the order of additions.
    p_first = round(p_first, 6)
    if p_first == 0.5:
        return _dropped(EVEN)
    first = counts["first_much"] + counts["first_slightly"]
    second = counts["second_much"] + counts["second_slightly"]
    strength = round(sum(STRENGTH[v] * counts[v] for v in STRENGTH) / votes, 6)
    if p_first > 0.5:
        resolved = Resolution(True, p_first, first, second, counts["both_acceptable"], strength)
    else:
        resolved = Resolution(False, round(1 - p_first, 6), second, first, counts["both_acceptable"], -strength)
    assert 0.5 < resolved.p_chosen < 1
    return resolved


def _dropped(reason: str) -> Resolution:
    return Resolution(None, 0.5, reason=reason)
