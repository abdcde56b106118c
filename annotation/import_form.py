"""What the import pages ask: which file; what its rows are, which column is which, under what name and licence."""

from typing import Any

from django import forms

from annotation import imports, incoming, reading
from annotation.models import Corpus, Group, Import, Source

CONTENT = {
    "samples": ("Source", "The data set's name. Importing under it again adds what is new."),
    "documents": ("Corpus", "The corpus's name. Importing under it again adds what is new."),
    "completions": ("Source of the samples", "The source under which the samples are stored that these texts answer."),
    "preferences": ("Source", "The data set's name: its prompts become samples, its verdicts judgements marked external."),
}


class StartForm(forms.Form):
    server = forms.ChoiceField(label="Or a file on the server", required=False)
    target = forms.CharField(label="Source", max_length=80, required=False, help_text="The data set's name.")
    licence = forms.CharField(label="Licence", max_length=80, required=False, help_text="For instance CDLA-Permissive-2.0.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = [(name, name) for name, _ in incoming.offers()]
        self.fields["server"].choices = [("", "none"), *offered]  # type: ignore[attr-defined]
        if not offered:
            self.fields["server"].widget = forms.HiddenInput()


class ImportForm(forms.Form):
    """`seen` is what a look at the file told (annotation.import_child.look): the fields to map follow from the shape. Who is only `looking`
    again is told of no field that is still empty."""

    shape = forms.ChoiceField(label="What the rows are")

    def __init__(self, made: Import, seen: dict[str, Any], data: Any = None, *, looking: bool = False) -> None:
        super().__init__(data, initial=_said_before(made))
        self.looking = looking
        fields: dict[str, Any] = self.fields
        self.seen = seen
        shape = seen.get("shape", "")
        fields["shape"].choices = [("", "choose …"), *((one.name, f"{one.title}: {one.makes}") for one in reading.SHAPES.values())]
        fields["shape"].initial = shape
        known = reading.SHAPES.get(shape)
        self.makes = known.makes if known else ""
        self.mapped: list[str] = []
        if known is None:
            return
        for target in known.targets:
            name = f"map-{target.name}"
            # A column, a path into it, a constant or a template: what a mapping may say is in annotation/reading/fields.py.
            fields[name] = forms.CharField(
                label=target.title, required=False, max_length=400, initial=seen.get("mapping", {}).get(target.name, "")
            )
            fields[name].widget.attrs |= {"list": "columns", "placeholder": target.default, "autocomplete": "off", "spellcheck": "false"}
            self.mapped.append(name)
        label, help_text = CONTENT[self.makes]
        fields["target"] = forms.CharField(label=label, max_length=80, help_text=help_text)
        fields["target"].widget.attrs["list"] = "targets"
        fields["licence"] = forms.CharField(
            label="Licence", max_length=80, help_text="Required: nothing is used without one. For instance CC-BY-4.0."
        )
        if self.makes == "documents":
            fields["group"] = forms.ChoiceField(label="Group", choices=Group.choices, initial=Group.OTHER)
            fields["origin"] = forms.CharField(label="Where it comes from", max_length=200, required=False)
        if self.makes in ("samples", "preferences"):
            fields["synthetic"] = forms.BooleanField(label="The texts are synthetic", required=False, initial=True)
            fields["quarantine"] = forms.BooleanField(
                label="Put rows that may tell who somebody is into quarantine", required=False, initial=True,
                help_text="A steward looks at them; until then nothing uses them.",
            )  # fmt: skip
        if self.makes == "samples":
            fields["on_conflict"] = forms.ChoiceField(
                label="If an id is stored with another content", choices=list(imports.CONFLICTS.items()), initial="refuse"
            )
            fields["doubles"] = forms.ChoiceField(
                label="Rows that say the same twice",
                choices=[("refuse", "Refuse the file"), ("exclude", "Keep the first, leave the others out, counted")],
                initial="refuse",
            )
        fields["bad"] = forms.ChoiceField(
            label="Rows that cannot be stored",
            choices=[("refuse", "Refuse the file"), ("skip", "Leave them out, counted and listed in the report")],
            initial="refuse",
            help_text="A file that is damaged, or is not what it says, is refused either way.",
        )
        fields["nul"] = forms.ChoiceField(
            label="NUL characters", choices=[("refuse", "Refuse the file"), ("replace", "Replace them by U+FFFD")], initial="refuse"
        )
        if self.makes == "preferences" or shape == "mediflow_dpo":
            fields["pairs"] = forms.ChoiceField(
                label="Pairs that are identical or lack a side",
                choices=[("refuse", "Refuse the file"), ("exclude", "Leave them out, counted")],
                initial="refuse",
            )
        if self.is_bound:
            # What a form of another shape did not ask has its first answer.
            given: Any = data.copy()
            for name, field in fields.items():
                if not isinstance(field, forms.BooleanField):
                    given.setdefault(name, field.initial or "")
            self.data = given

    def clean(self) -> dict[str, Any]:
        if self.looking:
            self.errors.clear()
        return self.cleaned_data

    def mapping(self) -> dict[str, str]:
        """{field: column, constant or template} of what was said; what is not named has its shape's default."""
        return {name.removeprefix("map-"): self.cleaned_data[name] for name in self.mapped if self.cleaned_data[name]}

    def options(self) -> dict[str, Any]:
        names = ("synthetic", "quarantine", "on_conflict", "nul", "pairs", "doubles", "bad", "group", "origin")
        return {name: self.cleaned_data[name] for name in names if name in self.cleaned_data}

    def targets(self) -> list[str]:
        """Names that are there already, to choose from."""
        model: Any = Corpus if self.makes == "documents" else Source
        return list(model.objects.order_by("name").values_list("name", flat=True)[:100])


def _said_before(made: Import) -> dict[str, Any]:
    said = {"target": made.target, "licence": made.licence, **made.options}
    return {name: value for name, value in said.items() if value != ""}
