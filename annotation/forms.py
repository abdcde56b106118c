"""What the pages ask for."""

from pathlib import Path
from typing import Any

from django import forms

from annotation.models import Sample, Source, Split

GUIDELINE = Path(__file__).parent / "demo" / "guideline.md"


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
