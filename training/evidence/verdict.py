"""Is the challenger better? An answer that stays honest however often one looks.

Standard library only, and nothing of Rounds: this very file travels in the evidence pack and computes the verdict again there.

Each judgement of a blinded before/after study is a win of the challenger, a loss, or a tie. Ties say nothing of the direction and are
counted apart. If the challenger is no better, the next decisive judgement is a win with a chance of at most one half, whatever came before,
so the mixture likelihood ratio

    e = ∫ p^wins (1 − p)^losses dΠ(p) / (1/2)^(wins + losses),   Π = Beta(a, a) on p > 1/2

is a supermartingale that starts at 1: by Ville's inequality it ever reaches 20 with a chance of at most one in twenty, even when looked at
after every single judgement (Robbins 1970; Howard et al. 2021). A fixed-sample test looked at as often would be wrong far more often. The
same with wins and losses exchanged speaks for "worse".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# The a of Beta(a, a): most of the mixture lies between 0.5 and 0.7, where a challenger that is better will be. A whole number.
PRIOR = 10
THRESHOLD = 20.0
# Before so many judgements by so many raters nothing is decided; after so many a study that is still open ends undecided.
FEWEST, MOST, RATERS = 150, 400, 3
BETTER, WORSE, UNDECIDED = "better", "worse", "not decided"
# What a vote was in favour of, as `follow` reads it.
OUTCOMES = {"challenger": 1, "champion": -1, "tie": 0}
# A forecast beyond this says only that there is no end in sight.
FARTHEST = 5_000


def log_e(wins: int, losses: int, prior: int = PRIOR) -> float:
    """The natural logarithm of e for "the first has it" after so many wins and losses."""
    return _bound(wins, losses, prior) + _log_above_half(prior + wins, prior + losses)


def reaches(wins: int, losses: int, bar: float, prior: int = PRIOR) -> bool:
    """Whether log e stands at `bar` or above. Most judgements are far from it, and a bound says so without the sum."""
    return _bound(wins, losses, prior) >= bar and log_e(wins, losses, prior) >= bar


def _bound(wins: int, losses: int, prior: int) -> float:
    return (wins + losses + 1) * math.log(2) + _log_beta(prior + wins, prior + losses) - _log_beta(prior, prior)


def _log_beta(a: int, b: int) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_above_half(a: int, b: int) -> float:
    """log P(p > 1/2) for p from Beta(a, b): for whole numbers the chance that a + b − 1 coins show at most a − 1 heads."""
    n = a + b - 1
    terms = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(a)]
    highest = max(terms)
    return highest + math.log(math.fsum(math.exp(term - highest) for term in terms)) - n * math.log(2)


@dataclass(frozen=True)
class Verdict:
    """What the judgements say so far. `e_better` and `e_worse` are the values now, `decided_at` the judgement at which it was decided (None
    while open); `more` is about how many judgements are still missing at the pace of what was seen, None with no end in sight.
    """

    verdict: str
    wins: int
    losses: int
    ties: int
    e_better: float
    e_worse: float
    decided_at: int | None
    more: int | None

    @property
    def judgements(self) -> int:
        return self.wins + self.losses + self.ties


def follow(
    outcomes: Iterable[int], *, raters: int = RATERS, fewest: int = FEWEST, most: int = MOST, threshold: float = THRESHOLD,
    prior: int = PRIOR,
) -> Verdict:  # fmt: skip
    """Read the judgements in the order in which they came: 1 a win of the challenger, −1 a loss, 0 a tie.

    It is decided at the first judgement, from the `fewest`-th to the `most`-th, at which an e stands at `threshold` or above; what comes
    later changes nothing. `raters` is how many people judged: with fewer than RATERS nothing is decided. Raises ValueError for any other
    outcome.
    """
    wins = losses = ties = 0
    decided_at, verdict = None, UNDECIDED
    bar = math.log(threshold)
    for place, outcome in enumerate(outcomes, start=1):
        if outcome not in (-1, 0, 1):
            raise ValueError(f"judgement {place}: an outcome is 1, 0 or -1")
        wins, losses, ties = wins + (outcome > 0), losses + (outcome < 0), ties + (outcome == 0)
        if decided_at is None and raters >= RATERS and fewest <= place <= most:
            if reaches(wins, losses, bar, prior):
                decided_at, verdict = place, BETTER
            elif reaches(losses, wins, bar, prior):
                decided_at, verdict = place, WORSE
    return Verdict(
        verdict=verdict, wins=wins, losses=losses, ties=ties, decided_at=decided_at,
        e_better=math.exp(min(log_e(wins, losses, prior), 700.0)), e_worse=math.exp(min(log_e(losses, wins, prior), 700.0)),
        more=0 if decided_at is not None else more_needed(wins, losses, ties, fewest=fewest, threshold=threshold, prior=prior),
    )  # fmt: skip


def follow_votes(votes: Sequence[Mapping[str, str]]) -> Verdict:
    """The same of raw votes in the order in which they came: `rater`, whoever that is, and `in_favour`, one of OUTCOMES.

    Decided no earlier than at the vote with which enough people have judged: what is counted then stands by itself.
    """
    heard: set[str] = set()
    fewest = FEWEST
    for place, vote in enumerate(votes, start=1):
        if vote["rater"] not in heard:
            heard.add(vote["rater"])
            if len(heard) == RATERS:
                fewest = max(fewest, place)
    return follow((OUTCOMES[vote["in_favour"]] for vote in votes), raters=len(heard), fewest=fewest)


def more_needed(wins: int, losses: int, ties: int, *, fewest: int = FEWEST, threshold: float = THRESHOLD, prior: int = PRIOR) -> int | None:
    """About how many more judgements until a decision, if wins, losses and ties go on as they came (shrunk towards a coin by the prior).

    None beyond FARTHEST, which is where a study of two equal models stands for ever.
    """
    decisive, seen = wins + losses, wins + losses + ties
    win = (wins + prior) / (decisive + 2 * prior)
    share = (decisive + 1) / (seen + 1)
    bar = math.log(threshold)

    def enough(more: int) -> bool:
        won, lost = wins + round(more * share * win), losses + round(more * share * (1 - win))
        return reaches(max(won, lost), min(won, lost), bar, prior)

    if not enough(FARTHEST):
        return None
    # e need not grow from the first judgement on: after a lucky start it may fall first. From where it does grow, halve.
    low, high = -1, FARTHEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(high, fewest - seen, 0)
