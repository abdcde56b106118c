"""What the pages ask for."""

import uuid
from pathlib import Path
from typing import Any

from django import forms

from accounts.models import Role, User
from annotation import campaigns
from annotation.judgements import SideVerdict
from annotation.models import CannotJudge, GenerationBatch, Sample, Source, Split

GUIDELINE = Path(__file__).parent / "demo" / "guideline.md"

# One group of radio buttons holds every answer: a reason is part of the answer "cannot judge", not a second question.
CANNOT = [(f"{SideVerdict.CANNOT_JUDGE}:{reason}", label) for reason, label in CannotJudge.choices]
VERDICTS = [choice for choice in SideVerdict.choices if choice[0] != SideVerdict.CANNOT_JUDGE]
MAX_ACTIVE_MS = 24 * 60 * 60 * 1000


class JudgementForm(forms.Form):
    """`verdict` by side; `key` is made with the form, so that sending it twice counts once; `amends` names the revision it replaces."""

    verdict = forms.ChoiceField(choices=[*VERDICTS, *CANNOT], error_messages={"required": "Choose a verdict first."})
    key = forms.UUIDField(widget=forms.HiddenInput)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=MAX_ACTIVE_MS, widget=forms.HiddenInput)
    amends = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    @classmethod
    def fresh(cls, *, verdict: str = "", amends: int | None = None) -> "JudgementForm":
        return cls(initial={"key": uuid.uuid4(), "verdict": verdict, "amends": amends})

    def answer(self) -> tuple[str, str]:
        """The verdict by side and the reason, which is empty unless the verdict is "cannot judge"."""
        verdict, _, reason = self.cleaned_data["verdict"].partition(":")
        return verdict, reason


class SampleImportForm(forms.Form):
    file = forms.FileField(label="File", help_text="JSONL: one object a line with MediFlow's columns, UTF-8.")
    source = forms.CharField(label="Source", max_length=80, help_text="The data set's name. Importing under it again adds what is new.")
    licence = forms.CharField(label="Licence", max_length=80, help_text="For instance CDLA-Permissive-2.0.")
    synthetic = forms.BooleanField(label="The texts are synthetic", required=False, initial=True)


class CompletionImportForm(forms.Form):
    source = forms.ModelChoiceField(label="Source of the samples", queryset=Source.objects.order_by("name"), empty_label=None)
    file = forms.FileField(label="File", help_text="csv with a header, or JSONL: one row for each sample and system.")
    id_column = forms.CharField(label="Column with the sample's id", initial="id", max_length=60)
    system_column = forms.CharField(label="Column with the system's name", initial="system", max_length=60)
    text_column = forms.CharField(label="Column with the text", initial="text", max_length=60)

    def columns(self) -> dict[str, str]:
        return {name: self.cleaned_data[f"{name}_column"] for name in ("id", "system", "text")}


class BatchChoice(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        toy = " · toy" if obj.version is not None and obj.version.toy else ""
        heat = f" · temperature {obj.decoding['temperature']}" if "temperature" in obj.decoding else ""
        return f"{obj}{heat} · {obj.texts} texts · {obj.created_at:%Y-%m-%d %H:%M}{toy}"


class PeopleChoice(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.username}{' · simulated' if obj.simulated else ''}"


class CampaignForm(forms.Form):
    name = forms.CharField(label="Name", max_length=120, help_text="Annotators see it: it must not say who wrote the texts.")
    batches = BatchChoice(label="Texts to compare", queryset=GenerationBatch.objects.none(), widget=forms.CheckboxSelectMultiple)
    pairing = forms.ChoiceField(
        label="Pairs",
        choices=[(campaigns.EVERY_PAIR, "every two texts of a prompt"), (campaigns.ONE_PAIR, "one pair a prompt, drawn")],
    )
    limit = forms.IntegerField(label="At most this many pairs", required=False, min_value=1, help_text="Drawn at random. Empty: all.")
    splits = forms.MultipleChoiceField(
        label="From the splits",
        choices=Split.choices,
        initial=Split.values,
        widget=forms.CheckboxSelectMultiple,
        help_text="Training never sees evaluation samples; judgements on them serve the final comparison.",
    )
    overlap = forms.IntegerField(label="Judgements for each pair", min_value=1, max_value=20, initial=1)
    members = PeopleChoice(label="Who judges", queryset=User.objects.none(), widget=forms.CheckboxSelectMultiple)
    guideline = forms.CharField(
        label="Guideline",
        widget=forms.Textarea,
        # Callable: read when a form is shown, from the guideline of the first campaign.
        initial=lambda: GUIDELINE.read_text(encoding="utf-8"),
        help_text="One screen; annotators open it with “?”. Headings, lists, tables, **strong** and *emphasis* are set as such.",
    )
    simulated = forms.BooleanField(label="Simulated raters judge: part of a demonstration", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from django.db.models import Count

        batches = GenerationBatch.objects.select_related("version").annotate(texts=Count("completions")).filter(texts__gt=0)
        self.fields["batches"].queryset = batches.order_by("-pk")  # type: ignore[attr-defined]
        raters = User.objects.filter(is_active=True, grants__role__in=[Role.ANNOTATOR, Role.ADJUDICATOR]).distinct()
        self.fields["members"].queryset = raters.order_by("simulated", "username")  # type: ignore[attr-defined]


class FreezeForm(forms.Form):
    name = forms.CharField(label="Name of the snapshot", max_length=120)
    min_judgements = forms.IntegerField(label="At least this many judgements a pair", min_value=1, max_value=20, initial=1)


class SampleFilter(forms.Form):
    source = forms.ModelChoiceField(queryset=Source.objects.order_by("name"), required=False, empty_label="every source")
    task_type = forms.ChoiceField(required=False)
    split = forms.ChoiceField(required=False, choices=[("", "every split"), *Split.choices])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        types = Sample.objects.order_by("task_type").values_list("task_type", flat=True).distinct()
        self.fields["task_type"].choices = [("", "every task"), *((name, name) for name in types)]  # type: ignore[attr-defined]
