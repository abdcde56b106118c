"""The operators against slow ones written out here, entry by entry, from the formulas; and against mergekit."""

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")

from training.engine import recipes  # noqa: E402
from training.engine.merging import operators  # noqa: E402

Values = list[float]


def slow_slerp(t: float, a: Values, b: Values) -> Values:
    na, nb = math.sqrt(sum(x * x for x in a)), math.sqrt(sum(x * x for x in b))
    ua = [x / na for x in a] if na > 1e-8 else a
    ub = [x / nb for x in b] if nb > 1e-8 else b
    cosine = max(-1.0, min(1.0, sum(x * y for x, y in zip(ua, ub, strict=True))))
    if abs(cosine) > 0.9995:
        return [(1 - t) * x + t * y for x, y in zip(a, b, strict=True)]
    angle = math.acos(cosine)
    left, right = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return [left * x + right * y for x, y in zip(a, b, strict=True)]


def slow_breadcrumbs(delta: Values, density: float, gamma: float) -> Values:
    if density >= 1:
        return delta
    n = len(delta)
    keep, top = int(density * n), int(gamma * n)
    bottom = n - keep - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    ranked = sorted(range(n), key=lambda index: (abs(delta[index]), index))
    kept = {index for rank, index in enumerate(ranked) if bottom <= rank < n - top}
    return [value if index in kept else 0.0 for index, value in enumerate(delta)]


def slow_breadcrumbs_ties(
    base: Values, experts: list[Values], weights: Values, density: float, gamma: float, normalize: bool, scale: float
) -> Values:
    deltas = [slow_breadcrumbs([e - b for e, b in zip(expert, base, strict=True)], density, gamma) for expert in experts]
    merged = []
    for index, start in enumerate(base):
        votes = [weight * delta[index] for weight, delta in zip(weights, deltas, strict=True)]
        sign = 1 if sum(votes) >= 0 else -1
        agreeing = [(vote, weight) for vote, weight in zip(votes, weights, strict=True) if vote * sign > 0]
        total = sum(vote for vote, _ in agreeing)
        if normalize:
            total /= sum(weight for _, weight in agreeing) or 1
        merged.append(start + scale * total)
    return merged


def tensor(values: object) -> "torch.Tensor":
    return torch.tensor(np.asarray(values, dtype=np.float32))


def merged(method: str, base: Any, *experts: Any, own: list[dict[str, Any]] | None = None, **parameters: Any) -> "torch.Tensor":
    """One tensor through the front door: JSON, recipe, numbers, operator."""
    inputs = [{"model": f"e{index}", "parameters": (own or [{}] * len(experts))[index]} for index in range(len(experts))]
    raw = {"method": method, "inputs": inputs, "parameters": parameters} | ({"base": "base"} if base is not None else {})
    resolved = recipes.resolve(recipes.parse(raw), "w", layers=1)
    parts = operators.Parts(
        "w", None if base is None else tensor(base), [tensor(expert) for expert in experts], [f"e{i}" for i in range(9)]
    )
    return operators.combine(resolved, parts)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("nearness", [1.0, 0.1, 0.001])
def test_slerp_is_the_formula(t: float, nearness: float) -> None:
    random = np.random.default_rng(1)
    a = random.normal(size=60).astype(np.float32)
    b = (a + nearness * random.normal(size=60)).astype(np.float32)
    made = merged("slerp", a.reshape(6, 10), b.reshape(6, 10), t=t)
    assert made.shape == (6, 10)
    assert made.reshape(-1).tolist() == pytest.approx(slow_slerp(t, a.tolist(), b.tolist()), abs=2e-5)


