"""Do clinicians agree? Raw agreement, Krippendorff's alpha, Gwet's AC1 and AC2, and the flip rate they imply. Pure: values in, values out.

Verdicts are compared by content (the first completion, the second), never by the side they were shown on.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np

from annotation.estimates import (
    DRAWS,
    FLOOR,
    UNDEFINED,
    Array,
    Estimate,
    Numbers,
    chain,
    clustered_share,
    hidden,
    numbered,
    over_clusters,
    summed,
)

Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["identity", "linear", "quadratic"]

# From best for the first completion to best for the second: the order ordinal and interval levels use.
GRADED = ("first_much", "first_slightly", "both_acceptable", "second_slightly", "second_much")
VERDICTS = (*GRADED, "both_unacceptable")
SIDES = {"first_much": "first", "first_slightly": "first", "second_slightly": "second", "second_much": "second"}


FEW = 8


class Rating(NamedTuple):
    """One rater's category for one item. Items of one `cluster` (the sample behind a pair) are not independent; None: it stands alone."""

    item: Hashable
    rater: Hashable
    category: Hashable
    cluster: Hashable = None


@dataclass(frozen=True)
class Table:
    """Ratings counted: `counts` is items × categories, `clusters` the number of each item's cluster. Categories are in their order."""

    counts: Array
    clusters: Numbers

    @property
    def overlapping(self) -> int:
        """Items with two ratings or more: what agreement is measured on."""
        return int(np.count_nonzero(self.counts.sum(axis=1) >= 2))


def tabulate(ratings: Iterable[Rating], categories: Sequence[Hashable]) -> Table:
    """Count ratings by item. Ratings of other categories (such as "cannot judge") are left out.

    Raises ValueError when one rater rated one item twice: repeats measure a rater, not agreement (reliability.self_consistency).
    """
    places = {category: place for place, category in enumerate(categories)}
    rows = [rating for rating in ratings if rating.category in places]
    if len({(rating.item, rating.rater) for rating in rows}) < len(rows):
        raise ValueError("A rater rated an item twice; leave repeats out.")
    items = numbered(rating.item for rating in rows)
    counts = np.zeros((int(items.max()) + 1 if rows else 0, len(categories)))
    np.add.at(counts, (items, np.fromiter((places[rating.category] for rating in rows), dtype=np.intp)), 1)
    _, firsts = np.unique(items, return_index=True)
    clusters = numbered(("item", rows[i].item) if rows[i].cluster is None else ("cluster", rows[i].cluster) for i in firsts)
    return Table(counts, clusters)


def decisive(ratings: Iterable[Rating]) -> list[Rating]:
    """Only the votes for a side, "first" or "second", however strong."""
    return [rating._replace(category=SIDES[rating.category]) for rating in ratings if rating.category in SIDES]


def _agreeing(counts: Array, weights: Array | None = None) -> Array:
    """Of each item's ordered pairs of ratings the share that agree (weighted: how far): items × 1, 0 where fewer than two rated."""
    size = counts.sum(axis=1)
    partners = counts if weights is None else counts @ weights
    pairs = np.where(size >= 2, size * (size - 1), 1.0)
    return np.where(size >= 2, (counts * partners).sum(axis=1) - size, 0.0)[:, None] / pairs[:, None]


def raw_agreement(table: Table, *, floor: int = FLOOR) -> Estimate:
    """How often two raters of one item say the same: mean over items of Σ_c n_c(n_c−1) / r(r−1). n: items rated twice or more."""
    overlapping = (table.counts.sum(axis=1) >= 2).astype(float)[:, None]
    if not overlapping.any():
        return hidden(0, UNDEFINED)
    sums = summed(np.hstack([_agreeing(table.counts), overlapping]), table.clusters)
    return clustered_share(sums[:, 0], sums[:, 1], n=table.overlapping, floor=floor)


