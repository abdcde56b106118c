"""What administrators fill in: whom they invite, which roles somebody has; and the steward's next consent text."""

from django import forms

from accounts.models import Role

# What a role lets somebody do, where it is given.
MEANINGS = {
    Role.ANNOTATOR: "judges pairs",
    Role.ADJUDICATOR: "settles disputes, watches safety flags",
    Role.TRAINER: "imports, sets up campaigns, trains, promotes",
    Role.STEWARD: "reads the audit trail, consent, lineage",
    Role.ADMIN: "manages people; trains as well",
}
ROLE_CHOICES = [(role.value, f"{role.label}: {MEANINGS[role]}") for role in Role]


class RolesForm(forms.Form):
    roles = forms.MultipleChoiceField(
        label="Roles",
        choices=ROLE_CHOICES,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="No role implies another, save that an administrator also trains.",
    )


class InvitationForm(forms.Form):
    name = forms.CharField(
        label="Whom do you invite?", max_length=80, help_text="For your list, and greeted with on the page the link opens: Dr. Amina Khan."
    )
    roles = forms.MultipleChoiceField(
        label="Roles",
        choices=ROLE_CHOICES,
        widget=forms.CheckboxSelectMultiple,
        initial=[Role.ANNOTATOR],
        error_messages={"required": "Choose at least one role; without one nobody can do anything here."},
    )
    purpose = forms.CharField(
        label="What for?",
        max_length=300,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One or two sentences; the invited person reads them. Say whether the texts are made up or from patients.",
    )
    minutes = forms.IntegerField(label="Expected of them, in minutes", min_value=1, max_value=10_000, initial=30)
    days = forms.TypedChoiceField(
        label="The link works for",
        coerce=int,
        choices=[(1, "1 day"), (3, "3 days"), (7, "7 days"), (14, "14 days"), (30, "30 days")],
        initial=7,
    )


class ConsentTextForm(forms.Form):
    version = forms.CharField(label="Version", max_length=20, help_text="As people will see it: 2, or 2027-01.")
    text = forms.CharField(
        label="Text",
        min_length=200,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 20}),
        help_text="# headings, - lists, **strong** and *emphasis*; everything else is shown as it is.",
        error_messages={"min_length": "A consent text that short cannot say what is kept, what for, who sees it and how to withdraw."},
    )
