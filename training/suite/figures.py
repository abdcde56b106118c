"""How one model's scores on a suite stand to its baseline's: AVG, #DG and CV∆ as the paper defines and as it prints them. Pure.

arXiv 2505.10717, 3.1.5: with δ_d = model − baseline on data set d and μ = mean δ, #DG counts the data sets with δ > 0 and
CV∆ = √(E_d[(δ_d − μ)²]) / |μ|: small is an even gain. The equation is the population's; the printed values are the sample's (n − 1).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

# A mean gain below this is rounding: dividing by it would print noise as a figure.
NO_GAIN = 1e-9


class Standing(NamedTuple):
    """`average` in the scores' own unit; `gained` data sets of `datasets`; CV∆ in both forms, None where there is no mean gain."""

    average: float
    mean_gain: float
    gained: int
    datasets: int
    cv_population: float | None
    cv_sample: float | None


def average(scores: Mapping[str, float]) -> float:
    """AVG: the mean over data sets, each counting once. Raises ValueError for none."""
    if not scores:
        raise ValueError("no scores")
    return math.fsum(scores.values()) / len(scores)


def standing(scores: Mapping[str, float], baseline: Mapping[str, float]) -> Standing:
    """The model's figures against the baseline's. Raises ValueError when they were not scored on the same data sets."""
    if scores.keys() != baseline.keys():
        raise ValueError("the two were not scored on the same data sets")
    gains = [scores[name] - baseline[name] for name in scores]
    count, mean = len(gains), average(scores) - average(baseline)
    squares = math.fsum((gain - mean) ** 2 for gain in gains)
    some = abs(mean) > NO_GAIN
    return Standing(
        average=average(scores),
        mean_gain=mean,
        gained=sum(gain > 0 for gain in gains),
        datasets=count,
        cv_population=math.sqrt(squares / count) / abs(mean) if some else None,
        cv_sample=math.sqrt(squares / (count - 1)) / abs(mean) if some and count > 1 else None,
    )
