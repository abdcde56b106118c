"""Does the side an answer was shown on, or its length, decide? Pure: values in, values out."""

from collections.abc import Hashable, Iterable, Sequence
from math import exp, log
from statistics import quantiles
from typing import NamedTuple

import numpy as np

from annotation.estimates import (
    FLOOR,
    TOO_SMALL,
    UNDEFINED,
    Array,
    Estimate,
    Numbers,
    chain,
    clustered_share,
    hidden,
    numbered,
    share,
    student95,
    summed,
)

SIDE_MATTERS = 0.05  # a left share further than this from one half, and surely so, raises the alarm (product.md 2.8)
LONGER_MATTERS = 0.6  # above this share of pairs whose chosen side is longer, training learns length (product.md 2.8)


class LeftShare(NamedTuple):
    """How often the left side won among decisive votes; `alarm` when the interval leaves out ½ and the share is over 5 points away."""

    share: Estimate
    alarm: bool


def left_share(left: int, decisive: int, *, floor: int = FLOOR) -> LeftShare:
    """The left-share test, of `decisive` votes of which `left` went to the side shown on the left. Sides must be counterbalanced."""
    found = share(left, decisive, floor=floor)
    if found.value is None or found.low is None or found.high is None:
        return LeftShare(found, False)
    return LeftShare(found, not found.low <= 0.5 <= found.high and abs(found.value - 0.5) > SIDE_MATTERS)


def left_share_by_rater(votes: Iterable[tuple[Hashable, bool]], *, floor: int = FLOOR) -> dict[Hashable, LeftShare]:
    """The left-share test of every rater: `votes` are (rater, whether the left side won), decisive ones only."""
    counts: dict[Hashable, list[int]] = {}
    for rater, left in votes:
        counted = counts.setdefault(rater, [0, 0])
        counted[0] += left
        counted[1] += 1
    return {rater: left_share(left, decisive, floor=floor) for rater, (left, decisive) in counts.items()}


class Vote(NamedTuple):
    """How one judgement of A against B ended for A: 1 won, ½ tied, 0 lost; `longer` is how much longer A was (log of the lengths'
    ratio, see log_ratio); `cluster` is the sample behind the pair.
    """

    won: float
    longer: float
    cluster: Hashable


def log_ratio(a: float, b: float) -> float:
    """ln of how many times longer `a` is than `b`; one is added to both, so that an empty answer counts."""
    return log((a + 1) / (b + 1))


def longer_wins(votes: Iterable[Vote], *, floor: int = FLOOR) -> Estimate:
    """Of decisive votes between answers of different length the share that the longer one won; the interval is clustered by sample."""
    told = [vote for vote in votes if vote.won in (0.0, 1.0) and vote.longer != 0]
    if not told:
        return hidden(0, TOO_SMALL if floor > 0 else UNDEFINED)
    hits = np.array([[float((vote.won == 1) == (vote.longer > 0)), 1.0] for vote in told])
    sums = summed(hits, numbered(vote.cluster for vote in told))
    return clustered_share(sums[:, 0], sums[:, 1], floor=floor)


class WinRate(NamedTuple):
    """A's win-rate as it is, and at equal length; `effect` is by how much the odds rise when A is twice as long (1: not at all)."""

    raw: Estimate
    controlled: Estimate
    effect: Estimate


def win_rate(votes: Sequence[Vote], *, floor: int = FLOOR) -> WinRate:
    """Win-rate raw and verbosity-controlled: logit P(A wins) = a + b·longer, read at longer = 0 (Dubois et al., arXiv 2404.04475).

    Ties count half in both. Intervals are clustered by sample: the raw one is Wilson's at the effective number, the others are
    sandwiches (Liang & Zeger, Biometrika 73, 1986) with n/(n−1) and Student's t for few clusters. Undefined where length never varies
    or separates wins from losses.
    """
    n = len(votes)
    if n < max(floor, 1):
        return WinRate(*[hidden(n, TOO_SMALL)] * 3)
    won, longer = np.array([vote.won for vote in votes]), np.array([vote.longer for vote in votes])
    clusters = numbered(vote.cluster for vote in votes)
    sums = summed(np.stack([won, np.ones(n)], axis=1), clusters)
    raw = clustered_share(sums[:, 0], sums[:, 1], floor=floor)
    fitted = logistic(np.stack([np.ones(n), longer], axis=1), won, clusters) if np.ptp(longer) > 1e-12 else None
    if fitted is None:
        return WinRate(raw, hidden(n, UNDEFINED), hidden(n, UNDEFINED))
    (a, b), (wide_a, wide_b) = fitted
    controlled = chain(Estimate(a, a - wide_a, a + wide_a, n), lambda x: 1 / (1 + exp(-x)))
    effect = chain(Estimate(b, b - wide_b, b + wide_b, n), lambda x: 2**x)
    return WinRate(raw, controlled, effect)


def logistic(inputs: Array, targets: Array, clusters: Numbers) -> tuple[list[float], list[float]] | None:
    """Logistic regression of targets in [0, 1] on inputs (n × k) by Newton: coefficients and the half-widths of their 95 % intervals,
    clustered. None when it does not converge, as when the inputs separate the targets.
    """
    beta = np.zeros(inputs.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(inputs @ beta, -30, 30)))
        information = inputs.T @ (inputs * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, inputs.T @ (targets - p))
        beta = beta + step
        if np.abs(beta).max() > 25:
            return None
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    scores = summed(inputs * (targets - p)[:, None], clusters)
    count = len(scores)
    if count < 3:
        return None
    bread = np.linalg.inv(information)
    variance = np.diag(bread @ (scores.T @ scores) @ bread) * count / (count - 1)
    return beta.tolist(), (student95(count - 1) * np.sqrt(variance)).tolist()


class Lengths(NamedTuple):
    """Length of chosen over rejected: quartiles of the ratio, the share of pairs whose chosen side is longer, and whether that is much."""

    lower: float
    median: float
    upper: float
    longer: Estimate
    warning: bool


def length_ratio(lengths: Sequence[tuple[float, float]], *, floor: int = FLOOR) -> Lengths | None:
    """What training would learn about length from (chosen, rejected) pairs of lengths. None when there are fewer than two pairs."""
    if len(lengths) < 2:
        return None
    lower, middle, upper = quantiles([exp(log_ratio(*pair)) for pair in lengths], n=4, method="inclusive")
    longer = share(sum(chosen > rejected for chosen, rejected in lengths), len(lengths), floor=floor)
    return Lengths(lower, middle, upper, longer, longer.value is not None and longer.value > LONGER_MATTERS)
