"""The API's decisions: a view names roles and a scope; a token needs both, a session needs the role."""

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import joining
from accounts.models import ApiToken, User

if TYPE_CHECKING:
    # rest_framework.views loads this module by its settings, before it is whole.
    from rest_framework.views import APIView


class SignedIn(BasePermission):
    def has_permission(self, request: Request, view: "APIView") -> bool:
        return isinstance(request.user, User) and request.user.is_active


class ScopedRole(BasePermission):
    """A view says `access = (roles…)` and `scopes = {"GET": "read", "POST": "manage"}`. A view that says neither is denied.

    `consented = True` lets in only those who agreed to the current consent text and have a profile; others get 403 with the `address`
    of the page where they do.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        roles: Any = getattr(view, "access", None)
        if not roles or not isinstance(request.user, User) or not request.user.has_role(*roles):
            return False
        method = "GET" if request.method == "HEAD" else request.method
        if method != "OPTIONS" and method not in view.allowed_methods:
            # Nothing to protect: the view answers 405.
            return True
        scope = getattr(view, "scopes", {}).get(method)
        if scope is None or (isinstance(request.auth, ApiToken) and scope not in request.auth.scopes):
            return False
        if getattr(view, "consented", False) and (step := joining.missing(request.user)):
            raise step
        return True
