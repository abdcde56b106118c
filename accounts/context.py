"""What every page's frame needs to know of the person looking at it."""

from typing import Any

from django.http import HttpRequest

from accounts.access import TRAINERS
from accounts.models import Role, User


def roles(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {"may_rate": False, "may_train": False}
    return {"may_rate": user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR), "may_train": user.has_role(*TRAINERS)}
