"""Invitations, for administrators: made, copied, renewed, revoked. A link is in the answer to its form and nowhere else, ever."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts import invitations as invites
from accounts.access import UserRequest
from accounts.forms.people import InvitationForm
from accounts.models import Invitation, Role

STATES = [("asked", "New link asked for"), ("open", "Open"), ("accepted", "Accepted"), ("expired", "Run out"), ("revoked", "Revoked")]
RENEWED_DAYS = 7


@access.allow(Role.ADMIN)
@never_cache
@require_safe
def invitations(request: UserRequest) -> HttpResponse:
    return _list(request)


def _list(request: UserRequest, *, renewed: Invitation | None = None, link: str = "") -> HttpResponse:
    state = request.GET.get("state", "")
    rows = Paginator(Invitation.objects.for_list(state), 50).get_page(request.GET.get("page"))
    page = {"invitations": rows, "states": STATES, "state": state, "renewed": renewed, "link": link, "days": RENEWED_DAYS}
    return render(request, "accounts/invitations.html", page)


def _link_of(request: UserRequest, secret: str) -> str:
    return request.build_absolute_uri(reverse("accounts:join-link", args=[secret]))


@access.allow(Role.ADMIN)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation_new(request: UserRequest) -> HttpResponse:
    form = InvitationForm(request.POST if request.method == "POST" else None)
    made, link = None, ""
    if form.is_valid():
        made, secret = invites.create(actor=request.user, **form.cleaned_data)
        link = _link_of(request, secret)
        # The next one is often for the same purpose.
        form = InvitationForm(initial={**form.cleaned_data, "name": ""})
    page = {"form": form, "made": made, "link": link}
    return render(request, "accounts/invitation_new.html", page, status=422 if form.errors else 200)


@access.allow(Role.ADMIN)
@never_cache
@require_POST
def invitation_renew(request: UserRequest, pk: UUID) -> HttpResponse:
    """A new link for the same invitation, shown once at the top of the list. The old one opens nothing from now on."""
    invitation = get_object_or_404(Invitation, public_id=pk)
    try:
        secret = invites.renew(invitation=invitation, days=RENEWED_DAYS, actor=request.user)
    except invites.InvitationClosed as closed:
        messages.error(request, str(closed))
        return redirect("accounts:invitations")
    return _list(request, renewed=invitation, link=_link_of(request, secret))


@access.allow(Role.ADMIN)
@require_POST
def invitation_revoke(request: UserRequest, pk: UUID) -> HttpResponse:
    invitation = get_object_or_404(Invitation, public_id=pk)
    if invites.revoke(invitation=invitation, actor=request.user):
        messages.success(request, f"The invitation for {invitation.name} is revoked; its link opens nothing.")
    else:
        messages.error(request, "It had been accepted or revoked already; nothing was changed.")
    return redirect("accounts:invitations")
