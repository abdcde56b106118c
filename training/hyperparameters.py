"""The settings of a recipe that a launch may change one by one: what each does, where it lies in the engine's parameters, who has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms

from training import specs

YES_NO = {"": "as in the recipe", "yes": "yes", "no": "no"}


@dataclass(frozen=True)
class Setting:
    """`path` is where it lies in the engine's parameters; `instead_of` names parameters that cannot stand beside it."""

    name: str
    path: tuple[str, ...]
    field: Callable[[], forms.Field]
    instead_of: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()  # only these, where another kind means something else by the same name

    def of(self, params: dict[str, Any]) -> Any:
        """Its value in `params`, or None where there is none."""
        value: Any = params
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def into(self, params: dict[str, Any], value: Any) -> None:
        """Set it in `params`, which are changed."""
        for name in self.instead_of:
            params.pop(name, None)
        inner = params
        for key in self.path[:-1]:
            inner[key] = dict(inner.get(key) or {})
            inner = inner[key]
        inner[self.path[-1]] = value
        if self.path == ("lora", "r"):
            # Twice the rank is the usual scale: the effective step stays the same when the rank changes.
            inner["alpha"] = 2 * value


def _number(label: str, help_text: str, low: float, high: float) -> Callable[[], forms.Field]:
    return lambda: forms.FloatField(label=label, help_text=help_text, required=False, min_value=low, max_value=high)


def _whole(label: str, help_text: str, low: int, high: int) -> Callable[[], forms.Field]:
    return lambda: forms.IntegerField(label=label, help_text=help_text, required=False, min_value=low, max_value=high)


def _choice(label: str, help_text: str, options: dict[str, str]) -> Callable[[], forms.Field]:
    return lambda: forms.ChoiceField(label=label, help_text=help_text, required=False, choices=[("", "as in the recipe"), *options.items()])


def _truth(label: str, help_text: str) -> Callable[[], forms.Field]:
    return lambda: forms.TypedChoiceField(
        label=label, help_text=help_text, required=False, choices=list(YES_NO.items()), coerce=lambda text: text == "yes", empty_value=None
    )


LOSSES = {
    "sigmoid": "sigmoid: DPO as published; the only one that reads soft targets",
    "sigmoid_norm": "sigmoid_norm: by token, so that length alone gains nothing",
    "ipo": "ipo: bounded, for few and certain pairs",
    "robust": "robust: one flip rate for all pairs",
    "apo_zero": "apo_zero: raises the chosen answers, lowers the rejected ones",
    "hinge": "hinge: stops at a margin",
}

ALL = (
    Setting("beta", ("beta",), _number("Beta", "What leaving the start model costs. Under 300 pairs, 0.3 is safer.", 0.001, 10)),
    Setting(
        "learning_rate", ("learning_rate",),
        _number("Learning rate", "For LoRA on some billion parameters about 1e-5; a tenth when all weights are trained.", 1e-8, 1),
    ),
    Setting(
        "epochs", ("epochs",),
        _number("Epochs", "How often every pair is seen. More than two mostly learns the pairs by heart.", 0.01, 50),
        ("max_steps", "steps"),
    ),
    Setting(
        "lora_r", ("lora", "r"),
        _whole("LoRA rank", "How many directions the adapter has in each layer. Its scale is set to twice the rank.", 1, 512),
    ),
    Setting(
        "targets", ("targets",),
        _choice(
            "Targets", "What a pair on which raters were split counts for.",
            {"soft": "soft: it pulls less, as the raters were split", "hard": "hard: every label counts as certain"},
        ),
    ),
    Setting(
        "nll_weight", ("nll_weight",),
        _number("Weight of the chosen answer's own likelihood", "Above 0 (0.1 is usual) it keeps chosen answers likely.", 0, 10),
    ),
    Setting("loss", ("loss",), _choice("Loss", "Another than sigmoid does not know soft targets, and is refused with them.", LOSSES)),
    Setting(
        "label_smoothing", ("label_smoothing",),
        _number("Flip rate of the loss robust", "The share of labels taken to be wrong. Other losses would ignore it.", 0, 0.49),
    ),
    Setting(
        "replay", ("replay",),
        _number("Share of imported preferences", "Of an epoch, from samples that came with a rejected output. 0 mixes none in.", 0, 0.9),
    ),
    Setting(
        "shared_prefix", ("shared_prefix",),
        _truth("Shared prefix", "Reads a prompt once for both of its answers: the same result, faster where prompts are long."),
    ),
    Setting(
        "replay", ("replay",),
        _number("Share of replay", "How much of an epoch is pairs that came with imported samples: a few new ones then steer.", 0, 0.95),
        kinds=("dpo",),
    ),
    Setting(
        "batch_size", ("batch_size",),
        _whole("Pairs at once", "As many as memory holds. Times the accumulation it is what one step sees.", 1, 512),
    ),
    Setting("gradient_accumulation", ("gradient_accumulation",), _whole("Accumulation", "Batches added up before a step.", 1, 1024)),
    Setting(
        "checkpoint_steps", ("checkpoint_steps",),
        _whole("Steps between checkpoints", "Each brings held-out figures and the fixed prompts; a crash costs these.", 1, 1_000_000),
    ),
    Setting(
        "early_stop", ("early_stop",),
        _whole("Stop early after so many checkpoints", "Without a lower held-out loss; the best one is kept. 0 never stops early.", 0, 100),
    ),
)  # fmt: skip
BY_NAME = {setting.name: setting for setting in ALL}


def of_kind(kind: str) -> list[Setting]:
    """Those that a kind of the engine has."""
    known = specs.parameter_names(kind)
    return [setting for setting in ALL if setting.path[0] in known and (not setting.kinds or kind in setting.kinds)]


def amended(params: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `params` with `changes` (setting's name → value) put in. Raises KeyError for a setting that is none."""
    made = dict(params)
    for name, value in changes.items():
        BY_NAME[name].into(made, value)
    return made


def differing(kind: str, params: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """The settings of `params` that differ from those of `usual`, by name, as a form would ask for them."""
    return {setting.name: setting.of(params) for setting in of_kind(kind) if setting.of(params) != setting.of(usual)}
