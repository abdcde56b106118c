"""How far each rater can be trusted: one-coin Dawid–Skene over colleagues' votes, and consistency with oneself. Pure."""

from collections.abc import Hashable, Iterable, Mapping
from math import log
from typing import Literal, NamedTuple

import numpy as np

from annotation.estimates import FLOOR, TOO_SMALL, Z95, Array, Estimate, Numbers, hidden, numbered, share

# Beta(8, 2) on a rater's accuracy: clinicians agree with the better answer about four times in five before anything is known.
RIGHT, WRONG = 8.0, 2.0
MOST_ROUNDS, CLOSE = 500, 1e-8


class Vote(NamedTuple):
    """One rater's vote on one item, by content."""

    item: Hashable
    rater: Hashable
    side: Literal["first", "second", "tie"]


class Posterior(NamedTuple):
    """`first`: how likely the first side is truly better, by item. `accuracy`: how often a rater votes for the truly better side,
    hidden below `floor` votes on items that somebody else judged too; n counts those. `estimates`: the same, unhidden.
    """

    first: dict[Hashable, float]
    accuracy: dict[Hashable, Estimate]
    estimates: dict[Hashable, float]
    converged: bool
    iterations: int
    log_posterior: list[float]


def dawid_skene(votes: Iterable[Vote], *, floor: int = FLOOR) -> Posterior:
    """One-coin Dawid–Skene (Appl. Stat. 28, 1979) by EM: rater j is right with probability a_j ~ Beta(8, 2), whichever side is better.

    E: P(first) of an item = σ(Σ ± ln(a_j / (1−a_j))) over its decisive votes; M: a_j = (7 + expected right votes) / (8 + votes), the
    posterior's mode. Both sides are equally likely beforehand: which completion is called first means nothing.
    A tie says that the rater saw no difference, not which side is better: it moves neither the item nor the rater's accuracy, and an
    item with nothing but ties stays at ½. Leave out repeats (the same rater twice on one item would count as two witnesses).

    The interval of an accuracy is Laplace's on the log-odds scale, from the curvature of the posterior with the truth summed out, so it
    stays wide where nobody else judged the same items. Raises ValueError when a rater votes on an item twice.
    """
    rows = list(votes)
    if len({(vote.item, vote.rater) for vote in rows}) < len(rows):
        raise ValueError("A rater voted on an item twice; leave repeats out.")
    told = [vote for vote in rows if vote.side != "tie"]
    first: dict[Hashable, float] = {vote.item: 0.5 for vote in rows}
    if not told:
        return Posterior(first, {v.rater: hidden(0, TOO_SMALL) for v in rows}, {}, True, 0, [])
    items, raters = numbered(vote.item for vote in told), numbered(vote.rater for vote in told)
    sign = np.array([1.0 if vote.side == "first" else -1.0 for vote in told])
    amount = np.bincount(raters).astype(float)
    accuracy = np.full(len(amount), RIGHT / (RIGHT + WRONG))
    history: list[float] = []
    converged = False
    for _ in range(MOST_ROUNDS):
        evidence = _added(items, sign * _logit(accuracy)[raters])
        history.append(_log_posterior(accuracy, amount, evidence))
        posterior = 1 / (1 + np.exp(-evidence))
        right = np.where(sign > 0, posterior[items], 1 - posterior[items])
        updated = (RIGHT - 1 + _added(raters, right)) / (RIGHT + WRONG - 2 + amount)
        converged = bool(np.abs(updated - accuracy).max() < CLOSE)
        accuracy = updated
        if converged:
            break
    evidence = _added(items, sign * _logit(accuracy)[raters])
    history.append(_log_posterior(accuracy, amount, evidence))
    posterior = 1 / (1 + np.exp(-evidence))
    item_names, rater_names = list(dict.fromkeys(vote.item for vote in told)), list(dict.fromkeys(vote.rater for vote in told))
    first.update(zip(item_names, posterior.tolist(), strict=True))
    shared = np.bincount(raters, weights=(np.bincount(items) >= 2)[items]).astype(int)
    wide = Z95 * _spread(accuracy, amount, evidence, items, raters, sign)
    middle = _logit(accuracy)
    low, high = (1 / (1 + np.exp(-(middle + side * wide))) for side in (-1, 1))
    shown: dict[Hashable, Estimate] = {vote.rater: hidden(0, TOO_SMALL) for vote in rows}
    for j, name in enumerate(rater_names):
        n = int(shared[j])
        enough = n >= max(floor, 1)
        shown[name] = Estimate(float(accuracy[j]), float(low[j]), float(high[j]), n) if enough else hidden(n, TOO_SMALL)
    estimates = dict(zip(rater_names, accuracy.tolist(), strict=True))
    return Posterior(first, shown, estimates, converged, len(history) - 1, history)


