"""Every operator against mergekit 0.1.5, tensor by tensor in float32, on configurations that hypothesis draws: YAML, parameters, sums."""

import importlib
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")

from training import mergekit_yaml  # noqa: E402
from training.engine import recipes  # noqa: E402
from training.engine.merging import operators  # noqa: E402
from training.engine.merging.randomness import Stream  # noqa: E402
from training.engine.methods import METHODS, Parameter  # noqa: E402

if os.environ.get("CI"):
    importlib.import_module("mergekit.merge_methods")  # the oracle's absence is a failure there, and no reason to skip
else:
    pytest.importorskip("mergekit.merge_methods", reason="mergekit, the operators' oracle, is not installed")
import yaml  # noqa: E402
from mergekit import merge_methods, sparsify  # noqa: E402
from mergekit.common import ModelReference  # noqa: E402
from mergekit.config import ConfigReader, InputSliceDefinition, MergeConfiguration, OutputSliceDefinition  # noqa: E402
from mergekit.merge_methods.base import TensorEntry, TensorGroup  # noqa: E402
from mergekit.parameter_resolver import resolve_parameters  # noqa: E402

LAYERS = 5
# A failing case is small enough as drawn, and shrinking it takes minutes.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
NAMES = ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"] + [
    f"model.layers.{layer}.{part}.weight" for layer in range(LAYERS) for part in ("self_attn.qkv_proj", "mlp.down_proj", "input_layernorm")
]
FILTERS = ["mlp", "self_attn", "layers.2.", "lm_head", "norm", "*", "q_proj"]
# Where the result is a sum in the same order the numbers are the same, to the bit. Where a length or an angle goes in, mergekit adds
# up in its arithmetic's dtype and we in float64: it is asked for float64 too, and a millionth is left for the mixing in float32.
EXACT = {"task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "linear"}


def mergekits(recipe: recipes.Recipe, tensors: dict[str, "torch.Tensor"], name: str, dtype: Any = torch.float32) -> "torch.Tensor":
    """What mergekit makes of the YAML that we write: its own configuration, parameters and operator."""
    config = MergeConfiguration.model_validate(yaml.safe_load(mergekit_yaml.write(recipe)))
    base = config.base_model
    models = [entry.model for entry in config.models or []]
    sources = [InputSliceDefinition(model=m.model, layer_range=(0, LAYERS), parameters=m.parameters) for m in config.models or []]
    if base is not None and base not in models:  # as MergePlanner.normalize_config does
        models.append(base)
        sources.append(InputSliceDefinition(model=base, layer_range=(0, LAYERS)))
    layer = recipes.layer_of(name)  # as MergePlanner.plan_module and plan_slice do
    reader = ConfigReader(config=config, t=0 if layer is None else layer / (LAYERS - 1), slice_out=OutputSliceDefinition(sources=sources))
    method = merge_methods.get(recipe.method)
    shared, own = resolve_parameters(
        method.spec, tensor_name=name, inputs=dict.fromkeys(models, name), sources=reader.parameter_sources, base_model=base, t=reader.t
    )
    entries = tuple(TensorEntry(id=model, tensor=tensors[str(model)], is_base=model == base) for model in models)
    per_input: dict[str, Any] = {}
    for model, values in own.items():
        for parameter, value in values.items():
            per_input.setdefault(parameter, {})[model] = value
    with pytest.MonkeyPatch.context() as patch:
        # mergekit leaves the order of equal magnitudes to an unstable sort; ours is that of a stable one.
        sort, argsort = torch.sort, torch.argsort
        patch.setattr(torch, "sort", lambda *given, **named: sort(*given, **named, stable=True))
        patch.setattr(torch, "argsort", lambda *given, **named: argsort(*given, **named, stable=True))
        (made,) = method((TensorGroup(entries=entries),), parameters=shared | per_input, dtype=dtype)
    return made


def ours(recipe: recipes.Recipe, tensors: dict[str, "torch.Tensor"], name: str, seed: int = 0) -> "torch.Tensor":
    base = None if recipe.base is None else tensors[recipe.base]
    parts = operators.held(name, base, [tensors[entry.model] for entry in recipe.inputs], [entry.model for entry in recipe.inputs])
    return operators.combine(recipes.resolve(recipe, name, LAYERS), parts, seed=seed)


def close(made: "torch.Tensor", theirs: "torch.Tensor") -> None:
    assert float((made.double() - theirs.double()).abs().max()) <= 1e-6 * max(1.0, float(theirs.abs().max()))


def values(entry: Parameter) -> st.SearchStrategy[Any]:
    if entry.kind == "flag":
        return st.booleans()
    usual = {
        "weight": st.sampled_from([0.0, 1.0, -1.0, 0.5]) | st.floats(-2, 2),
        "density": st.sampled_from([1.0, 0.5, 0.001]) | st.floats(0.001, 1),
        "gamma": st.sampled_from([0.0, 0.01, 1.672, 0.5]) | st.floats(0, 1),
        "epsilon": st.floats(0, 0.1),
        "t": st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1),
        "lambda": st.floats(-2, 2),
        "max_iter": st.integers(1, 12),
        "tol": st.sampled_from([1e-5, 1e-3]),
        "select_topk": st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    }
    return usual[entry.name]


