"""Who may call which view. Every view of ours starts with one of these decorators; a view without one is denied (see middleware)."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect

from accounts import joining
from accounts.consents import ConsentMissing
from accounts.models import Role, User
from accounts.profiles import ProfileMissing
from web import errors
from web.addresses import came_from
from web.htmx import HtmxRequest

P = ParamSpec("P")
View = Callable[Concatenate[HtmxRequest, P], HttpResponseBase]

ALL_ROLES = tuple(Role.values)
# A trainer's pages are an admin's too; nothing else is implied by anything.
TRAINERS = (Role.TRAINER, Role.ADMIN)

# Views of other packages, by the module their code lives in. Each has its own decision in tests/accounts/test_access.py.
THIRD_PARTY = (
    "allauth.",
    "django.contrib.admin.",
    "drf_spectacular.",
    "django.contrib.staticfiles.",
    "django.views.static",
    "rest_framework.",
)


class UserRequest(HtmxRequest):
    """What a view behind `allow` receives: the user is signed in."""

    user: User


def public(view: View[P]) -> View[P]:
    """Anyone, signed in or not."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def allow(*roles: str, consented: bool = False) -> Callable[[Callable[Concatenate[UserRequest, P], HttpResponseBase]], View[P]]:
    """Signed-in users holding any of `roles` (none named: any signed-in user). Others: the sign-in page, or 403.

    `consented`: only those who agreed to the current consent text and have a profile; others are led there, and back.
    """

    def decorate(view: Callable[Concatenate[UserRequest, P], HttpResponseBase]) -> View[P]:
        @wraps(view)
        def guarded(request: HtmxRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return to_sign_in(request)
            user = require(request.user, *roles)
            if consented and (step := joining.missing(user)):
                return lead_to(request, step)
            return view(cast(UserRequest, request), *args, **kwargs)

        guarded.access = roles or ("signed in",)  # type: ignore[attr-defined]
        return cast(View[P], guarded)

    return decorate


def to_sign_in(request: HtmxRequest) -> HttpResponseBase:
    """To the sign-in page, and back. For a part of a page 401 with the address: a sign-in page is never put into the form that was sent."""
    here, background = request.get_full_path(), request.headers.get("X-Rounds") == "background"
    if not (background or request.htmx):
        return redirect_to_login(here)
    goal = here if request.method in {"GET", "HEAD"} else came_from(request, here)
    address = f"{reverse('account_login')}?{urlencode({'next': goal})}"
    response = errors.problem(401, "Unauthorized", "You were signed out. Sign in to go on.", address=address)
    if not background:
        response.headers["HX-Redirect"] = address
    return response


def lead_to(request: HtmxRequest, step: ConsentMissing | ProfileMissing) -> HttpResponseBase:
    """To the page of the missing step, and from there back to where they were going.

    A request that changes something has no page to come back to: then it is the page it was sent from. One that a script sends in the
    background gets 409 and the address, so that the page keeps what is on it.
    """
    if request.headers.get("X-Rounds") == "background":
        return errors.problem(409, "Conflict", str(step), address=step.address)
    goal = request.get_full_path() if request.method in {"GET", "HEAD"} else came_from(request)
    address = f"{step.address}?{urlencode({'next': goal})}"
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def require(user: Any, *roles: str) -> User:
    """The user, if signed in and holding any of `roles` (none named: any signed-in user).

    Raises PermissionDenied otherwise. For verbs and API views, which have no page to send people to.
    """
    if not isinstance(user, User) or not user.is_active:
        raise PermissionDenied("Sign in first.")
    if roles and not user.has_role(*roles):
        raise PermissionDenied("Your roles do not include this page.")
    return user


def decision(view: Callable[..., Any]) -> str | tuple[str, ...] | None:
    """What a view's decorator decided, or None for a view that decided nothing."""
    found = getattr(view, "access", None)
    if found is None:
        found = getattr(getattr(view, "cls", None), "access", None)
    return cast("str | tuple[str, ...] | None", found)


def is_third_party(view: Callable[..., Any]) -> bool:
    return getattr(view, "__module__", "").startswith(THIRD_PARTY) or getattr(getattr(view, "cls", None), "__module__", "").startswith(
        THIRD_PARTY
    )


__all__ = ["ALL_ROLES", "TRAINERS", "HttpRequest", "UserRequest", "allow", "decision", "is_third_party", "lead_to", "public", "require"]