def krippendorff_alpha(table: Table, level: Level = "nominal", *, floor: int = FLOOR, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Krippendorff's alpha, 1 − D_o / D_e, any raters, with gaps (Content Analysis, 2004, ch. 11; "Computing Krippendorff's
    Alpha-Reliability", 2011). Interval: categories stand at 0, 1, 2, … Ordinal: distances follow how often categories were used.

    Undefined when nothing overlaps or everybody gave one category: expected disagreement is then 0, and there is nothing to compare with.
    """
    size = table.counts.sum(axis=1)
    counts = table.counts[size >= 2]
    if not len(counts):
        return hidden(0, UNDEFINED)
    q = counts.shape[1]
    upper = np.triu_indices(q, 1)
    # Coincidences of each item, as unordered pairs of categories, and how often each category was used.
    coincidences = 2 * counts[:, upper[0]] * counts[:, upper[1]] / (counts.sum(axis=1) - 1)[:, None]
    sums = summed(np.hstack([coincidences, counts]), numbered(table.clusters[size >= 2]))
    distance = _distance(level, q, upper)

    def alpha(totals: Array) -> Array:
        observed, used = totals[:, : len(upper[0])], totals[:, len(upper[0]) :]
        apart = distance(used)
        expected = 2 * (used[:, upper[0]] * used[:, upper[1]] * apart).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = 1 - (used.sum(axis=1) - 1) * (observed * apart).sum(axis=1) / expected
        return np.where(expected > 0, found, np.nan)

    used = counts.sum(axis=0)
    chance = 1 - float((used * (used - 1)).sum() / (used.sum() * (used.sum() - 1)))
    return _seeing_no_further(over_clusters(sums, alpha, n=len(counts), floor=floor, draws=draws, seed=seed), table, chance)


def _distance(level: Level, q: int, upper: tuple[Numbers, Numbers]) -> Callable[[Array], Array]:
    """From how often categories were used (m × q) to the squared distance of each unordered pair of categories (m or 1, × pairs)."""
    first, second = upper
    if level == "ordinal":

        def ordinal(used: Array) -> Array:
            upto = np.cumsum(used, axis=1)
            between = upto[:, second] - upto[:, first] + used[:, first]
            squared: Array = (between - (used[:, first] + used[:, second]) / 2) ** 2
            return squared

        return ordinal
    fixed = np.ones(len(first)) if level == "nominal" else (second - first).astype(float) ** 2
    assert level in ("nominal", "interval"), level
    return lambda used: fixed[None]


def gwet_ac1(table: Table, *, floor: int = FLOOR, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Gwet's AC1 (Br. J. Math. Stat. Psychol. 61, 2008): (p_a − p_e) / (1 − p_e), p_e = Σ π_c(1−π_c) / (q−1), over q categories offered.

    Stays near raw agreement where one verdict dominates and alpha collapses. Everybody in one category: undefined, like alpha.
    """
    return gwet_ac2(table, "identity", floor=floor, draws=draws, seed=seed)


def gwet_ac2(table: Table, weights: Weights = "quadratic", *, floor: int = FLOOR, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """AC1 with partial credit for near categories (Gwet, Handbook of Inter-Rater Reliability, 4th ed. 2014): 1 − (|i−j| / (q−1))^power."""
    size = table.counts.sum(axis=1)
    overlapping = (size >= 2).astype(float)[:, None]
    q = table.counts.shape[1]
    if not overlapping.any() or q < 2:
        return hidden(0, UNDEFINED)
    places = np.arange(q)
    apart = np.abs(places[:, None] - places[None]) / (q - 1)
    credit = {"identity": (apart == 0).astype(float), "linear": 1 - apart, "quadratic": 1 - apart**2}[weights]
    rows = np.hstack([_agreeing(table.counts, credit), overlapping, table.counts / size[:, None], np.ones((len(size), 1))])

    def coefficient(totals: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            agreed, used = totals[:, 0] / totals[:, 1], totals[:, 2:-1] / totals[:, -1:]
            by_chance = credit.sum() * (used * (1 - used)).sum(axis=1) / (q * (q - 1))
            found: Array = (agreed - by_chance) / (1 - by_chance)
        return np.where(by_chance > 1e-12, found, np.nan)

    used = (table.counts / size[:, None]).mean(axis=0)
    # By chance two ratings fall out; of a disagreement this much is lost on average.
    chance = 1 - float(credit.sum() * (used * (1 - used)).sum()) / (q * (q - 1))
    lost = float((1 - credit).sum()) / (q * (q - 1))
    found = over_clusters(summed(rows, table.clusters), coefficient, n=table.overlapping, floor=floor, draws=draws, seed=seed)
    return _seeing_no_further(found, table, chance / lost)


def _seeing_no_further(found: Estimate, table: Table, chance: float) -> Estimate:
    """With fewer than eight clusters that disagree, redrawing them cannot show how many disagree in truth: unanimous samples would get
    an interval of no width. The interval is then as wide at least as raw agreement's, put through 1 − (1−A) / chance disagreement.
    Eight was chosen by coverage (benchmarks/statistics.py: with five, alpha of 40 pairs under one dominant verdict was covered 91 %).
    """
    disagreeing = table.clusters[(table.counts.max(axis=1) < table.counts.sum(axis=1))]
    raw = raw_agreement(table, floor=1)
    if found.low is None or found.high is None or raw.low is None or raw.high is None or len(set(disagreeing.tolist())) >= FEW:
        return found
    low, high = (1 - (1 - end) / chance for end in (raw.low, raw.high))
    return found._replace(low=min(found.low, low), high=max(found.high, high))


def flip_rate(agreement: Estimate) -> Estimate:
    """How often one rater errs, if two err independently and equally: ε = (1 − √(2A−1)) / 2, of agreement A on decisive votes.

    Undefined below A = ½, where no such rate exists. The function falls with A, so the interval's ends change places.
    """
    if agreement.value is None:
        return agreement
    if agreement.value < 0.5:
        return hidden(agreement.n, UNDEFINED)
    return chain(agreement, lambda agreed: (1 - sqrt(max(2 * agreed - 1, 0.0))) / 2)


def by_group(
    ratings: Iterable[Rating], group_of: Mapping[Hashable, str], categories: Sequence[Hashable], measure: Callable[[Table], Estimate]
) -> dict[str, Estimate]:
    """One of the measures above for each group of items (each task type, say), by name in order. `group_of` names every item's group."""
    groups: dict[str, list[Rating]] = {}
    for rating in ratings:
        groups.setdefault(group_of[rating.item], []).append(rating)
    return {name: measure(tabulate(groups[name], categories)) for name in sorted(groups)}


def flip_rate_by(ratings: Iterable[Rating], group_of: Mapping[Hashable, str], *, floor: int = FLOOR) -> dict[str, Estimate]:
    """The flip rate of each group of items, from its decisive votes. A group without any is left out."""
    return by_group(decisive(ratings), group_of, ("first", "second"), lambda table: flip_rate(raw_agreement(table, floor=floor)))


def margins(ratings: Iterable[Rating]) -> dict[Hashable, str]:
    """Each decisively judged item's margin, as groups for `by_group`: "much" where anybody said "much better", else "slightly"."""
    found: dict[Hashable, str] = {}
    for rating in ratings:
        if rating.category in SIDES:
            strong = str(rating.category).endswith("_much") or found.get(rating.item) == "much"
            found[rating.item] = "much" if strong else "slightly"
    return found


def after_majority_of_three(flips: float) -> float:
    """How often the majority of three such raters errs: ε²(3 − 2ε)."""
    return flips**2 * (3 - 2 * flips)


def ceiling(flips: Estimate) -> Estimate:
    """The best held-out accuracy anything can have against one rater: 1 − ε. Accuracies are shown beside it, never alone."""
    return chain(flips, lambda rate: 1 - rate)
