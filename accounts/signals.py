"""What allauth changes is audited like what we change."""

from typing import Any

from allauth.account.signals import password_changed
from django.dispatch import receiver

from accounts import audit
from accounts.models import User


@receiver(password_changed)
def record_password_change(sender: Any, user: User, **kwargs: Any) -> None:
    audit.record(user, "password.changed", user)