@st.composite
def cases(draw: st.DrawFn, method: str) -> tuple[recipes.Recipe, dict[str, "torch.Tensor"], str]:
    table = METHODS[method]
    fewest, most = table.inputs
    experts = [f"expert{index}" for index in range(draw(st.integers(fewest, most or 4)))]

    def setting(entry: Parameter, *, covers: bool) -> Any:
        # DELLA's density and epsilon have to fit each other on every layer.
        value = st.floats(0.2, 0.8) if method.startswith("della") and entry.name == "density" else values(entry)
        curve = value if entry.kind == "whole" else value | st.lists(value, min_size=1, max_size=4)
        rules = draw(st.lists(st.fixed_dictionaries({"filter": st.sampled_from(FILTERS), "value": curve}), max_size=2))
        return draw(curve) if not rules else [*rules, *([{"value": draw(curve)}] if covers else [])]

    shared = {entry.name: setting(entry, covers=entry.required) for entry in table.parameters if entry.required or draw(st.booleans())}
    if method == "linear":  # weights that add up to nothing are refused, and mergekit divides by it
        shared["weight"] = draw(st.lists(st.floats(0.1, 2), min_size=1, max_size=4))
    if method == "nuslerp":  # nearly opposite weights make a t of thousands, and any rounding as large
        shared["weight"] = draw(st.floats(0.1, 2))
    inputs = []
    for expert in experts:
        own = {
            entry.name: setting(entry, covers=False)
            for entry in table.per_input
            if method not in ("linear", "nuslerp") and draw(st.booleans())
        }
        inputs.append({"model": expert, "parameters": own})
    raw: dict[str, Any] = {"method": method, "inputs": inputs, "parameters": shared}
    raw["variants"] = {entry.name: entry.mergekit for entry in table.variants}
    if table.base == "needed" or (table.base == "optional" and draw(st.booleans())):
        raw["base"] = "base"
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Rows of two or five entries may point straight away from each other, and Model Stock then divides by next to nothing.
    shape = draw(st.sampled_from([(7, 11), (40,), (3, 64), *([(1, 5), (17, 2)] if method != "model_stock" else [])]))
    start = random.normal(size=shape).astype(np.float32)
    # Far apart and near, as real experts are; and with many equal changes and many zeros, as bfloat16 makes them.
    # SCE ranks variances, and whether those of equal changes are equal depends, in mergekit, on where they lie in memory.
    spread, grain = draw(st.sampled_from([1.0, 0.1, 0.01])), draw(st.sampled_from([None, 4])) if method != "sce" else None
    tensors = {"base": torch.from_numpy(start)}
    for expert in experts:
        change = random.normal(size=shape)
        change = change if grain is None else np.round(change * grain) / grain
        tensors[expert] = torch.from_numpy(((0 if grain else start) + spread * change).astype(np.float32))
    if grain:  # equal changes stay equal only on a base of whole steps
        tensors["base"] = torch.zeros(shape)
        if method in ("linear", "slerp", "karcher", "nuslerp"):
            tensors["base"] = torch.from_numpy(start)
    return recipes.parse(raw), tensors, draw(st.sampled_from(NAMES))


@pytest.mark.parametrize("method", sorted(name for name, table in METHODS.items() if not table.random))
@settings(max_examples=25, deadline=None, phases=UNSHRUNK)
@given(data=st.data())
def test_it_equals_mergekit(method: str, data: st.DataObject) -> None:
    recipe, tensors, name = data.draw(cases(method))
    made = ours(recipe, tensors, name)
    if method in EXACT:
        assert torch.equal(made, mergekits(recipe, tensors, name))
    else:
        # SCE's rank of variances is that of the dtype they are in.
        close(made, mergekits(recipe, tensors, name, torch.float32 if method == "sce" else torch.float64))


@pytest.mark.parametrize("method", sorted(name for name, table in METHODS.items() if table.random))
@settings(max_examples=20, deadline=None, phases=UNSHRUNK)
@given(data=st.data())
def test_it_equals_mergekit_when_both_have_the_same_draws(method: str, data: st.DataObject) -> None:
    recipe, tensors, name = data.draw(cases(method))
    streams = iter([
        Stream(7, entry.model, name) for entry, values in zip(recipe.inputs, recipes.resolve(recipe, name, LAYERS).inputs, strict=True)
        if values["density"] < 1
    ])  # fmt: skip

    def bernoulli(chance: "torch.Tensor") -> "torch.Tensor":
        return next(streams).keep(chance.reshape(-1), 0, chance.numel()).float().view(chance.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparsify.torch, "bernoulli", bernoulli)
        theirs = mergekits(recipe, tensors, name)
    assert next(streams, None) is None
    made = ours(recipe, tensors, name, seed=7)
    close(made, theirs)


def test_mergekits_model_reference_is_the_name_we_write() -> None:
    assert str(ModelReference.parse("expert0")) == "expert0"
