"""The form of a new API token: only scopes that the person's roles can use."""

from typing import Any

from django import forms

from accounts.models import Role, Scope, User

# A scope nobody's role can use would only look like a right.
SCOPES_BY_ROLE: dict[str, tuple[str, ...]] = {
    Role.ANNOTATOR: (Scope.READ, Scope.ANNOTATE),
    Role.ADJUDICATOR: (Scope.READ, Scope.ANNOTATE),
    Role.TRAINER: (Scope.READ, Scope.MANAGE),
    Role.ADMIN: (Scope.READ, Scope.MANAGE),
    Role.STEWARD: (Scope.READ,),
}


class TokenForm(forms.Form):
    label = forms.CharField(label="What is it for?", max_length=60, help_text="For example: export script on the research server.")
    scopes = forms.MultipleChoiceField(label="It may", widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(
        label="Expires after", coerce=int, choices=[(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year")]
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usable = {scope for role in user.roles() for scope in SCOPES_BY_ROLE[role]}
        self.fields["scopes"].choices = [choice for choice in Scope.choices if choice[0] in usable]  # type: ignore[attr-defined]
