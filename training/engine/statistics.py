"""Intervals for small samples. Standard library only."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion (1927): honest at 0 and 1, where the normal one is a point."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_mean(groups: Sequence[Sequence[float]], draws: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over all values when whole ``groups`` are redrawn (pairs of one prompt are
    not independent). Returns (low, high)."""
    rng = random.Random(f"bootstrap {seed}")
    totals = [(math.fsum(group), len(group)) for group in groups]
    means = []
    for _ in range(draws):
        drawn = rng.choices(totals, k=len(totals))
        means.append(math.fsum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    return means[int(0.025 * (draws - 1))], means[math.ceil(0.975 * (draws - 1))]


def proportion(successes: int, n: int) -> dict[str, float | int]:
    """A share with its Wilson interval, as the result file carries it; ``n`` 0 has no value."""
    low, high = wilson(successes, n)
    return {"value": successes / n if n else 0.0, "low": low, "high": high, "n": n}
