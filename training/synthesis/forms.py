"""What a trainer says of a synthesis, and a clinician of an instruction."""

from typing import Any

from django import forms

from annotation.models import Corpus, OutputKind
from training.engine.grammar import grid
from training.synthesis import backends, prompts, runs


class BackendField(forms.ChoiceField):
    """Who writes, or who judges."""

    def __init__(self, *, judging: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.judging = judging

    def clean(self, value: Any) -> backends.Backend:
        try:
            return backends.find(super().clean(value), judging=self.judging)
        except backends.Unknown:
            raise forms.ValidationError("It is not there any more.") from None


class SynthesisForm(forms.Form):
    """Samples over the grid. Nothing chosen of a part of the grid means all of it."""

    name = forms.CharField(max_length=80, help_text="Of the run, and of the source its samples will be under.")
    count = forms.IntegerField(initial=500, min_value=1, max_value=runs.MOST_SAMPLES, label="Samples")
    generator = BackendField(label="Who writes")
    judge = BackendField(label="Who judges", judging=True, help_text="Of another family than who writes.")
    override = forms.CharField(
        required=False, max_length=300, label="Why one of the same family will do", help_text="Only then; it is kept with the run."
    )
    spoilt = forms.FloatField(
        initial=0,
        min_value=0,
        max_value=1,
        label="Share with a rejected output",
        help_text="From 0 to 1: one of twelve errors, checked in both orders.",
    )
    least = forms.FloatField(
        initial=1, min_value=1, max_value=4, label="Least mean score", help_text="Of the judge's five criteria, from 1 to 4."
    )
    max_new_tokens = forms.IntegerField(
        required=False, min_value=16, max_value=32_000, label="Tokens of an answer, at most",
        help_text="When empty: 3,000 of who writes, 900 of who judges. A rejected output and a comparison have the same limit.",
    )  # fmt: skip
    tasks = forms.MultipleChoiceField(
        required=False,
        choices=[(one, one) for one in grid.TASKS],
        widget=forms.CheckboxSelectMultiple,
        help_text="All when none is chosen.",
    )
    formats = forms.MultipleChoiceField(
        required=False, choices=[(grid.PLAIN, "plain text"), (grid.JSON, "JSON")], widget=forms.CheckboxSelectMultiple
    )
    difficulties = forms.MultipleChoiceField(
        required=False, choices=[(one, one) for one in grid.DIFFICULTIES], widget=forms.CheckboxSelectMultiple,
        help_text="The top three are drawn three times as often.",
    )  # fmt: skip
    documents = forms.MultipleChoiceField(
        required=False, choices=[(name, f"{name} ({len(parts)})") for name, parts in grid.DOCUMENTS.items()],
        widget=forms.CheckboxSelectMultiple, label="Document types", help_text="With the number of their parts.",
    )  # fmt: skip
    seed = forms.IntegerField(initial=1, min_value=0, max_value=2**31)
    licence = forms.CharField(max_length=80, initial="CDLA-Permissive-2.0")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["generator"].choices = backends.choices()
        choices["judge"].choices = backends.choices(judging=True)

    def wanted(self) -> runs.Wanted:
        said = self.cleaned_data
        chosen = {name: said[name] for name in ("tasks", "documents", "formats", "difficulties")}
        return runs.Wanted(count=said["count"], least=said["least"], spoilt=said["spoilt"], max_new_tokens=said["max_new_tokens"], **chosen)


class OutputsForm(forms.Form):
    """Task outputs for a corpus's documents."""

    name = forms.CharField(max_length=80)
    corpus = forms.ModelChoiceField(queryset=Corpus.objects.none(), empty_label=None)
    kinds = forms.MultipleChoiceField(choices=OutputKind.choices, widget=forms.CheckboxSelectMultiple, initial=[OutputKind.SUMMARY])
    generator = BackendField(label="Who writes", help_text="A server sees only corpora that the operator listed for it.")
    most = forms.IntegerField(required=False, min_value=1, label="Documents at most", help_text="Of each kind; all when empty.")
    seed = forms.IntegerField(initial=1, min_value=0, max_value=2**31)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["generator"].choices = backends.choices()
        choices["corpus"].queryset = Corpus.objects.order_by("name")


class GoldForm(forms.Form):
    """Five criteria, each from 1 to 4."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in grid.CRITERIA:
            labels = [(str(value), f"{value}: {words}") for value, words in prompts.steps(name).items()]
            self.fields[name] = forms.TypedChoiceField(choices=labels, coerce=int, widget=forms.RadioSelect)


class MoveForm(forms.Form):
    do = forms.ChoiceField(choices=[(one, one) for one in ("pause", "resume", "stop")])
