"""The operators against slow ones written out here, entry by entry, from the papers' formulas; ranks against a sort; masks that depend
on nothing but seed, expert and tensor."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")

from safetensors.torch import load_file  # noqa: E402

from tests.engine import merges  # noqa: E402
from training.engine import recipes  # noqa: E402
from training.engine.merging import masks, operators, ranks, work  # noqa: E402
from training.engine.merging.randomness import Stream  # noqa: E402

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


def merged(
    method: str, base: Any, *experts: Any, own: list[dict[str, Any]] | None = None, variants: dict[str, str] | None = None, seed: int = 0,
    **parameters: Any,
) -> "torch.Tensor":  # fmt: skip
    """One tensor through the front door: JSON, recipe, numbers, operator."""
    inputs = [{"model": f"e{index}", "parameters": (own or [{}] * len(experts))[index]} for index in range(len(experts))]
    raw: dict[str, Any] = {"method": method, "inputs": inputs, "parameters": parameters, "variants": variants or {}}
    raw |= {"base": "base"} if base is not None else {}
    resolved = recipes.resolve(recipes.parse(raw), "w", layers=1)
    parts = operators.held("w", None if base is None else tensor(base), [tensor(expert) for expert in experts], [f"e{i}" for i in range(9)])
    return operators.combine(resolved, parts, seed=seed)


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


def kept(expert: int, chance: Any, count: int, seed: int = 3) -> "np.ndarray[Any, Any]":
    """The mask of one expert of ``merged``, as it is drawn."""
    return Stream(seed, f"e{expert}", "w").keep(chance, 0, count).numpy()


@pytest.mark.parametrize("vote", [False, True])
def test_dare_divides_by_density_as_the_paper_does(vote: bool) -> None:
    random = np.random.default_rng(5)
    base, one, two = random.normal(size=(3, 300))
    made = merged(
        "dare_ties" if vote else "dare_linear", base, one, two, own=[{"density": 0.3}, {"density": 0.8}], seed=3, weight=0.5,
        **{"lambda": 1.5},
    )  # fmt: skip
    changes = [0.5 * np.where(kept(0, 0.3, 300), (one - base) / 0.3, 0), 0.5 * np.where(kept(1, 0.8, 300), (two - base) / 0.8, 0)]
    if vote:
        sign = np.where(changes[0] + changes[1] >= 0, 1, -1)
        changes = [np.where(np.sign(change) == sign, change, 0) for change in changes]
    assert made.numpy() == pytest.approx(base + 1.5 * (changes[0] + changes[1]), abs=1e-5)


def test_without_rescaling_dare_only_drops() -> None:
    base, one = np.zeros(200), np.random.default_rng(6).normal(size=200)
    made = merged("dare_linear", base, one, seed=3, density=0.4, weight=1, rescale=False)
    assert made.numpy() == pytest.approx(np.where(kept(0, 0.4, 200), one, 0), abs=1e-6)


def test_della_keeps_a_rows_larger_changes_more_often_and_divides_by_each_ones_chance() -> None:
    one = np.random.default_rng(7).normal(size=(4, 50)).astype(np.float32)
    made = merged("della_linear", np.zeros((4, 50)), one, seed=3, density=0.5, epsilon=0.2, weight=1)
    ranks = np.abs(one).argsort(1).argsort(1)
    chance = 0.3 + 0.4 * ranks / 49
    assert made.numpy() == pytest.approx(np.where(kept(0, chance.reshape(-1), 200).reshape(4, 50), one / chance, 0), abs=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_model_stock_and_sce_do_not_look_at_the_scale_of_changes(scale: float) -> None:
    """mergekit's small constants would take over where changes are as small as fine-tuning makes them."""
    random = np.random.default_rng(8)
    changes = scale * (random.normal(size=(3, 64)) + random.normal(size=64))
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in ((changes[0], changes[1]), (changes[0], changes[2]), (changes[1], changes[2]))
    ]
    c = np.mean(cosines)
    made = merged("model_stock", np.zeros(64), *changes)
    assert made.numpy() / scale == pytest.approx(3 * c / (1 + 2 * c) * changes.mean(0) / scale, abs=1e-4)

    changes *= np.array([[1], [2], [4]])
    weights = (changes**2).mean(1) / (changes**2).mean(1).sum()
    agrees = np.sign(changes) == np.where(changes.sum(0) >= 0, 1, -1)
    expected = (changes * agrees * weights[:, None]).sum(0) / (agrees * weights[:, None]).sum(0)
    assert merged("sce", np.zeros(64), *changes).numpy() / scale == pytest.approx(expected / scale, abs=1e-4)
    if scale < 1:
        floored = merged("sce", np.zeros(64), *changes, variants={"sce_weights": "floor"}).numpy()
        assert floored / scale == pytest.approx((changes * agrees).sum(0) / agrees.sum(0) / scale, abs=1e-4)


