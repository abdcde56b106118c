"""What trainers fill in about models: which folder of the drop folder comes in, and as what."""

from typing import Any

from django import forms

from modelhub.incoming import NO_FOLDER, Offer
from modelhub.models import Kind, ModelVersion
from modelhub.versions import MAX_NAME


class FolderField(forms.ChoiceField):
    """One of the folders that lie there, by its name; anything else is a reference that is not followed (`model.ref`)."""

    def validate(self, value: str) -> None:
        forms.Field.validate(self, value)
        if not self.valid_value(value):
            raise forms.ValidationError(f"That {NO_FOLDER}", code="model.ref")


class ImportForm(forms.Form):
    """Only folders that a quick look would take are offered. Whether one is an adapter the folder itself says."""

    folder = FolderField(help_text="Folders that would be refused are not offered; the list above says why.")
    name = forms.SlugField(
        max_length=MAX_NAME, required=False, help_text="Letters, digits, hyphens; the folder’s own name when empty.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    kind = forms.ChoiceField(
        label="What it is in a lineage", choices=[(kind.value, kind.label) for kind in Kind if kind != Kind.ADAPTER], initial=Kind.BASE,
        help_text="Of a model. An adapter is an adapter.",
    )  # fmt: skip
    base = forms.ModelChoiceField(
        queryset=ModelVersion.objects.none(), to_field_name="public_id", required=False, empty_label="none: it is a whole model",
        help_text="For an adapter: the model here that it was made for.",
    )  # fmt: skip
    same_base = forms.BooleanField(
        required=False, label="The adapter calls its base by another name",
        help_text="Tick it when you know that it is the same model. The sizes of its matrices are compared all the same.",
    )  # fmt: skip
    licence = forms.CharField(max_length=60, required=False, help_text="What its README names when empty.")

    def __init__(self, *args: Any, offers: list[Offer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offers = {offer.name: offer for offer in offers if offer.refusal is None}
        chosen: Any = self.fields["folder"]
        chosen.choices = [(name, f"{name} · adapter" if offer.adapter else name) for name, offer in self._offers.items()]
        base: Any = self.fields["base"]
        base.queryset = ModelVersion.objects.usable().order_by("name")

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        offer = self._offers.get(found.get("folder", ""))
        if offer is None:
            return found
        if offer.adapter and not found.get("base") and "base" not in self.errors:
            self.add_error("base", "This folder is an adapter: choose the model it was made for.")
        if not offer.adapter and found.get("base"):
            self.add_error("base", "This folder is a whole model, not an adapter: leave the base empty.")
        found["name"] = found.get("name") or offer.name[:MAX_NAME]
        if not self.errors and ModelVersion.objects.filter(name=found["name"]).exists():
            self.add_error("name", f"A model is called “{found['name']}” already. Choose another name.")
        return found
