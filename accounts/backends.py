"""Who comes back with a session: read in one question with their roles and whether they have joined. Signing in itself is allauth's."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User

# Every request asks it, so it is written out: three questions in one, and none of them compiled anew.
_WITH_STANDING = """
SELECT u.*,
    ARRAY(SELECT g.role FROM accounts_rolegrant g WHERE g.user_id = u.id) AS granted,
    EXISTS (
        SELECT 1 FROM accounts_consent c
        WHERE c.user_id = u.id AND c.withdrawn_at IS NULL AND c.text_id = (SELECT max(id) FROM accounts_consenttext)
    ) AND EXISTS (SELECT 1 FROM accounts_profile p WHERE p.user_id = u.id) AS joined
FROM accounts_user u WHERE u.id = %s
"""


class SessionBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth is untyped
    def get_user(self, user_id: Any) -> User | None:
        """The user of a session, with `roles()` known and, if so, that nothing stands between them and rating; None if disabled."""
        for user in User.objects.raw(_WITH_STANDING, [user_id]):
            user._roles, user._joined = frozenset(vars(user)["granted"]), vars(user)["joined"]
            return user if self.user_can_authenticate(user) else None
        return None