def test_ties_over_the_whole_model_keeps_its_largest_changes_wherever_they_are() -> None:
    random = np.random.default_rng(9)
    # Whole steps, so that many are equal at the edge; and one tensor changes ten times as much.
    changes = {name: np.round(random.normal(size=(6, 20)) * size) for name, size in (("b", 3), ("a", 3), ("c", 30))}
    recipe = recipes.parse({
        "method": "ties", "base": "base", "inputs": [{"model": "e", "parameters": {"density": 0.4}}], "parameters": {"weight": 1},
        "variants": {"trim": "vector"},
    })  # fmt: skip
    survey = operators.survey(recipe, 1)
    assert survey is not None
    parts = {name: operators.held(name, torch.zeros(6, 20), [tensor(change)]) for name, change in changes.items()}
    passes = 0
    while survey.open:
        passes += 1
        for name in parts:
            survey.look(name, parts[name])
        survey.turn()
    assert passes == 3  # the third for what is equal at the edge
    made = [
        operators.combine(
            recipes.resolve(recipe, name, 1), parts[name], survey=survey
        ).reshape(-1).tolist()
        for name in sorted(changes)
    ]  # fmt: skip
    flat = np.concatenate([changes[name].reshape(-1) for name in sorted(changes)])
    largest = np.argsort(-np.abs(flat), kind="stable")[: int(0.4 * 360)]
    expected = np.zeros(360)
    expected[largest] = flat[largest]
    assert [value for part in made for value in part] == expected.tolist()
    assert operators.survey(recipes.parse(recipes.as_json(recipe) | {"variants": {"trim": "tensor"}}), 1) is None


def test_a_streamed_merge_trims_the_whole_model_too(tmp_path: Path) -> None:
    models = merges.family(tmp_path)
    inputs = [{"model": "x", "parameters": {"density": 0.3}}, {"model": "y", "parameters": {"density": 0.7}}, {"model": "z"}]
    recipe = {"method": "ties", "base": "base", "inputs": inputs, "parameters": {"weight": 1}, "variants": {"trim": "vector"}}
    (tmp_path / "out").mkdir()
    merges.merged(recipe | {"out_dtype": "float32"}, models, tmp_path / "out")
    made = load_file(tmp_path / "out" / "output" / "model.safetensors")
    stored = {name: load_file(folder / "model.safetensors") for name, folder in models.items()}

    def vector(tensors: "dict[str, torch.Tensor]") -> "np.ndarray[Any, Any]":
        return torch.cat([tensors[name].float().reshape(-1) for name in sorted(made)]).numpy()

    base = vector(stored["base"])
    changes = []
    for name, density in (("x", 0.3), ("y", 0.7), ("z", 1)):
        change = vector(stored[name]) - base
        change[np.argsort(-np.abs(change), kind="stable")[int(density * len(change)) :]] = 0
        changes.append(change)
    agrees = np.sign(changes) == np.where(sum(changes) >= 0, 1, -1)
    expected = base + (np.array(changes) * agrees).sum(0) / np.maximum(agrees.sum(0), 1)
    assert np.abs(vector(made) - expected).max() < 1e-7


