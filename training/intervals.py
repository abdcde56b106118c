"""Intervals for shares of few things. Pure; imports nobody."""

import math
from typing import TypedDict

Z95 = 1.959964


class Share(TypedDict):
    """A share with its 95 % interval, over `n` things."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval (1927). `successes` may hold halves: a tie varies less than a coin, so it errs to the wide side."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def win_rate(before: list[bool], after: list[bool]) -> Share:
    """How often `after` has what `before` lacks; equal counts half. 0.5 means no difference."""
    assert len(before) == len(after)
    wins = sum(0.5 if was == now else float(now) for was, now in zip(before, after, strict=True))
    low, high = wilson(wins, len(before))
    return Share(value=wins / len(before) if before else 0.5, low=low, high=high, n=len(before))
