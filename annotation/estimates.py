"""Estimates with their intervals, and when there is none to show. NumPy and the standard library; the other statistics build on it."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
# Fewer things than this show no number (product.md 3.3 A5). A parameter everywhere, so that published examples can be recomputed.
FLOOR = 30
DRAWS = 1000
TOO_SMALL, UNDEFINED = "n too small", "undefined"


class Estimate(NamedTuple):
    """A figure with its 95 % interval over `n` things; or no figure, and a `note` that says why. Never NaN."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""


def hidden(n: int, note: str) -> Estimate:
    return Estimate(None, None, None, n, note)


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (J. Am. Stat. Assoc. 22, 1927): honest at 0 and 1. `n` may be an effective number, not whole."""
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(max(share * (1 - share), 0.0) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def share(successes: float, n: int, *, floor: int = FLOOR) -> Estimate:
    """A share of `n` independent things. Ties may count as halves: the interval then errs to the wide side."""
    if n < max(floor, 1):
        return hidden(n, TOO_SMALL)
    return Estimate(successes / n, *wilson(successes, n), n)


def clustered_share(hits: Array, sizes: Array, *, n: int | None = None, floor: int = FLOOR) -> Estimate:
    """Σ hits / Σ sizes over clusters (one entry a cluster; 0 ≤ hits ≤ sizes), with Wilson's interval at the effective number.

    The effective number is p(1−p) over the variance between clusters (Kish's design effect, 1965; Korn & Graubard 1998, with
    Wilson's interval for Clopper's), shortened by Student's t for few clusters. Where clusters do not vary, each counts once.
    """
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    total, clusters = float(sizes.sum()), len(sizes)
    n = round(total) if n is None else n
    if n < max(floor, 1) or clusters < 2:
        return hidden(n, TOO_SMALL)
    p = float(hits.sum()) / total
    variance = float(((hits - p * sizes) ** 2).sum()) * clusters / (clusters - 1) / total**2
    effective = p * (1 - p) / variance if variance > 1e-15 else float(clusters)
    effective *= (Z95 / student95(clusters - 1)) ** 2
    return Estimate(p, *wilson(p * effective, effective), n)


def student95(freedom: float) -> float:
    """The two-sided 95 % point of Student's t."""
    return student(Z95, freedom)


def student(z: float, freedom: float) -> float:
    """The point of Student's t that lies where `z` lies in the normal distribution (Cornish and Fisher's expansion, Abramowitz & Stegun
    26.7.5): at 95 % to 0.1 % from 4 degrees on.
    """
    v = max(freedom, 1.0)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def numbered(keys: Iterable[Hashable]) -> Numbers:
    """Each key as a number from 0 on, by first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.intp)


def summed(rows: Array, clusters: Numbers) -> Array:
    """The rows (n × k) of every cluster added up: clusters × k."""
    sums = np.zeros((int(clusters.max()) + 1 if len(clusters) else 0, rows.shape[1]))
    np.add.at(sums, clusters, rows)
    return sums


def bootstrap(sums: Array, statistic: Callable[[Array], Array], *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of `statistic` when whole clusters are redrawn: bias-corrected, accelerated (Efron, J. Am. Stat. Assoc. 82, 1987).

    `sums` is clusters × k: what each cluster adds to the totals the statistic is a function of; `statistic` maps totals (m × k) to
    m values, NaN where undefined. A draw is a weighted sum, and clusters with equal sums are drawn together, which is the same.
    None when more than one draw in twenty is undefined.
    """
    clusters = len(sums)
    patterns, counts = np.unique(sums, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(patterns))
    found = np.concatenate(
        [
            statistic(rng.multinomial(clusters, counts / clusters, size=min(step, draws - start)) @ patterns)
            for start in range(0, draws, step)
        ]
    )
    found = np.sort(found[np.isfinite(found)])
    if len(found) < 0.95 * draws:
        return None
    total = counts @ patterns
    point = float(statistic(total[None])[0])
    # How far the draws' median lies from the point, and how the spread grows with it, by leaving out one cluster at a time.
    below = (np.count_nonzero(found < point) + 0.5 * np.count_nonzero(found == point)) / len(found)
    bias = NORMAL.inv_cdf(min(max(below, 1 / draws), 1 - 1 / draws))
    without = statistic(total[None] - patterns)
    usable = np.isfinite(without)
    weight = counts[usable]
    away = np.average(without[usable], weights=weight) - without[usable] if usable.any() else np.zeros(0)
    spread = float(weight @ away**2)
    acceleration = float(weight @ away**3) / (6 * spread**1.5) if spread > 1e-18 else 0.0
    low, high = (_level(bias, acceleration, z) for z in (-Z95, Z95))
    return float(np.quantile(found, low)), float(np.quantile(found, high))


def _level(bias: float, acceleration: float, z: float) -> float:
    return NORMAL.cdf(bias + (bias + z) / max(1 - acceleration * (bias + z), 0.1))


def over_clusters(
    sums: Array, statistic: Callable[[Array], Array], *, n: int, floor: int = FLOOR, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """`statistic` of the totals of `sums` (clusters × k), with its bootstrapped interval; hidden below `floor` things or when undefined."""
    if n < max(floor, 1):
        return hidden(n, TOO_SMALL)
    value = float(statistic(sums.sum(axis=0)[None])[0])
    if not np.isfinite(value):
        return hidden(n, UNDEFINED)
    interval = bootstrap(sums, statistic, draws=draws, seed=seed)
    return Estimate(value, *interval, n) if interval else hidden(n, UNDEFINED)


def chain(estimate: Estimate, through: Callable[[float], float]) -> Estimate:
    """An estimate put through a monotone function, its interval with it."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    ends: Sequence[float] = sorted((through(estimate.low), through(estimate.high)))
    return Estimate(through(estimate.value), ends[0], ends[1], estimate.n, estimate.note)
