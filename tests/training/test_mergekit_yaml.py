"""mergekit's YAML: what is released parses, what we write reads back, and what is hostile or misspelt is named with its line."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import mergekit_yaml
from training.engine import recipes
from training.engine.methods import METHODS, Parameter

# As released with MediPhi, save that only the first model's parameters are public (arXiv 2505.10717's model card).
MEDIPHI = """\
base_model: microsoft/Phi-3.5-mini-instruct
dtype: bfloat16
merge_method: breadcrumbs_ties
parameters:
  int8_mask: 1.0
  normalize: 0.0
slices:
- sources:
  - layer_range: [0, 32]
    model: microsoft/Phi-3.5-mini-instruct
  - layer_range: [0, 32]
    model: ./pmc
    parameters:
      density: 0.493602636300503
      gamma: 1.6720241134317
      weight: 0.06352674368303199
  - layer_range: [0, 32]
    model: ./clinical
    parameters: {weight: [0, 1e-1], density: [{filter: mlp, value: 0.5}, {value: 0.9}]}
"""


def test_the_released_recipe_is_read() -> None:
    read = mergekit_yaml.read(MEDIPHI)
    assert read.recipe.base == "microsoft/Phi-3.5-mini-instruct"
    assert read.recipe.inputs == (
        recipes.Input("./pmc", {"density": 0.493602636300503, "gamma": 1.6720241134317, "weight": 0.06352674368303199}),
        recipes.Input("./clinical", {"weight": (0.0, 0.1), "density": (recipes.Rule(0.5, "mlp"), recipes.Rule(0.9))}),
    )
    assert read.recipe.parameters == {"normalize": False}
    assert read.recipe.out_dtype == "bfloat16"
    assert read.layers == 32
    assert [note.split()[0] for note in read.notes] == ["int8_mask", "the", "dtype:"]


def test_a_slices_own_setting_goes_before_the_global_one() -> None:
    read = mergekit_yaml.read("""
merge_method: ties
base_model: z
parameters: {weight: 0.5, density: 0.25}
slices:
- sources: [{model: a, layer_range: [0, 2]}]
  parameters: {weight: [{filter: mlp, value: 2}], density: 1}
""")
    assert recipes.resolve(read.recipe, "layers.0.mlp.w", 2).inputs == ({"weight": 2.0, "density": 1.0},)
    assert recipes.resolve(read.recipe, "layers.0.norm", 2).inputs == ({"weight": 0.5, "density": 1.0},)


def test_a_chain_is_several_documents() -> None:
    text = """\
