"""Who comes back with a session: read in one question with their roles and whether they have joined. Signing in itself is allauth's."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.expressions import RawSQL

from accounts.models import User
from web.statements import Frozen

_GRANTED = "ARRAY(SELECT g.role FROM accounts_rolegrant g WHERE g.user_id = accounts_user.id)"
_JOINED = """
EXISTS (
    SELECT 1 FROM accounts_consent c
    WHERE c.user_id = accounts_user.id AND c.withdrawn_at IS NULL AND c.text_id = (SELECT max(id) FROM accounts_consenttext)
) AND EXISTS (SELECT 1 FROM accounts_profile p WHERE p.user_id = accounts_user.id)
"""


def _with_standing(user: int) -> models.QuerySet[User]:
    return User.objects.filter(pk=user).annotate(
        granted=RawSQL(_GRANTED, [], output_field=ArrayField(models.TextField())),  # noqa: S611 (our own text)
        joined=RawSQL(_JOINED, [], output_field=models.BooleanField()),  # noqa: S611
    )


# Every request asks it: three questions in one.
_by_key = Frozen(_with_standing, user=2**40)


class SessionBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth is untyped
    def get_user(self, user_id: Any) -> User | None:
        """The user of a session, with `roles()` known and, if so, that nothing stands between them and rating; None if disabled."""
        for user in _by_key(user=user_id):
            user._roles, user._joined = frozenset(vars(user)["granted"]), vars(user)["joined"]
            return user if self.user_can_authenticate(user) else None
        return None
