"""A spec is read strictly: what is not understood is refused, with the field's name."""

from typing import Any

import pytest

from training.engine import recipes, spec
from training.engine.errors import SpecError

DPO: dict[str, Any] = {
    "schema": 1, "kind": "dpo", "job": "a-job", "seed": 7, "threads": 1, "models": {"policy": "/models/sft"},
    "params": {"learning_rate": 1e-5, "beta": 0.1, "lora": {"r": 8}},
}  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    """DPO with one field set; a path such as params.lora.r goes down."""
    raw: dict[str, Any] = {**DPO, "models": dict(DPO["models"]), "params": {**DPO["params"], "lora": {"r": 8}}}
    place: dict[str, Any] = raw
    *above, last = path.split(".")
    for step in above:
        place = place[step]
    place[last] = value
    return raw


def without(*path: str) -> dict[str, Any]:
    raw = changed("job", "a-job")
    place: dict[str, Any] = raw
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return raw


def test_defaults_fill_what_is_left_out() -> None:
    params = spec.parse(DPO).params
    assert isinstance(params, spec.Dpo)
    assert (params.beta, params.epochs, params.max_length, params.lora) == (0.1, 1.0, None, spec.Lora(r=8, alpha=32, dropout=0.0))


def test_a_spec_survives_being_written_and_read() -> None:
    for raw in (DPO, changed("params.lora", None), changed("params.max_length", 900)):
        read = spec.parse(raw)
        assert spec.parse(spec.as_json(read)) == read


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (changed("params.learnin_rate", 1e-5), "params.learnin_rate"),
        (changed("params.lora.rank", 8), "params.lora.rank"),
        (changed("speed", "fast"), "speed"),
        (changed("models.teacher", "/m"), "models.teacher"),
        (without("params", "learning_rate"), "params.learning_rate"),
        (without("seed"), "seed"),
        (without("models", "policy"), "models.policy"),
        (changed("params.learning_rate", "1e-5"), "params.learning_rate"),
        (changed("params.learning_rate", float("nan")), "params.learning_rate"),
        (changed("params.learning_rate", True), "params.learning_rate"),
        (changed("params.learning_rate", 0), "params.learning_rate"),
        (changed("params.max_length", 10.0), "params.max_length"),
        (changed("params.max_length", -1), "params.max_length"),
        (changed("params.beta", None), "params.beta"),
        (changed("params.lora.r", None), "params.lora.r"),
        (changed("params.lora.dropout", 1.0), "params.lora.dropout"),
        (changed("params.lora", []), "params.lora"),
        (changed("params.schedule", "wavy"), "params.schedule"),
        (changed("params", []), "params"),
        (changed("kind", "dpo-x"), "kind"),
        (changed("schema", 2), "schema"),
        (changed("seed", -1), "seed"),
        (changed("seed", True), "seed"),
        (changed("threads", 0), "threads"),
        (changed("models.policy", "relative/folder"), "models.policy"),
        (changed("models.policy", 3), "models.policy"),
        ([], "spec"),
    ],
)
def test_what_does_not_fit_is_named(raw: object, field: str) -> None:
    with pytest.raises(SpecError) as problem:
        spec.parse(raw)
    assert problem.value.field == field


def merge(params: dict[str, Any], *models: str) -> dict[str, Any]:
    return {**DPO, "kind": "merge", "params": params, "models": {name: f"/m/{name}" for name in models}}


TIES = {
    "method": "breadcrumbs_ties", "base": "base", "inputs": [{"model": "a"}, {"model": "b", "parameters": {"weight": 2.0}}],
    "parameters": {"lambda": 0.5, "weight": 1.0},
}  # fmt: skip