name: calmer
merge_method: slerp
base_model: base
models: [{model: raw}]
parameters: {t: 0.25}
---
merge_method: dare_linear
base_model: base
models: [{model: calmer}, {model: other}]
parameters: {weight: 0.5}
rounds: {variants: {dare_rescale: density}}
"""
    recipe = mergekit_yaml.read(text).recipe
    assert recipe.models() == ("base", "other", "raw")
    assert recipe.steps["calmer"].parameters == {"t": 0.25}
    assert recipe.variants == {"dare_rescale": "density"}
    assert mergekit_yaml.read(text.replace("rounds: {variants: {dare_rescale: density}}", "")).recipe.variants == {"dare_rescale": "l1"}


def test_a_base_is_one_more_model_for_a_method_that_knows_none() -> None:
    read = mergekit_yaml.read("merge_method: linear\nbase_model: z\nmodels: [{model: a}]\nparameters: {weight: 1}")
    assert [entry.model for entry in read.recipe.inputs] == ["a", "z"]
    assert "as in mergekit" in read.notes[0]


TIES = "merge_method: ties\nbase_model: z\nmodels:\n- model: a\n  parameters:\n    weight: 1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the text is empty"),
        ("- a", "line 1: a recipe is a mapping of keys"),
        ("merge_method: [", "line 1: is not YAML"),
        ("merge_method: ties\x00", "is not YAML: a character that YAML does not allow"),
        ("x: 1\n" * 30_000, "the text has more than 65536 bytes"),
        ("x: " + "[" * 5_000, "line 1: the text is nested too deeply"),
        ("x: [" + "1," * 25_000 + "]", "line 1: the text has too many parts"),
        (TIES + "x: &a [1]\n", "line 7: anchors and aliases are not read"),
        (TIES + "x: *a\n", "line 7: anchors and aliases are not read"),
        ("merge_method: !!python/object/apply:os.system ['true']", "line 1: tags are not read"),
        (TIES + "<<: {a: 1}\n", "line 7: has a key that is not plain text"),
        (TIES + "base_model: y\n", "line 7: base_model is given twice"),
        (TIES + "densty: 1\n", "line 7: densty is unknown"),
        (TIES + "modules: {}\n", "line 7: modules is not read: models of several modules"),
        (TIES + "tokenizer_source: union\n", "line 7: tokenizer_source must be base or left out"),
        (TIES + "tokenizer: {source: base}\n", "line 7: tokenizer is not read: inputs must share one tokenizer"),
        (TIES + "chat_template: auto\n", "line 7: chat_template is not read"),
        (TIES + "dtype: int8\n", "line 7: dtype must be one of float32, bfloat16, float16"),
        (TIES + "name: x\n", "line 7: name is for documents before the last"),
        (TIES + "rounds: {seed: 1}\n", "line 7: rounds may hold variants, and nothing else"),
        (TIES + "rounds: {variants: {trim: rows}}\n", "line 7: rounds.variants.trim must be one of tensor, vector"),
        (TIES + "    densty: 1\n", "line 7: models[0].parameters.densty is unknown here; known are weight, density"),
        (TIES + "    density: [1, {value: 2}]\n", "line 7: models[0].parameters.density[0] values and filters cannot be mixed"),
        (TIES + "    density: [0.5, 1.5]\n", "line 7: models[0].parameters.density[1] must be above 0 and at most 1"),
        (TIES + "    density: " + "9" * 5_000, "line 7: models[0].parameters.density is no value that can be read"),
        (TIES + "    normalize: true\n", "line 7: models[0].parameters.normalize is unknown here"),
        (TIES + "- model: b\n", "line 7: models[1].parameters.weight is missing for some tensors or all"),
        (TIES + "- model: b+lora\n", "line 7: models[1].model names an adapter"),
        (TIES + "- model: {path: b}\n", "line 7: models[1].model must be a model's path or id"),
        (TIES.replace("ties", "passthrough"), "line 1: merge_method 'passthrough' is not built here; known are linear"),
        (TIES + "---\n" + TIES, "line 1: name is missing: every document but the last"),
        (TIES.replace("models:", "slices:"), "line 3: slices must be one slice with sources"),
        (
            "merge_method: ties\nbase_model: z\nslices:\n- sources:\n  - model: a\n    layer_range: [4, 8]\n",
            "line 6: slices[0].sources[0].layer_range must be [0, the number of layers]",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, problem: str) -> None:
    began = time.perf_counter()
    with pytest.raises(mergekit_yaml.BadYaml) as refused:
        mergekit_yaml.read(text)
    assert str(refused.value.problems[0]).startswith(problem)
    assert time.perf_counter() - began < 5


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(mergekit_yaml.BadYaml) as refused:
        mergekit_yaml.read("merge_method: slerp\nmodels: [{model: a}, {model: b}]\nparameters:\n  t: 2\n  gamma: 1\n")
    assert [problem.line for problem in refused.value.problems] == [1, 2, 4, 5]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="+"), min_size=1, max_size=12)


def values(entry: Parameter) -> st.SearchStrategy[Any]:
    if entry.kind == "flag":
        return st.booleans()
    low, high = max(entry.low, -1e6), min(entry.high, 1e6)
    if entry.kind == "whole":
        return st.integers(int(low), int(high)).map(float)
    return st.floats(low, high, exclude_min=entry.above_low)


def settings_of(entry: Parameter, *, covers: bool) -> st.SearchStrategy[Any]:
    curve = values(entry) if entry.kind == "whole" else values(entry) | st.lists(values(entry), min_size=1, max_size=4)
    rule = st.fixed_dictionaries({"filter": NAMES, "value": curve})
    last = st.just([{"value": 1.0 if entry.problem(1.0) is None else 0.3}]) if covers else st.just([])
    return curve | st.tuples(st.lists(rule, min_size=1, max_size=2), last).map(lambda pair: [*pair[0], *pair[1]])


@st.composite
def raw_recipes(draw: st.DrawFn, steps: bool = True) -> dict[str, Any]:
    method = draw(st.sampled_from(sorted(METHODS.values(), key=lambda entry: entry.name)))
    fewest, most = method.inputs
    names = draw(st.lists(NAMES, min_size=fewest + 1, max_size=min(most or 5, 5) + 1, unique=True))
    parameters = {
        entry.name: draw(settings_of(entry, covers=entry.required))
        for entry in method.parameters if entry.required or draw(st.booleans())
    }  # fmt: skip
    inputs = []
    for name in names[1:]:
        own = {entry.name: draw(settings_of(entry, covers=False)) for entry in method.per_input if draw(st.booleans())}
        inputs.append({"model": name} | ({"parameters": own} if own else {}))
    raw: dict[str, Any] = {"method": method.name, "inputs": inputs, "parameters": parameters}
    if method.base == "needed" or (method.base == "optional" and draw(st.booleans())):
        raw["base"] = names[0]
    raw["variants"] = {entry.name: draw(st.sampled_from(sorted(entry.choices))) for entry in method.variants}
    if raw["variants"].get("trim") == "vector":  # which wants one density an expert
        for settings_ in (parameters, *(entry.get("parameters", {}) for entry in inputs)):
            settings_.pop("density", None)
    if steps:
        raw["out_dtype"] = draw(st.sampled_from(["same", "float32", "bfloat16", "float16"]))
        if draw(st.booleans()):
            step = draw(raw_recipes(steps=False))
            inner = {step.get("base"), *(entry["model"] for entry in step["inputs"])}
            if names[1] not in inner:
                raw["steps"] = {names[1]: step}
    return raw


@given(raw=raw_recipes())
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(raw: dict[str, Any]) -> None:
    recipe = recipes.parse(raw)
    assert recipes.parse(recipes.as_json(recipe)) == recipe
    assert mergekit_yaml.read(mergekit_yaml.write(recipe)).recipe == recipe


@given(text=st.text(max_size=60) | st.text(alphabet="merg_thod: []{}-\n&*!#'\"123", max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(mergekit_yaml.BadYaml):
        mergekit_yaml.read(text)
