"""Consent and profile: what a rater is asked once, before the first pair."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString

from accounts.models import Profession, Profile, Specialty
from accounts.profiles import LONGEST_LANGUAGE, MOST_LANGUAGES, MOST_SPECIALTIES, MOST_YEARS

_PLACES = ("Main field", "Second field, if you have one", "Third field, if you have one")


class ConsentForm(forms.Form):
    """Names the text that was read, so that nobody agrees to one that was published meanwhile."""

    text = forms.IntegerField(widget=forms.HiddenInput)
    agree = forms.BooleanField(
        label="I have read this, and I agree to my judgements being used in this way.",
        error_messages={"required": "Tick the box if you agree. Without it you can look around, but not judge."},
    )


class RankedSelect(forms.Widget):
    """As many menus as there are places, all of one name: the first is the main choice. Nothing to tick through, no script needed."""

    template_name = "accounts/ranked_select.html"
    use_fieldset = True

    def __init__(self, choices: Sequence[tuple[str, str]], places: Sequence[str]) -> None:
        super().__init__()
        self.choices, self.places = choices, places

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        chosen = [*(value or []), *[""] * len(self.places)]
        menus = []
        for place, label in enumerate(self.places):
            options = [("", "Choose" if place == 0 else "None"), *self.choices]
            menus.append((f"id_{name}_{place}", label, [(key, text, key == chosen[place]) for key, text in options], place == 0))
        context["widget"]["menus"] = menus
        return context

    def _render(self, template_name: str, context: dict[str, Any], renderer: Any = None) -> SafeString:
        # Django's form renderer knows Django's own templates only; this one is the house's.
        return render_to_string(template_name, context)

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> list[str]:
        sent = data.getlist(name) if isinstance(data, MultiValueDict) else list(data.get(name) or [])
        return [value for value in sent if value]

    def id_for_label(self, id_: str) -> str:
        return ""


class RankedChoiceField(forms.MultipleChoiceField):
    """Up to as many different choices as the widget has places, in the order given."""

    def validate(self, value: list[str]) -> None:
        super().validate(value)
        if len(set(value)) < len(value):
            raise forms.ValidationError("You chose the same field twice.", code="twice")
        if len(value) > MOST_SPECIALTIES:
            raise forms.ValidationError(f"Choose {MOST_SPECIALTIES} fields at most.", code="many")


class LanguagesField(forms.CharField):
    """Languages by name, apart by commas: a list, each once, as the person writes them."""

    def to_python(self, value: Any) -> Any:
        words = [" ".join(word.split()) for word in re.split(r"[,;\n]", value or "")]
        named: dict[str, str] = {}
        for word in words:
            if word:
                named.setdefault(word.casefold(), word[0].upper() + word[1:])
        return list(named.values())

    def validate(self, value: Any) -> None:
        if not value:
            raise forms.ValidationError("Name at least one language.", code="required")
        if len(value) > MOST_LANGUAGES:
            raise forms.ValidationError(f"Name {MOST_LANGUAGES} languages at most.", code="many")
        for word in value:
            if len(word) > LONGEST_LANGUAGE or not re.fullmatch(r"[^\W\d_]+(?:[ '’()-]+[^\W\d_]+)*\)?", word):
                raise forms.ValidationError("Write languages as words, apart by commas: English, German.", code="word")

    def run_validators(self, value: Any) -> None:
        return None

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class ProfileForm(forms.Form):
    """Coarse on purpose: enough to send the right pairs and to describe a data set, too little to know somebody by."""

    specialties = RankedChoiceField(
        label="Specialties",
        choices=Specialty.choices,
        widget=RankedSelect(Specialty.choices, _PLACES),
        help_text="Pairs of your fields come to you first.",
        error_messages={"required": "Choose your main field; “Other” is one."},
    )
    profession = forms.ChoiceField(label="Profession", choices=[("", "Choose"), *Profession.choices])
    years = forms.IntegerField(label="Years in clinical practice", min_value=0, max_value=MOST_YEARS, help_text="0 is an answer.")
    languages = LanguagesField(
        label="Languages in which you read clinical text", max_length=200, help_text="Apart by commas, for example: English, German."
    )
    conflicts = forms.CharField(
        label="Conflicts of interest (optional)",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For example: you work for a maker of language models. Administrators can read this; exports never carry it.",
    )

    @classmethod
    def of(cls, profile: Profile | None) -> "ProfileForm":
        """An unbound form with what was said before, or empty."""
        names = ("specialties", "profession", "years", "languages", "conflicts")
        return cls(initial={name: getattr(profile, name) for name in names} if profile else {})
