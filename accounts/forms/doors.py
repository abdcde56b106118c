"""Coming in: a new account by invitation, a new password by link."""

from typing import Any

from django.contrib.auth.forms import SetPasswordForm, UserCreationForm

from accounts.models import User


class JoinForm(UserCreationForm):  # type: ignore[type-arg]
    """User name and passphrase, twice; Django's validators say what is too weak. The account is made by accounts.invitations."""

    class Meta:
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].help_text = "Colleagues who manage accounts see it; exported data do not carry it."
        self.fields["username"].widget.attrs.update({"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"})
        self.fields["password1"].label = "Passphrase"
        self.fields[
            "password1"
        ].help_text = "At least 10 characters, and not a common one. A few unrelated words are good; pasting is fine."
        self.fields["password2"].label = "Passphrase again"
        self.fields["password2"].help_text = ""


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """A passphrase, twice. Stored by accounts.passwords."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "New passphrase"
        self.fields["new_password1"].help_text = "At least 10 characters, and not a common one. Pasting is fine."
        self.fields["new_password2"].label = "New passphrase again"
