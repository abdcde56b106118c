"""The form on which people write their parts of a model card."""

from typing import Any

from django import forms

from modelhub import cards
from modelhub.models import CardRevision


class CardForm(forms.Form):
    """A field a part of cards.PARTS. `expected` is the revision it was filled from: the change is off if there is a newer one."""

    expected = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part, (title, about) in cards.PARTS.items():
            self.fields[part] = forms.CharField(
                label=title, help_text=about, required=False, max_length=cards.MOST_LETTERS,
                widget=forms.Textarea(attrs={"rows": 4, "maxlength": cards.MOST_LETTERS}),
            )  # fmt: skip
        self.fields["hub_id"] = forms.CharField(
            label="Its name on the Hugging Face Hub", required=False, max_length=96,
            help_text="Only if it is published there, as organisation/name. What is made from it names it as its base model.",
        )  # fmt: skip
        self.fields["datasets"] = forms.CharField(
            label="Public data sets it was trained on", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}),
            help_text="One a line, by their names on the Hub. Data of this house are no public data set.",
        )  # fmt: skip

    @staticmethod
    def filled(revision: CardRevision | None) -> dict[str, Any]:
        """What the form shows of a card as it is."""
        if revision is None:
            return {"expected": 0}
        said = {"hub_id": revision.hub_id, "datasets": "\n".join(revision.datasets)}
        return {"expected": revision.number, **said, **revision.prose}

    def clean_datasets(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["datasets"].splitlines() if line.strip()]

    @property
    def prose(self) -> dict[str, str]:
        return {part: self.cleaned_data[part] for part in cards.PARTS}