def test_a_merge_is_typed_by_its_method() -> None:
    one = spec.parse(merge({"method": "slerp", "t": 0.5}, "base", "expert")).params
    many = spec.parse(merge({"method": "slerp", "t": [0.1, 0.5], "validation": "pubmed"}, "base", "expert")).params
    ties = spec.parse(merge(TIES, "base", "a", "b"))
    assert isinstance(one, spec.Slerp)
    assert one.t == 0.5
    assert isinstance(many, spec.Slerp)
    assert many.t == [0.1, 0.5]
    assert isinstance(ties.params, recipes.Recipe)
    assert ties.params.inputs == (recipes.Input("a"), recipes.Input("b", {"weight": 2.0}))
    assert spec.as_json(ties)["params"] == TIES


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (merge({"t": 0.5}, "base", "expert"), "params.method"),
        (merge({"method": "magic"}, "base", "expert"), "params.method"),
        (merge({"method": ["slerp"]}, "base", "expert"), "params.method"),
        (merge({"method": "slerp", "t": 1.5}, "base", "expert"), "params.t"),
        (merge({"method": "slerp", "t": [0.1, "x"], "validation": "pubmed"}, "base", "expert"), "params.t[1]"),
        (merge({"method": "slerp", "t": [0.1, 0.5]}, "base", "expert"), "params.validation"),
        (merge({"method": "slerp", "t": 0.5, "validation": "surgery"}, "base", "expert"), "params.validation"),
        (merge({"method": "slerp", "t": 0.5}, "base", "a"), "models.a"),
        (merge({"method": "breadcrumbs_ties"}, "base"), "params.inputs"),
        (merge(TIES, "base", "a"), "models.b"),
        (merge(TIES, "base", "a", "b", "c"), "models.c"),
        (merge({**TIES, "parameters": {"density": 0, "weight": 1}}, "base", "a", "b"), "params.parameters.density"),
    ],
)
def test_a_merge_that_does_not_fit_is_named(raw: object, field: str) -> None:
    with pytest.raises(SpecError) as problem:
        spec.parse(raw)
    assert problem.value.field == field


def test_steps_or_epochs_and_not_both() -> None:
    for params in ({}, {"steps": 3, "epochs": 1}, {"epochs": 1, "corpus": "toy"}):
        with pytest.raises(SpecError, match="steps"):
            spec.parse_params("sft", {"learning_rate": 1e-3, **params})


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing", "would be ignored by the loss sigmoid; set targets to soft"),
        ({"label_smoothing": 0.1, "loss": "ipo"}, "label_smoothing", "would be ignored by the loss ipo"),
        ({"label_smoothing": 0.5, "loss": "robust"}, "label_smoothing", "must be below 0.5"),
        ({"loss": "exo_pair"}, "label_smoothing", "must be above 0 with the loss exo_pair"),
        ({"loss": "hinge", "targets": "soft"}, "targets", "only sigmoid reads them"),
        ({"ld_alpha": 0.5}, "ld_alpha", "set reference to live"),
        ({"ld_alpha": 0.5, "reference": "live", "targets": "soft"}, "ld_alpha", "is not defined for soft targets"),
        ({"ld_alpha": 0.5, "reference": "live", "loss": "sigmoid_norm"}, "ld_alpha", "would correct for length twice"),
        ({"ld_alpha": 1.5, "reference": "live"}, "ld_alpha", "must be from 0 to 1"),
        ({"loss": "sigmoidal"}, "loss", "must be one of sigmoid, hinge"),
        ({"replay": 1.0}, "replay", "must be from 0"),
    ],
)
def test_what_a_loss_would_ignore_without_a_word_is_refused(changes: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as refused:
        spec.parse_params("dpo", {"learning_rate": 1e-5} | changes)
    assert refused.value.field == f"params.{field}"


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": "soft", "nll_weight": 0.1},
        {"loss": "robust", "label_smoothing": 0.2},
        {"loss": "exo_pair", "label_smoothing": 0.001},
        {"ld_alpha": 0.5, "reference": "live"},
        {"loss": "apo_zero", "shared_prefix": True, "replay": 0.3},
    ],
)
def test_what_goes_together_is_taken(changes: dict[str, Any]) -> None:
    made = spec.parse_params("dpo", {"learning_rate": 1e-5} | changes)
    assert all(getattr(made, name) == value for name, value in changes.items())
