"""What trainers fill in."""

from typing import Any

from django import forms

from accounts.models import User
from annotation.models import Sample, Snapshot, Source, Split
from modelhub.models import ModelVersion
from training import presets
from training.engine.errors import SpecError

MOST_PROMPTS = 5000


class VersionChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A model version by name, with what must not be overlooked: its kind, and whether it is a toy or fed by simulated raters."""

    def label_from_instance(self, obj: Any) -> str:
        marks = [mark for mark in ("toy", "simulated") if getattr(obj, mark)]
        return " · ".join([obj.name, obj.get_kind_display(), *marks])


class LaunchForm(forms.Form):
    """Four visible fields; the rest are the preset's, and may be changed one by one."""

    snapshot = forms.ModelChoiceField(queryset=Snapshot.objects.none(), to_field_name="public_id", empty_label=None)
    policy = VersionChoice(queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None, label="Start model")
    preset = forms.ChoiceField(label="Recipe")
    name = forms.SlugField(
        max_length=80, help_text="Letters, digits, hyphens. The new model version keeps this name for ever.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    beta = forms.FloatField(required=False, min_value=0.001, max_value=10, help_text="Smaller lets the policy leave its reference further.")
    learning_rate = forms.FloatField(required=False, min_value=1e-8, max_value=1)
    epochs = forms.FloatField(required=False, min_value=0.01, max_value=50)
    lora_r = forms.IntegerField(required=False, min_value=1, max_value=512, label="LoRA rank")
    seed = forms.IntegerField(required=False, min_value=0, max_value=2**32 - 1)

    ADVANCED = ("beta", "learning_rate", "epochs", "lora_r", "seed")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["snapshot"].queryset = Snapshot.objects.unblinded_for(user).select_related("campaign")
        choices["policy"].queryset = ModelVersion.objects.all()
        choices["preset"].choices = [(preset.key, preset.label) for preset in presets.ALL]
        for name in self.ADVANCED:
            self.fields[name].widget.attrs["placeholder"] = "as in the recipe"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "preset" in cleaned:
            chosen = presets.named(cleaned["preset"])
            try:
                cleaned["params"] = presets.checked(chosen, self.changes(cleaned))
            except SpecError as problem:
                field = problem.field.removeprefix("params.").replace("lora.r", "lora_r")
                self.add_error(field if field in self.fields else None, str(problem))
        return cleaned

    @staticmethod
    def changes(cleaned: dict[str, Any]) -> dict[str, Any]:
        """What differs from the preset."""
        return {name: cleaned[name] for name in ("beta", "learning_rate", "epochs", "lora_r") if cleaned.get(name) is not None}

    def advanced(self) -> list[forms.BoundField]:
        return [self[name] for name in self.ADVANCED]


class PromoteForm(forms.Form):
    """`expected` is what the alias named when the page was drawn: the move is off if it has moved since.

    `override` is written against a lead clinician's block, and kept with it.
    """

    expected = forms.UUIDField(required=False)
    reason = forms.CharField(required=False, max_length=200)
    override = forms.CharField(required=False, max_length=400)


class GenerateForm(forms.Form):
    """Two producers for the same prompts: a model version and a temperature each."""

    first = VersionChoice(queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None, label="First producer")
    first_temperature = forms.FloatField(
        initial=0.3, min_value=0, max_value=2, label="Its temperature", help_text="0 always takes the likeliest word."
    )
    second = VersionChoice(queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None, label="Second producer")
    second_temperature = forms.FloatField(initial=0.9, min_value=0, max_value=2, label="Its temperature")
    source = forms.ModelChoiceField(queryset=Source.objects.none(), label="Samples of", empty_label=None)
    task_type = forms.ChoiceField(required=False, label="Task")
    count = forms.IntegerField(
        initial=200,
        min_value=1,
        max_value=MOST_PROMPTS,
        label="How many",
        help_text="70 % to train on, 10 % to validate, 20 % to evaluate: as split at import.",
    )
    max_new_tokens = forms.IntegerField(initial=64, min_value=1, max_value=4096, label="Longest answer, in tokens")
    seed = forms.IntegerField(initial=1, min_value=0, max_value=2**31)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        for name in ("first", "second"):
            choices[name].queryset = ModelVersion.objects.all()
        choices["source"].queryset = Source.objects.filter(samples__isnull=False).distinct()
        kinds = Sample.objects.order_by("task_type").values_list("task_type", flat=True).distinct()
        choices["task_type"].choices = [("", "every task"), *((kind, kind) for kind in kinds)]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        greedy = cleaned.get("first_temperature") == cleaned.get("second_temperature") == 0
        if greedy and cleaned.get("first") == cleaned.get("second"):
            self.add_error("second_temperature", "The same model at temperature 0 twice gives the same text twice.")
        if "source" in cleaned:
            self.fits = Sample.objects.filter(source=cleaned["source"], **self._filters(cleaned))
            if not self.fits.exists():
                self.add_error("task_type", "No sample of this source has this task.")
        return cleaned

    @staticmethod
    def _filters(cleaned: dict[str, Any]) -> dict[str, Any]:
        return {"task_type": cleaned["task_type"]} if cleaned.get("task_type") else {}

    def counts(self) -> dict[str, int]:
        """Prompts wanted of each split."""
        most = self.cleaned_data["count"]
        wanted = {Split.TRAIN.value: round(0.7 * most), Split.VALIDATION.value: round(0.1 * most)}
        return wanted | {Split.EVALUATION.value: most - sum(wanted.values())}

    def filters(self) -> dict[str, Any]:
        return {"source": self.cleaned_data["source"], **self._filters(self.cleaned_data)}