@given(
    values=st.lists(st.floats(0, 2.0**126, width=32) | st.sampled_from([0.0, 1.0, 1.0000001]), min_size=1, max_size=60),
    count=st.integers(0, 61), top=st.integers(0, 61), size=st.integers(1, 61),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_ranks_are_those_of_a_stable_sort(values: Values, count: int, top: int, size: int) -> None:
    magnitudes, n = tensor(values), len(values)

    def look(start: int, stop: int, those: Any) -> Any:
        return ((index, magnitudes[start:stop].numpy()) for index in those)

    def kept(wish: ranks.Wish) -> Values:
        (band,) = ranks.bands([wish], look, lambda: ((start, min(start + size, n)) for start in range(0, n, size)))
        made = [part.clone() for part in magnitudes.split(size)]
        for place, part in enumerate(made):
            masks.thin(part, band, place * size, torch.empty_like(part))
        return torch.cat(made).tolist()

    def only(places: list[int]) -> Values:
        return [value if index in places else 0.0 for index, value in enumerate(magnitudes.tolist())]

    falling = sorted(range(n), key=lambda index: (-magnitudes[index].item(), index))
    rising = sorted(range(n), key=lambda index: (magnitudes[index].item(), index))
    with pytest.MonkeyPatch.context() as patch:
        # Collected whole; by a sample that may mislead; and by bits, where there is no room to collect.
        for sampled, most in ((1 << 16, 1 << 23), (0, 1 << 23), (0, 0)):
            patch.setattr(ranks, "SAMPLE", sampled)
            patch.setattr(ranks, "MOST", most)
            patch.setattr(ranks, "WIDTH", 0.5)
            assert kept(ranks.Wish(n, largest=count)) == only(falling[:count])
            assert kept(ranks.Wish(n, bottom=count, top=top)) == only(rising[count : max(count, n - top)])


def test_draws_are_the_same_however_they_are_cut_and_others_for_other_names() -> None:
    stream = Stream(1, "expert", "tensor")
    together = stream.draws(0, 1000)
    assert torch.equal(torch.cat([stream.draws(0, 13), stream.draws(13, 400), stream.draws(413, 587)]), together)
    for other in (
        Stream(2, "expert", "tensor"),
        Stream(1, "expert2", "tensor"),
        Stream(1, "expert", "tensor2"),
        Stream(1, "expertt", "ensor"),
    ):
        assert (other.draws(0, 1000) == together).sum() < 3
    assert together[:3].tolist() == [2912535252, 2367470785, 1921985411]  # on any machine
    assert stream.keep(0.25, 0, 100_000).float().mean().item() == pytest.approx(0.25, abs=0.006)  # 4 standard deviations
    assert stream.keep(1.0, 0, 1000).all()


@pytest.mark.parametrize("method", ["ties", "breadcrumbs_ties", "dare_ties", "della", "linear", "model_stock", "sce"])
def test_nothing_depends_on_the_chunks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(10)
    tensors = np.round(random.normal(size=(3, 30, 17)) * 4) / 4
    base = None if method == "linear" else tensors[0]
    numbers = {"weight": 1.0, "density": 0.5}
    numbers = {"linear": {"weight": 1.0}, "sce": {"select_topk": 0.5}, "model_stock": {}}.get(method, numbers)
    whole = merged(method, base, *tensors[1:], **numbers)
    monkeypatch.setattr(work, "CHUNK", 64)
    assert torch.equal(merged(method, base, *tensors[1:], **numbers), whole)


def test_any_float_goes_in_and_inputs_stay_as_they_are() -> None:
    base, expert = torch.full((2, 3), 1.0, dtype=torch.bfloat16), torch.full((2, 3), 2.0, dtype=torch.float16)
    recipe = recipes.parse({"method": "slerp", "base": "b", "inputs": [{"model": "e"}], "parameters": {"t": 0.25}})
    made = operators.combine(recipes.resolve(recipe, "w", 1), operators.held("w", base, [expert.t().contiguous().t()]))
    assert made.dtype == torch.float32
    assert made.tolist() == [[1.25] * 3] * 2
    assert base.unique().tolist() == [1.0]
    assert expert.unique().tolist() == [2.0]


def test_what_is_not_a_number_does_not_vanish_in_a_mask() -> None:
    spoilt = [1.0, float("nan"), 3.0, -4.0]
    for method, numbers in (("ties", {}), ("breadcrumbs", {"gamma": 0.3}), ("dare_linear", {}), ("linear", {})):
        density = {} if method == "linear" else {"density": 0.3}
        base = None if method == "linear" else [0.0] * 4
        assert not merged(method, base, spoilt, weight=1, **density, **numbers).isfinite().all()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (1, 1), (2, 0)])
@pytest.mark.parametrize("method", sorted(operators.OPERATORS))
def test_the_smallest_tensors_are_merged_too(method: str, shape: tuple[int, ...]) -> None:
    table = recipes.METHODS[method]
    experts = [np.full(shape, 2.0)] * max(2 if table.inputs[1] != 1 else 1, table.inputs[0])
    numbers: dict[str, Any] = {entry.name: entry.start for entry in table.parameters if entry.required}
    made = merged(method, np.full(shape, 1.0) if table.base == "needed" else None, *experts, **numbers)
    assert made.shape == shape
    assert made.isfinite().all()
