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


# Recipes that learn from a snapshot have the bare keys; those that read documents say so.
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
        description="Learning rate 1e-5, beta 0.1 (0.3 under 300 pairs), soft targets and a tenth of the chosen answer's likelihood, "
        "sixteen pairs a step, bfloat16, early stop. A start for models of some billion parameters; not measured here.",
        params=engine_presets.DPO["clinic"],
    ),
    Preset(
        key="paper",
        kind="dpo",
        label="MediPhi: all weights, one epoch",
        description="arXiv 2505.10717, table 8: learning rate 1e-6, 50 warm-up steps, cosine, beta 0.1, 128 pairs a step. That the loss is "
        "the plain sigmoid's, the reference the start model and every weight trained is a reading: the paper does not say.",
        params=engine_presets.DPO["paper"],
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
    Preset(
        key="sft-paper",
        kind="sft",
        label="MediPhi: all weights, two epochs",
        description="arXiv 2505.10717, table 7: learning rate 2e-5, 40 warm-up steps, cosine, NEFTune 5, 256 rows a step. The loss on "
        "answers only, 4,096 tokens and packing are readings: the paper does not say.",
        params=engine_presets.SFT["paper"],
    ),
    Preset(
        key="sft-clinic",
        kind="sft",
        label="Standard: LoRA r 16, two epochs",
        description="Learning rate 1e-4, sixteen rows a step, NEFTune 5, bfloat16, early stop. Not measured here.",
        params=engine_presets.SFT["clinic"],
    ),
    Preset(
        key="pit-paper",
        kind="pit",
        label="MediPhi: summaries, then summaries and documents",
        description="arXiv 2505.10717, 3.1.2: one epoch of outputs at 1e-4, two of outputs and documents at 3e-4, cosine. Batch size, "
        "warm-up and length are not given for PIT; table 6's (512, 35 and 4,096) are taken, and its noise is not: it excludes PIT.",
        params=engine_presets.PIT["paper"],
    ),
    Preset(
        key="pit-clinic",
        kind="pit",
        label="Standard: LoRA r 16, the paper's phases and rates",
        description="Sixteen sequences a step, bfloat16, early stop. Not measured here.",
        params=engine_presets.PIT["clinic"],
    ),
    Preset(
        key="pit-demo",
        kind="pit",
        label="Toy models: questions, then questions and documents",
        description="The same phases with rates for a model of a million parameters. It would ruin a real one.",
        params=engine_presets.PIT["demo"],
    ),
    Preset(
        key="pit-test",
        kind="pit",
        label="Trial: a few steps",
        description="A few steps, to see that everything works. It proves nothing.",
        params=engine_presets.PIT["test"],
    ),
    Preset(
        key="dapt-paper",
        kind="pretrain",
        label="MediPhi: all weights, one epoch, best-fit packed",
        description="arXiv 2505.10717: table 6 (4,096 tokens, 35 warm-up steps, NEFTune 5, 512 sequences a step), but the learning rate of "
        "the body, 5e-5; the table has 1e-4, and the paper does not say which was used.",
        params=engine_presets.DAPT["paper"],
    ),
    Preset(
        key="dapt-clinic",
        kind="pretrain",
        label="Standard: LoRA r 16, one epoch, best-fit packed",
        description="Learning rate 1e-4, sixteen rows of 4,096 tokens a step, NEFTune 5, bfloat16, early stop. Not measured here.",
        params=engine_presets.DAPT["clinic"],
    ),
    Preset(
        key="dapt-demo",
        kind="pretrain",
        label="Toy models: two epochs, best-fit packed",
        description="A learning rate for a model of a million parameters. It would ruin a real one.",
        params=engine_presets.DAPT["demo"],
    ),
    Preset(
        key="dapt-test",
        kind="pretrain",
        label="Trial: a few steps",
        description="A few steps, to see that everything works. It proves nothing.",
        params=engine_presets.DAPT["test"],
    ),
)


# What can be learnt from a snapshot's judgements: kinds, with what of them is learnt.
FROM_SNAPSHOTS = {
    "dpo": "From preferences (DPO)", "kto": "From single answers (KTO)", "sft": "From the chosen answers alone (SFT)",
}  # fmt: skip


def of(*kinds: str) -> list[Preset]:
    """The recipes of some kinds, in the order they are offered."""
    return [preset for preset in ALL if preset.kind in kinds]


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
