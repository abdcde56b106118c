"""The operators against slow ones written out here, entry by entry, from the formulas."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from training.engine.errors import BadModel  # noqa: E402
from training.engine.merging import folders, operators  # noqa: E402

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


@pytest.mark.parametrize("t", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("nearness", [1.0, 0.1, 0.001])
def test_slerp_is_the_formula(t: float, nearness: float) -> None:
    random = np.random.default_rng(1)
    a = random.normal(size=60).astype(np.float32)
    b = (a + nearness * random.normal(size=60)).astype(np.float32)
    made = operators.slerp(t, tensor(a.reshape(6, 10)), tensor(b.reshape(6, 10)))
    assert made.shape == (6, 10)
    assert made.reshape(-1).tolist() == pytest.approx(slow_slerp(t, a.tolist(), b.tolist()), abs=2e-5)


def test_slerp_by_hand() -> None:
    right_angle = operators.slerp(0.5, tensor([2.0, 0.0]), tensor([0.0, 1.0])).tolist()
    assert right_angle == pytest.approx([2 * math.sqrt(0.5), math.sqrt(0.5)], abs=1e-6)  # unnormalised vectors are mixed
    assert operators.slerp(0.25, tensor([1.0, 0.0]), tensor([3.0, 0.0])).tolist() == [1.5, 0.0]  # colinear: a line
    assert operators.slerp(0.5, tensor([1.0, 0.0]), tensor([-1.0, 0.0])).tolist() == [0.0, 0.0]  # opposite: a line too
    assert operators.slerp(0.5, tensor([0.0, 0.0]), tensor([0.0, 4.0])).tolist() == pytest.approx([0.0, 2 * math.sqrt(2)], abs=1e-6)


@pytest.mark.parametrize("density", [0.001, 0.3, 0.494, 0.9, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.2, 1.672])
def test_breadcrumbs_is_the_formula(density: float, gamma: float) -> None:
    delta = np.random.default_rng(2).normal(size=101).astype(np.float32)
    assert operators.breadcrumbs(tensor(delta), density, gamma).tolist() == slow_breadcrumbs(delta.tolist(), density, gamma)


def test_breadcrumbs_by_hand() -> None:
    delta = tensor([5.0, -1.0, 3.0, -4.0, 2.0])
    assert operators.breadcrumbs(delta, 0.6, 0.2).tolist() == [0.0, 0.0, 3.0, -4.0, 2.0]  # without the largest and the smallest
    assert operators.breadcrumbs(delta, 0.6, 0.0).tolist() == [5.0, 0.0, 3.0, -4.0, 0.0]  # no top: the empty-slice trap
    assert operators.breadcrumbs(delta, 0.6, 1.7).tolist() == [0.0, -1.0, 3.0, 0.0, 2.0]  # gamma above 1: the smallest stay
    assert operators.breadcrumbs(delta, 1.0, 0.2).tolist() == delta.tolist()  # density 1 keeps all
    assert operators.breadcrumbs(delta, 0.1, 0.0).tolist() == [0.0] * 5  # int(0.5) = 0 entries
    assert operators.breadcrumbs(tensor([1.0, 1.0, 1.0, 1.0]), 0.5, 0.0).tolist() == [0.0, 0.0, 1.0, 1.0]  # ties: later is larger


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.1), (1.0, 0.0), (0.494, 1.672), (0.3, 0.0)])
def test_breadcrumbs_ties_is_the_formula(density: float, gamma: float, normalize: bool) -> None:
    random = np.random.default_rng(3)
    base = random.normal(size=200).astype(np.float32)
    experts = [(base + 0.1 * random.normal(size=200)).astype(np.float32) for _ in range(5)]
    weights = [0.5, 1.0, 1.5, 2.0, 0.25]
    made = operators.breadcrumbs_ties(
        tensor(base.reshape(10, 20)), [tensor(expert.reshape(10, 20)) for expert in experts], weights, density=density,
        gamma=gamma, normalize=normalize, scale=0.7,
    )  # fmt: skip
    expected = slow_breadcrumbs_ties(base.tolist(), [e.tolist() for e in experts], weights, density, gamma, normalize, 0.7)
    assert made.reshape(-1).tolist() == pytest.approx(expected, abs=2e-6)


def test_the_vote_by_hand() -> None:
    deltas = [tensor([1.0, -1.0, 0.0, 2.0]), tensor([2.0, 3.0, 0.0, -2.0])]
    # Entry 3: the sum is 0 and counts as positive. Entry 2: nobody agrees, and nothing is divided by nothing.
    assert operators.ties_vote(deltas, [1.0, 1.0], normalize=False).tolist() == [3.0, 3.0, 0.0, 2.0]
    assert operators.ties_vote(deltas, [1.0, 1.0], normalize=True).tolist() == [1.5, 3.0, 0.0, 2.0]
    assert operators.ties_vote(deltas, [1.0, -1.0], normalize=False).tolist() == [-2.0, -4.0, 0.0, 4.0]


def folder(path: Path, **tensors: "torch.Tensor") -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "phi3", "hidden_size": 2}))
    (path / "tokenizer.json").write_text("{}")
    return path


def test_a_merge_keeps_dtype_configuration_and_tokenizer(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", w=torch.ones(2, 2, dtype=torch.bfloat16))
    two = folder(tmp_path / "two", w=torch.full((2, 2), 3.0, dtype=torch.bfloat16))
    seen: list[tuple[int, int]] = []
    folders.merge(
        {"base": one, "expert": two}, tmp_path / "out", lambda parts: operators.slerp(0.5, parts["base"], parts["expert"]),
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    made = load_file(tmp_path / "out" / "model.safetensors")["w"]
    assert made.dtype == torch.bfloat16
    assert made.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.json", "tokenizer.json"}
    assert seen == [(1, 1)]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: (path / "tokenizer.json").write_text("[]"), "tokenizer.json differs"),
        (lambda path: (path / "config.json").write_text('{"model_type": "phi3", "hidden_size": 4}'), "hidden_size differs"),
        (lambda path: (path / "config.json").unlink(), "config.json"),
        (lambda path: save_file({"v": torch.ones(2, 2)}, path / "model.safetensors"), "tensors are not"),
        (lambda path: save_file({"w": torch.ones(4, 1)}, path / "model.safetensors"), "another shape"),
        (lambda path: save_file({"w": torch.full((2, 2), torch.nan)}, path / "model.safetensors"), "not finite"),
        (lambda path: (path / "model.safetensors").unlink(), "no safetensors"),
    ],
)
def test_models_that_do_not_fit_are_refused(tmp_path: Path, spoil: object, problem: str) -> None:
    one, two = folder(tmp_path / "one", w=torch.ones(2, 2)), folder(tmp_path / "two", w=torch.ones(2, 2))
    spoil(two)  # type: ignore[operator]
    with pytest.raises(BadModel, match=problem):
        folders.merge({"base": one, "expert": two}, tmp_path / "out", lambda parts: parts["expert"], lambda done, total: None)
    assert not (tmp_path / "out").exists()


def test_merging_imports_no_transformers() -> None:
    code = "import sys; import training.engine.kinds.merge; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True False\n"
