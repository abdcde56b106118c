"""A link by which a person chooses a new password, once: made by an administrator and copied, as there may be no mail server.

Nothing of it is stored. The secret is signed over the present password and the last sign-in, so that using it, changing the password
or signing in ends it; and it runs out (settings.PASSWORD_RESET_TIMEOUT, seconds).
"""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.utils.http import base36_to_int, int_to_base36

from accounts import audit, people
from accounts.models import User


class LinkClosed(Exception):
    """The link was used, has run out, or was ended by a sign-in or a change of password."""


class _Signer(PasswordResetTokenGenerator):
    key_salt = "accounts.passwords"


_signer = _Signer()


@transaction.atomic
def link(*, user: User, actor: User) -> str:
    """The secret of a new link for `user`. Raises ValueError for a disabled account: enable it first."""
    if not user.is_active:
        raise ValueError("This account is disabled.")
    secret = f"{int_to_base36(user.pk)}.{_signer.make_token(user)}"
    audit.record(actor, "password.link_made", user)
    return secret


def opened_by(secret: str) -> User | None:
    """Whose new password this link lets choose; None when it opens nothing (any more)."""
    number, _, token = secret.partition(".")
    try:
        user = User.objects.filter(pk=base36_to_int(number), is_active=True).first()
    except ValueError:
        return None
    return user if user is not None and _signer.check_token(user, token) else None


@transaction.atomic
def choose(*, secret: str, password: str) -> User:
    """Set the password that has passed the validators, and sign out everywhere else. Raises LinkClosed; of two at once for the second."""
    user = opened_by(secret)
    if user is None:
        raise LinkClosed("This link has been used or has run out. Ask an administrator for a new one.")
    mine = User.objects.filter(pk=user.pk, is_active=True, password=user.password)
    if not mine.update(password=make_password(password)):
        raise LinkClosed("This link has been used just now.")
    people.end_sessions(user)
    user.refresh_from_db()
    audit.record(user, "password.chosen_by_link", user)
    return user
