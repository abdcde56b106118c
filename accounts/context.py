"""What every page's frame needs to know of the person looking at it."""

from typing import Any

from django.http import HttpRequest

from accounts.access import TRAINERS
from accounts.models import Role, User


def roles(request: HttpRequest) -> dict[str, Any]:
    """Which parts of the frame to show. Showing is not allowing: every view decides for itself."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        shown = (
            "may_rate",
            "may_adjudicate",
            "may_train",
            "may_see_models",
            "may_see_rail",
            "may_manage_users",
            "may_publish_consent",
            "may_release",
        )
        return {**dict.fromkeys(shown, False), "user_roles": []}
    may_train, may_adjudicate, steward = user.has_role(*TRAINERS), user.has_role(Role.ADJUDICATOR), user.has_role(Role.STEWARD)
    return {
        "may_rate": user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR),
        "may_adjudicate": may_adjudicate,
        "may_train": may_train,
        "may_see_models": may_train or steward,
        "may_see_rail": may_train or may_adjudicate or steward,
        "may_manage_users": user.has_role(Role.ADMIN),
        "may_release": steward,
        "may_publish_consent": user.has_role(Role.STEWARD, Role.ADMIN),
        "user_roles": [role.label for role in Role if role in user.roles()],
    }
