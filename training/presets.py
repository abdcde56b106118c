"""Recipes a trainer can choose by name, and how single settings of one are changed."""

from dataclasses import dataclass
from typing import Any

from training import hyperparameters, specs
from training.engine import presets as engine_presets


@dataclass(frozen=True)
class Preset:
    """A recipe: `params` are the engine's for `kind`."""

    key: str
    kind: str
    label: str
    description: str
    params: dict[str, Any]


ALL = (
    Preset(
        key="demo",
        kind="dpo",
        label="Toy models: minutes on a laptop",
        description="LoRA on every linear layer, with a learning rate for a model of a million parameters. It would ruin a real one.",
        params=engine_presets.DPO["demo"],
    ),
    Preset(
        key="clinic",
        kind="dpo",
        label="Standard: LoRA r 16, one epoch",
        description="Learning rate 1e-5, beta 0.1, sixteen pairs a step, soft targets. A start for models of billions; not measured.",
        params=engine_presets.DPO["clinic"],
    ),
    Preset(
        key="kto_demo",
        kind="kto",
        label="Toy models: single answers (KTO)",
        description="Learns from each answer by itself, and so also from pairs with both sides unacceptable. For the toy family.",
        params=engine_presets.KTO["kto_demo"],
    ),
    Preset(
        key="kto",
        kind="kto",
        label="Single answers (KTO): LoRA r 16",
        description="For many pairs with both sides unacceptable: each answer is wanted or not. Learning rate 1e-5; not measured here.",
        params=engine_presets.KTO["kto"],
    ),
    Preset(
        key="test",
        kind="dpo",
        label="Trial: a few steps",
        description="A few steps, to see that everything works. It proves nothing.",
        params=engine_presets.DPO["test"],
    ),
)


def named(key: str) -> Preset:
    """Raises KeyError for a preset that is none."""
    found = next((preset for preset in ALL if preset.key == key), None)
    if found is None:
        raise KeyError(key)
    return found


def usual(preset: Preset) -> dict[str, Any]:
    """The preset's parameters with the engine's defaults filled in."""
    return specs.check(preset.kind, preset.params)


def suggested(*, toy: bool) -> Preset:
    return named("demo" if toy else "clinic")


def checked(preset: Preset, changes: dict[str, Any]) -> dict[str, Any]:
    """The preset's parameters with `changes` (training/hyperparameters.py), defaults filled in. Raises SpecError."""
    return specs.check(preset.kind, hyperparameters.amended(preset.params, changes))


def shown(params: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Parameters as (name, value) for people: what is set, in words, inner ones under their outer name."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(params.items()):
        if isinstance(value, dict):
            rows += shown(value, f"{prefix}{name}, ")
        elif value is not None:
            said = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            rows.append((f"{prefix}{name}".replace("_", " ").strip(), said))
    return rows
