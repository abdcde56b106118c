"""Two models on the same items: paired bootstrap, McNemar's test, and which differences are regressions. NumPy.

Every item is scored once for each model, so what they share (hard items, lucky ones) cancels in the difference (Koehn 2004).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.evidence.figures import mcnemar

Array = npt.NDArray[np.float64]

DRAWS = 10_000
# product.md's gate G4, in shares: a task, and the mean over tasks, may not be shown to be worse by more.
TASK_MARGIN, MEAN_MARGIN = 0.015, 0.005
MEAN = "mean"


class Difference(NamedTuple):
    """Mean of (model − parent) over `n` items. `low` and `high` hold for this figure alone (95 %); `family_low` and `family_high` hold for
    all figures of the comparison together. `p` is McNemar's, None unless every item is right or wrong.
    """

    value: float
    low: float
    high: float
    family_low: float
    family_high: float
    n: int
    p: float | None = None


class Relative(NamedTuple):
    """mean(model) / mean(parent) − 1, with its 95 % interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """`tasks` by name, their mean (every task counting once), and the names of what got worse; MEAN among them for the mean."""

    tasks: dict[str, Difference]
    mean: Difference
    regressions: tuple[str, ...]


def compare(
    model: Mapping[str, Array], parent: Mapping[str, Array], *, draws: int = DRAWS, seed: int = 0,
    task_margin: float = TASK_MARGIN, mean_margin: float = MEAN_MARGIN,
) -> Comparison:  # fmt: skip
    """Compare two models' item scores (shape (items,), in [0, 1]) task by task and over all tasks.

    A task is a regression when its family-wise interval lies wholly below −`task_margin`, the mean when its own does below
    −`mean_margin`. The family's intervals are Bonferroni's over all tasks and the mean: of comparisons in which nothing differs, at most
    one in twenty flags anything. Raises ValueError when the two were not scored on the same items.
    """
    if not model or model.keys() != parent.keys():
        raise ValueError("the two were not scored on the same tasks")
    rng = np.random.default_rng(seed)
    alone, family = 0.05, 0.05 / (len(model) + 1)
    tasks: dict[str, Difference] = {}
    over_all = np.zeros(draws)
    for name in sorted(model):
        ours, theirs = np.asarray(model[name], dtype=np.float64), np.asarray(parent[name], dtype=np.float64)
        if ours.shape != theirs.shape or not len(ours):
            raise ValueError(f"the two were not scored on the same items of {name}")
        drawn = _drawn(ours - theirs, draws, rng)
        over_all += drawn / len(model)
        tasks[name] = _difference(float((ours - theirs).mean()), drawn, len(ours), alone, family, _p(ours, theirs))
    mean = _difference(
        math.fsum(one.value for one in tasks.values()) / len(tasks), over_all, sum(one.n for one in tasks.values()), alone, family, None
    )
    worse = [name for name, one in tasks.items() if one.family_high < -task_margin]
    return Comparison(tasks, mean, (*worse, *([MEAN] if mean.family_high < -mean_margin else [])))


def relative(model: Array, parent: Array, *, draws: int = DRAWS, seed: int = 0) -> Relative | None:
    """By how much of the parent's score the model's is higher; items (shape (items,)) are redrawn in pairs.

    None where the parent scored nothing, or so little that more than one redrawn sample in forty has nothing: it has no upper end then.
    """
    pairs, counts = np.unique(np.stack([model, parent]), axis=1, return_counts=True)
    n = len(model)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws) @ pairs.T / n
    ours, theirs = drawn[:, 0], drawn[:, 1]
    if not np.mean(parent) or np.mean(theirs == 0) > 0.025:
        return None
    ratios = ours[theirs > 0] / theirs[theirs > 0] - 1
    low, high = np.quantile(ratios, [0.025, 0.975]).tolist()
    return Relative(float(np.mean(model) / np.mean(parent) - 1), low, high)


def _drawn(differences: Array, draws: int, rng: np.random.Generator) -> Array:
    """Means of `draws` redrawn samples. Equal differences are drawn together, which is the same and far cheaper for right and wrong."""
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    step = max(1, 4_000_000 // len(values))
    parts = [rng.multinomial(n, counts / n, size=min(step, draws - start)) @ values / n for start in range(0, draws, step)]
    return np.concatenate(parts)


def _difference(value: float, drawn: Array, n: int, alone: float, family: float, p: float | None) -> Difference:
    low, high, family_low, family_high = np.quantile(drawn, [alone / 2, 1 - alone / 2, family / 2, 1 - family / 2]).tolist()
    return Difference(value, low, high, family_low, family_high, n, p)


def _p(ours: Array, theirs: Array) -> float | None:
    if not (np.isin(ours, (0, 1)).all() and np.isin(theirs, (0, 1)).all()):
        return None
    return mcnemar(int(np.count_nonzero(ours > theirs)), int(np.count_nonzero(ours < theirs)))
