"""From votes to a soft target, purely: how likely a rater of this campaign is to prefer the chosen side, and when there is no saying."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import fsum, isfinite
from typing import NamedTuple

# How strongly each verdict speaks for the first completion. A start to be calibrated on repeats: a rater who says "much better"
# would be contradicted by a colleague about one time in twelve, one who says "slightly" one time in four.
P_FIRST = {"first_much": 0.92, "first_slightly": 0.75, "both_acceptable": 0.5, "second_slightly": 0.25, "second_much": 0.08}
STRENGTH = {"first_much": 2, "first_slightly": 1, "both_acceptable": 0, "second_slightly": -1, "second_much": -2}
PRIOR_WEIGHT = 1.0  # one imaginary vote for "equal": a single judgement never looks certain
# What a lead's ruling or a harm flag makes of a pair, whatever the votes say: sure, but never certain (product.md 2.5).
SETTLED = 0.95

NO_JUDGEMENT, TIE, BOTH_UNACCEPTABLE, CANNOT_JUDGE, EVEN = "no_judgement", "tie", "both_unacceptable", "cannot_judge", "even"
BOTH_HARMFUL, RULED_HARMFUL, MUST_NOT_TRAIN = "both_harmful", "ruled_harmful", "must_not_train"
DEFECTIVE, RUBRIC_UNCLEAR = "defective", "rubric_unclear"
REASONS = {
    NO_JUDGEMENT: "no judgement yet",
    TIE: "both acceptable: nothing to prefer",
    BOTH_UNACCEPTABLE: "both unacceptable: neither may be chosen",
    CANNOT_JUDGE: "nobody could judge it",
    EVEN: "votes for both sides balance",
    BOTH_HARMFUL: "both flagged as harmful: neither may be chosen",
    RULED_HARMFUL: "the one ruled better is also found harmful",
    MUST_NOT_TRAIN: "ruled out of training",
    DEFECTIVE: "ruled defective: the sample goes back to its owner",
    RUBRIC_UNCLEAR: "the rubric did not say how to judge it",
}

SIDES = ("first", "second")


class Vote(NamedTuple):
    """A verdict (annotation.models.Verdict) and what it counts for: 1 for a rater of the mean reliability (reliability.weights)."""

    verdict: str
    weight: float = 1.0


class Ruling(NamedTuple):
    """A lead's decision (annotation.models.Outcome). `harmful`: the sides found to do major harm or worse; it replaces the raters' flags,
    which a lead may lower. `must_not_train`: either side may not be learnt from.
    """

    outcome: str
    harmful: Collection[str] = ()
    must_not_train: bool = False


@dataclass(frozen=True)
class Resolution:
    """`first_is_chosen` is None when the pair teaches no preference; then `reason` says why. `p_chosen` lies in (0.5, 1).

    `chosen`, `rejected` and `tie` count votes; `strength` is the mean of −2…2 for the chosen side over those votes, below 0 where a
    ruling or a flag (`basis`: "votes", "ruling" or "harm") went against them.
    """

    first_is_chosen: bool | None
    p_chosen: float
    chosen: int = 0
    rejected: int = 0
    tie: int = 0
    strength: float = 0.0
    reason: str = ""
    basis: str = "votes"


def resolve(votes: Iterable[str | Vote], *, flags: Collection[str] = (), ruling: Ruling | None = None) -> Resolution:
    """The resolution of one pair's current votes, in any order.

    p = (Σ w·p(verdict) + ½) / (Σ w + 1) over preferences and ties, with weight w = 1 for a bare verdict. "Cannot judge" is no vote. A pair
    that at least half of its votes (by weight) call unacceptable on both sides is left out: an unfit text is never chosen.

    `flags` are the sides ("first", "second") somebody flagged with major harm or worse. A flagged side is never favoured: the other
    one is chosen at 0.95; with both flagged the pair is left out. A ruling stands in place of votes and flags: its winner is chosen at
    0.95, unless found harmful. Raises ValueError for a verdict, side, outcome or weight that does not exist.
    """
    cast = [vote if isinstance(vote, Vote) else Vote(vote) for vote in votes]
    _known(cast, flags, ruling)
    counts = Counter(vote.verdict for vote in cast)
    weights = {verdict: fsum(vote.weight for vote in cast if vote.verdict == verdict) for verdict in (*P_FIRST, BOTH_UNACCEPTABLE)}
    if ruling is not None:
        return _ruled(ruling, counts)
    if not counts.total():
        return _dropped(NO_JUDGEMENT)
    if len(set(flags)) == 2:
        return _dropped(BOTH_HARMFUL)
    votes_cast = sum(counts[verdict] for verdict in P_FIRST)
    weight = fsum(weights[verdict] for verdict in P_FIRST)
    if 2 * weights[BOTH_UNACCEPTABLE] >= weight + weights[BOTH_UNACCEPTABLE] > 0 or (counts[BOTH_UNACCEPTABLE] and not votes_cast):
        return _dropped(BOTH_UNACCEPTABLE)
    if not votes_cast:
        return _dropped(CANNOT_JUDGE)
    if flags:
        return _chosen("first" not in flags, SETTLED, counts, basis="harm")
    p_first = (fsum(p * weights[verdict] for verdict, p in P_FIRST.items()) + 0.5 * PRIOR_WEIGHT) / (weight + PRIOR_WEIGHT)
    if counts["both_acceptable"] == votes_cast:
        return _dropped(TIE)
    # Rounded, so that a digest over the value does not hang on the order of additions.
    p_first = round(p_first, 6)
    if p_first == 0.5:
        return _dropped(EVEN)
    return _chosen(p_first > 0.5, p_first if p_first > 0.5 else round(1 - p_first, 6), counts)


def _ruled(ruling: Ruling, counts: Counter[str]) -> Resolution:
    if ruling.must_not_train:
        return _dropped(MUST_NOT_TRAIN, "ruling")
    if ruling.outcome not in SIDES:
        return _dropped(TIE if ruling.outcome == "equivalent" else ruling.outcome, "ruling")
    if len(set(ruling.harmful)) == 2:
        return _dropped(BOTH_HARMFUL, "ruling")
    if ruling.outcome in ruling.harmful:
        return _dropped(RULED_HARMFUL, "ruling")
    return _chosen(ruling.outcome == "first", SETTLED, counts, basis="ruling")


def _chosen(first: bool, p_chosen: float, counts: Counter[str], *, basis: str = "votes") -> Resolution:
    one, other = counts["first_much"] + counts["first_slightly"], counts["second_much"] + counts["second_slightly"]
    votes = one + other + counts["both_acceptable"]
    strength = round(sum(STRENGTH[v] * counts[v] for v in STRENGTH) / votes, 6) if votes else 0.0
    assert 0.5 < p_chosen < 1
    if first:
        return Resolution(True, p_chosen, one, other, counts["both_acceptable"], strength, basis=basis)
    return Resolution(False, p_chosen, other, one, counts["both_acceptable"], -strength, basis=basis)


def _dropped(reason: str, basis: str = "votes") -> Resolution:
    return Resolution(None, 0.5, reason=reason, basis=basis)


def _known(cast: list[Vote], flags: Collection[str], ruling: Ruling | None) -> None:
    if unknown := {vote.verdict for vote in cast} - {*P_FIRST, BOTH_UNACCEPTABLE, CANNOT_JUDGE}:
        raise ValueError(f"Unknown verdicts: {sorted(unknown)}")
    if any(not isfinite(vote.weight) or vote.weight < 0 for vote in cast):
        raise ValueError("A vote's weight is a number of at least 0.")
    if unknown := {*flags, *(ruling.harmful if ruling else ())} - {*SIDES}:
        raise ValueError(f"Unknown sides: {sorted(unknown)}")
    if ruling and ruling.outcome not in {*SIDES, "equivalent", DEFECTIVE, RUBRIC_UNCLEAR}:
        raise ValueError(f"Unknown outcome: {ruling.outcome!r}")
