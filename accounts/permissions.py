"""The API's decisions: a view names roles and a scope; a token needs both, a session needs the role."""

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.models import ApiToken, Role, User

if TYPE_CHECKING:
    # rest_framework.views loads this module by its settings, before it is whole.
    from rest_framework.views import APIView


class SignedIn(BasePermission):
    def has_permission(self, request: Request, view: "APIView") -> bool:
        return isinstance(request.user, User) and request.user.is_active


class ScopedRole(BasePermission):
    """A view says `access = (roles…)` and `scopes = {"GET": "read", "POST": "manage"}`. A view that says neither is denied."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        roles: Any = getattr(view, "access", None)
        scope = getattr(view, "scopes", {}).get(request.method)
        if not roles or scope is None or not isinstance(request.user, User):
            return False
        if isinstance(request.auth, ApiToken) and scope not in request.auth.scopes:
            return False
        return request.user.has_role(*roles) if set(roles) <= set(Role.values) else request.user.is_active