def test_slerp_by_hand() -> None:
    def slerp(t: float, a: Values, b: Values) -> Values:
        return merged("slerp", a, b, t=t).tolist()

    right_angle = slerp(0.5, [2.0, 0.0], [0.0, 1.0])
    assert right_angle == pytest.approx([2 * math.sqrt(0.5), math.sqrt(0.5)], abs=1e-6)  # unnormalised vectors are mixed
    assert slerp(0.25, [1.0, 0.0], [3.0, 0.0]) == [1.5, 0.0]  # colinear: a line
    assert slerp(0.5, [1.0, 0.0], [-1.0, 0.0]) == [0.0, 0.0]  # opposite: a line too
    assert slerp(0.5, [0.0, 0.0], [0.0, 4.0]) == pytest.approx([0.0, 2 * math.sqrt(2)], abs=1e-6)


def crumbs(delta: Any, density: float, gamma: float) -> Values:
    """What is left of a change of a base of zeros."""
    return merged("breadcrumbs", np.zeros(len(delta)), delta, density=density, gamma=gamma, weight=1).tolist()


@pytest.mark.parametrize("density", [0.001, 0.3, 0.494, 0.9, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.2, 1.672])
def test_breadcrumbs_is_the_formula(density: float, gamma: float) -> None:
    delta = np.random.default_rng(2).normal(size=101).astype(np.float32)
    assert crumbs(delta, density, gamma) == slow_breadcrumbs(delta.tolist(), density, gamma)


def test_breadcrumbs_by_hand() -> None:
    delta = [5.0, -1.0, 3.0, -4.0, 2.0]
    assert crumbs(delta, 0.6, 0.2) == [0.0, 0.0, 3.0, -4.0, 2.0]  # without the largest and the smallest
    assert crumbs(delta, 0.6, 0.0) == [5.0, 0.0, 3.0, -4.0, 0.0]  # no top: the empty-slice trap
    assert crumbs(delta, 0.6, 1.7) == [0.0, -1.0, 3.0, 0.0, 2.0]  # gamma above 1: the smallest stay
    assert crumbs(delta, 1.0, 0.2) == delta  # density 1 keeps all
    assert crumbs(delta, 0.1, 0.0) == [0.0] * 5  # int(0.5) = 0 entries
    assert crumbs([1.0, 1.0, 1.0, 1.0], 0.5, 0.0) == [0.0, 0.0, 1.0, 1.0]  # ties: later is larger


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.1), (1.0, 0.0), (0.494, 1.672), (0.3, 0.0)])
def test_breadcrumbs_ties_is_the_formula(density: float, gamma: float, normalize: bool) -> None:
    random = np.random.default_rng(3)
    base = random.normal(size=200).astype(np.float32)
    experts = [(base + 0.1 * random.normal(size=200)).astype(np.float32) for _ in range(5)]
    weights = [0.5, 1.0, 1.5, 2.0, 0.25]
    made = merged(
        "breadcrumbs_ties", base.reshape(10, 20), *(expert.reshape(10, 20) for expert in experts), own=[{"weight": w} for w in weights],
        density=density, gamma=gamma, normalize=normalize, **{"lambda": 0.7},
    )  # fmt: skip
    expected = slow_breadcrumbs_ties(base.tolist(), [e.tolist() for e in experts], weights, density, gamma, normalize, 0.7)
    assert made.reshape(-1).tolist() == pytest.approx(expected, abs=2e-6)


def test_the_vote_by_hand() -> None:
    one, two = [1.0, -1.0, 0.0, 2.0], [2.0, 3.0, 0.0, -2.0]

    def vote(second: float, normalize: bool) -> Values:
        return merged("ties", [0.0] * 4, one, two, own=[{"weight": 1}, {"weight": second}], normalize=normalize).tolist()

    # Entry 3: the sum is 0 and counts as positive. Entry 2: nobody agrees, and nothing is divided by nothing.
    assert vote(1.0, False) == [3.0, 3.0, 0.0, 2.0]
    assert vote(1.0, True) == [1.5, 3.0, 0.0, 2.0]
    assert vote(-1.0, False) == [-2.0, -4.0, 0.0, 4.0]
