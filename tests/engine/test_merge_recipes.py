"""Merge recipes: what a number is for a tensor, what is refused and how it is named, and chains of merges."""

from typing import Any

import pytest

from training.engine import recipes
from training.engine.errors import SpecError
from training.engine.methods import METHODS

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIES: dict[str, Any] = {
    "method": "ties", "base": "base", "parameters": {"weight": 1.0},
    "inputs": [{"model": "a"}, {"model": "b", "parameters": {"weight": 2.0}}],
}  # fmt: skip


def layer(number: int, part: str = "mlp.down_proj") -> str:
    return f"model.layers.{number}.{part}.weight"


def t(setting: Any, tensor: str, layers: int = 5) -> float:
    recipe = recipes.parse({"method": "slerp", "base": "base", "inputs": [{"model": "a"}], "parameters": {"t": setting}})
    return recipes.resolve(recipe, tensor, layers).shared["t"]


def test_a_list_is_laid_over_the_layers() -> None:
    assert [t([0, 1], layer(number)) for number in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [t([0, 1, 0], layer(number)) for number in range(5)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert [t([0.3], layer(number)) for number in (0, 4)] == [0.3, 0.3]
    # What is outside the layers takes the first value, the head too; and a model's only layer the last. As in mergekit.
    assert [t([0.2, 0.8], name) for name in (EMBEDDING, HEAD, "model.norm.weight")] == [0.2, 0.2, 0.2]
    assert t([0.2, 0.8], layer(0), layers=1) == 0.8


def test_the_first_filter_that_fits_counts() -> None:
    setting = [{"filter": "mlp", "value": [0, 1]}, {"filter": "self_attn", "value": 0.5}, {"value": 0.1}]
    assert t(setting, layer(4)) == 1.0
    assert t(setting, layer(4, "self_attn.o_proj")) == 0.5
    assert t(setting, HEAD) == 0.1
    assert t([{"filter": "*", "value": 0.7}, {"value": 0.1}], HEAD) == 0.7
    assert t({"value": 0.4}, HEAD) == 0.4


def test_an_inputs_own_setting_goes_first_and_falls_through_where_no_filter_fits() -> None:
    raw = {**TIES, "parameters": {"weight": 1, "density": 0.5}}
    raw["inputs"] = [{"model": "a", "parameters": {"density": [{"filter": "mlp", "value": 0.25}]}}, {"model": "b"}]
    recipe = recipes.parse(raw)
    assert recipes.resolve(recipe, layer(1), 5).inputs == ({"weight": 1.0, "density": 0.25}, {"weight": 1.0, "density": 0.5})
    assert recipes.resolve(recipe, HEAD, 5).inputs == ({"weight": 1.0, "density": 0.5}, {"weight": 1.0, "density": 0.5})
    assert recipes.resolve(recipe, HEAD, 5).shared == {"normalize": 1.0, "lambda": 1.0}
    assert recipes.resolve(recipe, HEAD, 5).variants == {"trim": "tensor"}


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"method": "passthrough"}, "params.method", "must be one of linear"),
        ({"base": None}, "params.base", "is needed for ties"),
        ({"base": 3}, "params.base", "must be a model's name"),
        ({"inputs": []}, "params.inputs", "ties needs at least 1 besides the base, not 0"),
        ({"inputs": [{"model": str(i)} for i in range(65)]}, "params.inputs", "ties needs at most 64"),
        ({"inputs": [{"model": "a"}, {"model": "a"}]}, "params.inputs[1].model", "is named twice"),
        ({"inputs": [{"model": "base"}]}, "params.inputs[0].model", "is the base"),
        ({"inputs": [{"model": "a\n"}]}, "params.inputs[0].model", "must be a model's name"),
        ({"inputs": [{"model": "a", "weight": 1}]}, "params.inputs[0].weight", "is unknown"),
        ({"inputs": [{"model": "a", "parameters": {"lambda": 1}}]}, "params.inputs[0].parameters.lambda", "is unknown here"),
        ({"parameters": {}}, "params.inputs[0].parameters.weight", "is missing"),
        ({"parameters": {"weight": [{"filter": "mlp", "value": 1}]}}, "params.inputs[0].parameters.weight", "is missing for some tensors"),
        ({"parameters": {"weight": True}}, "params.parameters.weight", "must be a number"),
        ({"parameters": {"weight": float("nan")}}, "params.parameters.weight", "must be a finite number"),
        ({"parameters": {"weight": []}}, "params.parameters.weight", "must have from 1 to 512 values"),
        ({"parameters": {"weight": 1, "density": 0}}, "params.parameters.density", "must be above 0 and at most 1"),
        ({"parameters": {"weight": 1, "normalize": 0.5}}, "params.parameters.normalize", "must be true or false"),
        ({"variants": {"trim": "rows"}}, "params.variants.trim", "must be one of tensor, vector"),
        ({"variants": {"dare_rescale": "l1"}}, "params.variants.dare_rescale", "is unknown for ties"),
        (
            {"variants": {"trim": "vector"}, "parameters": {"weight": 1, "density": [1, 0.5]}},
            "params.parameters.density",
            "must be one number when the whole model",
        ),
        ({"out_dtype": "int8"}, "params.out_dtype", "must be one of same, float32"),
        ({"steps": {"c": TIES}}, "params.steps.c", "is used by nothing"),
        ({"steps": {"a": {**TIES, "inputs": [{"model": "a"}]}}}, "params.steps.a", "is made of itself"),
        ({"steps": {"a": {**TIES, "out_dtype": "same"}}}, "params.steps.a.out_dtype", "is unknown"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(recipes.BadRecipe) as refused:
        recipes.parse({**TIES, **changes})
    assert refused.value.field == field
    assert refused.value.problems[0][1].startswith(problem)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(recipes.BadRecipe) as refused:
        recipes.parse({**TIES, "bse": 1, "parameters": {"weight": "x", "density": 2}, "variants": {"trim": 1}})
    assert [field for field, _ in refused.value.problems] == [
        "params.bse", "params.parameters.weight", "params.parameters.density", "params.variants.trim",
    ]  # fmt: skip


def test_numbers_that_do_not_go_together_are_refused_for_their_tensor() -> None:
    linear = recipes.parse(
        {"method": "linear", "inputs": [{"model": "a", "parameters": {"weight": [1, -1]}}, {"model": "b"}], "parameters": {"weight": 1}}
    )
    assert recipes.resolve(linear, layer(0), 2).inputs[0]["weight"] == 1.0
    with pytest.raises(SpecError, match=r"layers\.1.*add up to 0"):
        recipes.resolve(linear, layer(1), 2)
    della = {"method": "della", "base": "z", "inputs": [{"model": "a"}], "parameters": {"weight": 1, "density": 0.9}}
    with pytest.raises(SpecError, match="epsilon"):
        recipes.resolve(recipes.parse(della), HEAD, 2)


def test_a_chain_names_the_models_that_are_read_and_comes_in_the_order_it_can_be_made() -> None:
    calmer = {"method": "slerp", "base": "base", "inputs": [{"model": "z"}], "parameters": {"t": 0.5}}
    raw = {**TIES, "steps": {"a": calmer, "z": {**calmer, "inputs": [{"model": "raw"}]}}}
    recipe = recipes.parse(raw)
    assert list(recipe.steps) == ["z", "a"]
    assert recipe.models() == ("base", "b", "raw")
    # A spec file's keys are sorted, and the recipe is the same one.
    assert recipes.digest(recipes.parse(recipes.as_json(recipe))) == recipes.digest(recipe)


def test_every_method_has_words_and_a_start_that_it_accepts() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        for parameter in method.parameters:
            assert parameter.problem(parameter.start) is None, (name, parameter.name)
            assert parameter.default is None or parameter.problem(parameter.default) is None
            assert parameter.meaning
        for variant in method.variants:
            assert {variant.default, variant.mergekit} <= set(variant.choices)
