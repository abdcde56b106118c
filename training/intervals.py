"""Intervals for shares of few things. Pure; imports nobody."""

import math
from collections.abc import Sequence
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


# Student's t, two-sided 95 %, by degrees of freedom.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def over_runs(shares: Sequence[Share]) -> Share:
    """The mean share of several runs measured on the same things, with an interval that covers the chance in training too.

    One run's interval covers only which things it was asked: a model with nothing to learn still leans one way as a whole.
    The wider of Wilson's (over things) and Student's (over runs) is given on each side.
    """
    count = len(shares)
    assert 1 <= count <= 1 + max(T95)
    things = min(share["n"] for share in shares)
    mean = sum(share["value"] for share in shares) / count
    low, high = wilson(mean * things, things)
    if count > 1:
        spread = math.sqrt(sum((share["value"] - mean) ** 2 for share in shares) / (count - 1))
        half = T95[count - 1] * spread / math.sqrt(count)
        low, high = min(low, mean - half), max(high, mean + half)
    return Share(value=mean, low=max(0.0, low), high=min(1.0, high), n=things)