def _added(places: Numbers, amounts: Array) -> Array:
    return np.asarray(np.bincount(places, weights=amounts), dtype=np.float64)


def _logit(p: Array) -> Array:
    found: Array = np.log(p) - np.log1p(-p)
    return found


def _log_posterior(accuracy: Array, amount: Array, evidence: Array) -> float:
    """ln of prior × likelihood with the truth of every item summed out; `evidence` is each item's Σ ± logit a_j."""
    prior = (RIGHT - 1) * np.log(accuracy) + (WRONG - 1) * np.log1p(-accuracy)
    votes = amount / 2 * (np.log(accuracy) + np.log1p(-accuracy))
    return float((prior + votes).sum() + (np.logaddexp(evidence / 2, -evidence / 2) - log(2)).sum())


def _spread(accuracy: Array, amount: Array, evidence: Array, items: Numbers, raters: Numbers, sign: Array) -> Array:
    """Standard errors of the log-odds of each accuracy: the inverse of minus the second derivatives of `_log_posterior`."""
    matrix = np.zeros((len(evidence), len(amount)))
    matrix[items, raters] = sign
    agreeing = matrix.T @ (matrix * (1 / np.cosh(np.clip(evidence / 2, -300, 300)) ** 2)[:, None]) / 4
    curvature = np.diag((amount + RIGHT + WRONG - 2) * accuracy * (1 - accuracy)) - agreeing
    # At a mode this is positive definite; the floor keeps a flat direction wide instead of impossible.
    values, vectors = np.linalg.eigh(curvature)
    inverse = (vectors / np.maximum(values, 1e-3)) @ vectors.T
    found: Array = np.sqrt(np.diag(inverse))
    return found


def weights(accuracy: Mapping[Hashable, Estimate]) -> dict[Hashable, float]:
    """What a rater's vote counts for in resolution.resolve, from Posterior.accuracy: the edge 2a − 1 over the mean edge, so that a
    coin counts next to nothing and the mean is 1, drawn back to 1 as far as raters' accuracies differ by chance alone (empirical
    Bayes: between-rater variance over itself plus the square of this rater's standard error). A rater without a shown accuracy has 1.
    """
    known = {
        rater: (2 * a.value - 1, (a.high - a.low) / Z95)
        for rater, a in accuracy.items()
        if a.value is not None and a.low is not None and a.high is not None
    }
    found = dict.fromkeys(accuracy, 1.0)
    if len(known) < 2:
        return found
    edges = np.array([edge for edge, _ in known.values()])
    errors = np.array([error**2 for _, error in known.values()])
    mean = float(edges.mean())
    between = max(float(edges.var(ddof=1) - errors.mean()), 0.0)
    if mean <= 0:
        return found
    drawn = mean + (edges - mean) * between / (between + errors)
    return found | dict(zip(known, np.maximum(drawn / mean, 0.0).tolist(), strict=True))


class Repeat(NamedTuple):
    """One pair judged twice by one rater with sides swapped: each verdict by content, and whether the first side was left then."""

    rater: Hashable
    before: str
    after: str
    first_was_left: bool


class Consistency(NamedTuple):
    """`same`: the same verdict by content both times. `same_side`: of pairs decided both times, the same content preferred.
    `by_position`: of those, the same side of the screen both times, so that the preference turned with the swap; it is 1 − same_side.
    `left_both`, `right_both`: how many of these stayed left, and right.
    """

    same: Estimate
    same_side: Estimate
    by_position: Estimate
    left_both: int
    right_both: int


def self_consistency(repeats: Iterable[Repeat], *, floor: int = FLOOR) -> Consistency:
    """What swapped repeats say of a rater (pass one's) or of a campaign (pass all): Wilson's intervals. "Cannot judge" is no answer."""
    rows = [repeat for repeat in repeats if "cannot_judge" not in (repeat.before, repeat.after)]
    sides = {"first_much": 1, "first_slightly": 1, "second_slightly": -1, "second_much": -1}
    decided = [(sides[row.before], sides[row.after], row.first_was_left) for row in rows if row.before in sides and row.after in sides]
    turned = [(before, was_left) for before, after, was_left in decided if before != after]
    # Preferring the first when it was left, then the second when that is left: left both times.
    left = sum((before > 0) == was_left for before, was_left in turned)
    kept = len(decided) - len(turned)
    return Consistency(
        share(sum(row.before == row.after for row in rows), len(rows), floor=floor),
        share(kept, len(decided), floor=floor),
        share(len(turned), len(decided), floor=floor),
        left,
        len(turned) - left,
    )
