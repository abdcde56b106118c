"""Intervals for shares of few things, before and after. Pure."""

import math
from collections.abc import Sequence
from typing import TypedDict

from annotation.estimates import wilson


class Share(TypedDict):
    """A share with its 95 % interval, over `n` things."""

    value: float
    low: float
    high: float
    n: int


def share(successes: float, n: int) -> Share:
    """`successes` of `n` with Wilson's interval; halves (ties) vary less than coins, so they err to the wide side."""
    low, high = wilson(successes, n)
    return Share(value=successes / n, low=low, high=high, n=n)


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
