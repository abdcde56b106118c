"""What allauth changes is audited like what we change; and signing out is noted, for the browser to forget."""

from typing import Any

from allauth.account.signals import password_changed
from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.models import User


@receiver(password_changed)
def record_password_change(sender: Any, user: User, **kwargs: Any) -> None:
    audit.record(user, "password.changed", user)


@receiver(user_logged_out)
def note_sign_out(sender: Any, request: HttpRequest | None, **kwargs: Any) -> None:
    if request is not None:
        request.signed_out = True  # type: ignore[attr-defined]
