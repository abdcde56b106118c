"""What becomes of a reported sample: the form that settles it."""

from typing import Any

from django import forms

from annotation.answers import unix, unstorable
from annotation.models import Defect, Sample

DECISIONS = [
    ("kept", "Keep it: it can be judged as it is"),
    ("withdrawn", "Withdraw it: nobody judges or trains on it any more"),
    ("fixed", "Withdraw it; another imported sample takes its place"),
]


class DefectForm(forms.Form):
    """`replacement` is the other sample's id in the same source, as its import named it."""

    decision = forms.ChoiceField(
        label="What becomes of it", choices=DECISIONS, widget=forms.RadioSelect, error_messages={"required": "Choose what becomes of it."}
    )
    replacement = forms.CharField(
        label="Id of the sample in its place", required=False, max_length=120, help_text="Only when it is replaced. Import it first."
    )
    note = forms.CharField(label="Note", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, defect: Defect, **kwargs: Any) -> None:
        # Several of these stand on one page: each field's id is its own.
        kwargs.setdefault("auto_id", f"id_%s_{defect.public_id}")
        super().__init__(*args, **kwargs)
        self.defect = defect
        self.fields["note"].validators = []

    def clean_note(self) -> str:
        if problem := unstorable(str(self.cleaned_data["note"])):
            raise forms.ValidationError(problem)
        return unix(str(self.cleaned_data["note"])).strip()

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        wanted = str(said.get("replacement", "")).strip()
        said["replaced_by"] = None
        if said.get("decision") == "fixed":
            said["replaced_by"] = (
                Sample.objects.filter(source=self.defect.sample.source_id, external_id=wanted).order_by("-version").first()
            )
            if said["replaced_by"] is None:
                self.add_error(
                    "replacement", "Name a sample of the same source by its id." if not wanted else f"There is no sample {wanted}."
                )
        elif wanted:
            self.add_error("replacement", "Only a replaced sample has another in its place: choose that, or empty this.")
        return said
