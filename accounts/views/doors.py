"""Doors for those who are not signed in: an invitation's link, and the link to a new passphrase.

A link's address holds its secret only until it is opened: the secret moves into the session, and the page that follows has an address
that says nothing, so no referrer, bookmark or log of a form holds it. Opening uses nothing up: programs that preview links open them, too.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access, guesses, invitations, joining, passwords
from accounts.forms.doors import JoinForm, NewPasswordForm
from accounts.models import Invitation, Role, User
from web.htmx import HtmxRequest

BACKEND = "accounts.backends.SessionBackend"
INVITATION, PASSWORD = "invitation_digest", "password_link"


def _opened(request: HtmxRequest, name: str, value: str | None, page: str) -> HttpResponse:
    """Remember what the link opened, and go on to `page`, whatever it was: the answer to a good link and to a bad one look alike."""
    if value is None:
        guesses.count(request)
        request.session.pop(name, None)
    else:
        request.session[name] = value
    response = redirect(page)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _slow_down(request: HtmxRequest) -> HttpResponse:
    response = render(request, "accounts/too_many.html", {"minutes": guesses.SECONDS // 60}, status=429)
    # Django would log the address, and the address is what should not be guessed.
    response._has_been_logged = True  # type: ignore[attr-defined]
    response.headers["Retry-After"] = str(guesses.SECONDS)
    return response


@access.public
@never_cache
@require_safe
def join_link(request: HtmxRequest, secret: str) -> HttpResponse:
    if guesses.too_many(request):
        return _slow_down(request)
    invitation = invitations.opened_by(secret)
    return _opened(request, INVITATION, invitation.digest if invitation else None, "accounts:join")


def _invitation_at_hand(request: HtmxRequest) -> Invitation | None:
    """The one whose link was opened here; none once its link was replaced by a newer one."""
    digest = request.session.get(INVITATION)
    return Invitation.objects.select_related("invited_by").filter(digest=digest).first() if digest else None


@access.public
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HtmxRequest) -> HttpResponseBase:
    """Who invites, what for, how long it takes; a name and a passphrase; and then consent. Closed links say so and what to do."""
    invitation = _invitation_at_hand(request)
    if invitation is None:
        return render(request, "accounts/join.html", {"state": "unknown"}, status=404)
    if invitation.state != "open" or request.user.is_authenticated:
        return _say_closed(request, invitation)
    form = JoinForm(request.POST or None)
    if form.is_valid():
        try:
            user = invitations.accept(
                invitation=invitation, username=form.cleaned_data["username"], password=form.cleaned_data["password1"]
            )
        except invitations.UsernameTaken as taken:
            form.add_error("username", str(taken))
        except invitations.InvitationClosed:
            invitation.refresh_from_db()
            return _say_closed(request, invitation)
        else:
            return _come_in(request, user)
    return render(request, "accounts/join.html", _invited(invitation) | {"form": form}, status=422 if form.errors else 200)


def _invited(invitation: Invitation) -> dict[str, Any]:
    return {
        "state": invitation.state,
        "invitation": invitation,
        "rates": not {Role.ANNOTATOR, Role.ADJUDICATOR}.isdisjoint(invitation.roles),
        "data": settings.ROUNDS_DATA,
    }


def _say_closed(request: HtmxRequest, invitation: Invitation) -> HttpResponse:
    page = _invited(invitation) | {"signed_in": request.user.is_authenticated}
    return render(request, "accounts/join.html", page, status=200 if invitation.state == "open" else 410)


def _come_in(request: HtmxRequest, user: User) -> HttpResponse:
    """Signed in, with a new session; then the first step of joining, or home."""
    for name in (INVITATION, PASSWORD):
        request.session.pop(name, None)
    login(request, user, backend=BACKEND)
    step = joining.missing(user) if user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR) else None
    return redirect(f"{step.address}?{urlencode({'next': '/'})}" if step else "/")


@access.public
@require_POST
def join_renew(request: HtmxRequest) -> HttpResponse:
    """The link has run out: one click asks for a new one. Administrators see it; the page goes on saying that it was asked."""
    invitation = _invitation_at_hand(request)
    if invitation is not None:
        invitations.ask_renewal(invitation=invitation)
    return redirect("accounts:join")


@access.public
@never_cache
@require_safe
def password_link(request: HtmxRequest, secret: str) -> HttpResponse:
    if guesses.too_many(request):
        return _slow_down(request)
    return _opened(request, PASSWORD, secret if passwords.opened_by(secret) else None, "accounts:password-new")


@access.public
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def password_new(request: HtmxRequest) -> HttpResponseBase:
    """Choose a new passphrase after opening an administrator's link. A closed link says whom to ask."""
    secret = request.session.get(PASSWORD, "")
    user = passwords.opened_by(secret) if secret else None
    if user is None:
        return render(request, "accounts/password_new.html", {"user_of_link": None}, status=410)
    if isinstance(request.user, AnonymousUser) or request.user.pk == user.pk:
        form = NewPasswordForm(user, request.POST or None)
        if form.is_valid():
            try:
                return _come_in(request, passwords.choose(secret=secret, password=form.cleaned_data["new_password1"]))
            except passwords.LinkClosed:
                return render(request, "accounts/password_new.html", {"user_of_link": None}, status=410)
        page = {"form": form, "user_of_link": user}
        return render(request, "accounts/password_new.html", page, status=422 if form.errors else 200)
    return render(request, "accounts/password_new.html", {"user_of_link": user, "signed_in": True})
