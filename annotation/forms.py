"""What the pages ask for."""

from pathlib import Path
from typing import Any

from django import forms

from accounts.models import Profile, Specialty
from annotation import samples as all_samples
from annotation.filters import MOST_HELD_OUT, Asked
from annotation.models import Campaign, Sample, Source, Split
from modelhub.models import ModelVersion

GUIDELINE = Path(__file__).parent / "demo" / "guideline.md"


class Share(forms.IntegerField):
    """Asked in percent, kept as a share."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, required=False, **kwargs)

    def clean(self, value: Any) -> float:
        return (super().clean(value) or 0) / 100


class AskedForm(forms.Form):
    """What of a campaign's judgements is frozen; an empty field narrows nothing. `model` and `context` only say what a pair must fit in."""

    min_judgements = forms.IntegerField(label="At least this many judgements a pair", min_value=1, max_value=20, required=False)
    min_margin = forms.FloatField(
        label="Margin of at least", min_value=0, max_value=0.99, required=False,
        help_text="How much surer raters are of the chosen side than of the other: 0 takes every preference, 0.4 leaves close ones out.",
        widget=forms.NumberInput(attrs={"step": "0.01"}),
    )  # fmt: skip
    drop_near_identical = forms.BooleanField(label="Leave out pairs whose two texts are nearly the same", required=False)
    hold_out_raters = Share(
        label="Raters to hold out, %", max_value=int(100 * MOST_HELD_OUT),
        help_text="Their votes train nothing and alone label the evaluation pairs: gate G1 asks how a model does on people it has not "
        "learnt from. Empty holds nobody out; 20 is a start.",
        widget=forms.NumberInput(attrs={"placeholder": "0"}),
    )  # fmt: skip
    hold_out_seed = forms.IntegerField(
        label="Seed of the draw", min_value=0, max_value=2**31 - 1, required=False,
        help_text="Which raters are held out follows from it; 1 when empty. Two snapshots with one seed hold out the same people.",
    )  # fmt: skip
    exclude_simulated = forms.BooleanField(label="Leave out simulated raters’ judgements", required=False)
    exclude_external = forms.BooleanField(label="Leave out imported judgements", required=False)
    since = forms.DateField(label="Judged from", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="Judged until", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    task_types = forms.MultipleChoiceField(label="Task types", required=False, widget=forms.CheckboxSelectMultiple)
    document_types = forms.MultipleChoiceField(label="Document types", required=False, widget=forms.CheckboxSelectMultiple)
    fields_of_raters = forms.MultipleChoiceField(label="Raters’ fields", required=False, widget=forms.CheckboxSelectMultiple)
    model = forms.ModelChoiceField(
        label="Count tokens for", queryset=ModelVersion.objects.none(), to_field_name="public_id", required=False,
        empty_label="no model: estimate", help_text="Its tokenizer counts, and a pair must fit in its context.",
    )  # fmt: skip
    context = forms.IntegerField(
        label="Tokens a pair must fit in", min_value=16, max_value=10_000_000, required=False,
        help_text="When empty, the model’s context; 4,096 for no model.",
    )  # fmt: skip

    NARROWING = ("since", "until", "task_types", "document_types", "fields_of_raters", "hold_out_seed")

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        samples = Sample.objects.filter(prompts__pairs__campaign=campaign).order_by()
        for name, column in (("task_types", "task_type"), ("document_types", "input_data")):
            self._offer(name, [(value, value) for value in sorted(samples.values_list(column, flat=True).distinct())])
        raters = campaign.assignments.order_by().values("annotator")
        given = Profile.objects.filter(user__in=raters).values_list("specialties", flat=True)
        held = {field for fields in given for field in fields}
        self._offer("fields_of_raters", [(value, label) for value, label in Specialty.choices if value in held])
        self.fields["model"].queryset = ModelVersion.objects.exclude(chat_template_digest="").order_by("-pk")  # type: ignore[attr-defined]
        for name, offered in (("exclude_simulated", campaign.simulated), ("exclude_external", campaign.external)):
            if not offered:
                del self.fields[name]

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        """One choice is none; what is asked for all the same stays."""
        if len(choices) > 1 or self.data.get(name):
            self.fields[name].choices = choices  # type: ignore[attr-defined]
        else:
            del self.fields[name]

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if said.get("since") and said.get("until") and said["since"] > said["until"]:
            self.add_error("until", "The first day comes after the last.")
        return said

    def asked(self) -> Asked:
        """The filters as `snapshots.freeze` takes them. Only after `is_valid()`."""
        said = {name: value for name, value in self.cleaned_data.items() if value and name not in {"model", "context"}}
        if self.cleaned_data.get("hold_out_seed") == 0:
            said["hold_out_seed"] = 0
        if "fields_of_raters" in said:
            said["fields"] = said.pop("fields_of_raters")
        return Asked(**said)  # type: ignore[typeddict-item,no-any-return]  # named as the filters are

    @property
    def unfolded(self) -> bool:
        """Whether something in the folded part is asked for, or wrong."""
        return any(self.data.get(name) or self.errors.get(name) for name in self.NARROWING)

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What was looked over, as it was sent: what is frozen next is that, whatever was typed since."""
        values = self.data.getlist if hasattr(self.data, "getlist") else lambda name: [self.data[name]] if name in self.data else []
        return [(name, value) for name in self.fields for value in values(name)]


class FreezeForm(forms.Form):
    name = forms.CharField(label="Name of the snapshot", max_length=120)


class SampleFilter(forms.Form):
    source = forms.ModelChoiceField(queryset=Source.objects.order_by("name"), required=False, empty_label="every source")
    task_type = forms.ChoiceField(required=False)
    split = forms.ChoiceField(required=False, choices=[("", "every split"), *Split.choices])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task_type"].choices = [("", "every task"), *((name, name) for name in all_samples.task_types())]  # type: ignore[attr-defined]
