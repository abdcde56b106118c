"""Managing accounts, for administrators: who is here, what each may do, and how to let somebody in again. Accounts are never deleted."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import access, passwords
from accounts import people as accounts
from accounts.access import UserRequest
from accounts.forms.people import RolesForm
from accounts.models import ApiToken, AuditEntry, Consent, Invitation, Profession, Profile, Role, Specialty, User

STATES = [
    ("active", "Active"),
    ("joining", "Consent or profile missing"),
    ("idle", "Never signed in"),
    ("disabled", "Disabled"),
    ("simulated", "Simulated"),
]


@access.allow(Role.ADMIN)
@require_safe
def users(request: UserRequest) -> HttpResponse:
    # NUL stands in no name, and the database takes none.
    text, role, state = (request.GET.get(name, "").replace("\x00", "").strip()[:150] for name in ("q", "role", "state"))
    found = User.objects.for_list(text=text, role=role, state=state)
    page = {
        "people": Paginator(found, 100).get_page(request.GET.get("page")),
        "q": text, "role": role, "state": state, "roles": Role.choices, "states": STATES,
        "asked": Invitation.objects.in_state("asked").count(),
    }  # fmt: skip
    return render(request, "accounts/users.html", page)


@access.allow(Role.ADMIN)
@never_cache
@require_safe
def user(request: UserRequest, pk: int) -> HttpResponse:
    return _person(request, get_object_or_404(User, pk=pk))


def _person(request: UserRequest, person: User, *, form: RolesForm | None = None, link: str = "", status: int = 200) -> HttpResponse:
    """One person's page: with a link to a new passphrase in the answer that made it, and nowhere else."""
    profile = Profile.objects.filter(user=person).first()
    page = {
        "person": person,
        "form": form or RolesForm(initial={"roles": sorted(person.grants.values_list("role", flat=True))}),
        "consents": Consent.objects.filter(user=person).select_related("text").order_by("-pk"),
        "profile": profile,
        "specialties": [Specialty(value).label for value in profile.specialties] if profile else [],
        "profession": Profession(profile.profession).label if profile else "",
        "tokens": ApiToken.objects.live().filter(user=person).count(),
        "invitation": Invitation.objects.filter(accepted_by=person).select_related("invited_by").first(),
        "entries": AuditEntry.objects.filter(object_type="accounts.user", object_id=str(person.pk)).order_by("-pk")[:10],
        "last_admin": accounts.is_last_admin(person),
        "link": link,
        "myself": person.pk == request.user.pk,
    }
    return render(request, "accounts/user.html", page, status=status)


@access.allow(Role.ADMIN)
@require_POST
def user_roles(request: UserRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk)
    form = RolesForm(request.POST)
    if form.is_valid():
        try:
            accounts.set_roles(user=person, roles=form.cleaned_data["roles"], actor=request.user)
        except accounts.LastAdmin as last:
            form.add_error("roles", str(last))
        else:
            messages.success(request, f"{person.username}'s roles are saved; they hold from the next click on.")
            # Who has just given up the role may not see this page any more.
            mine = person.pk == request.user.pk and Role.ADMIN not in form.cleaned_data["roles"]
            return redirect("/" if mine else reverse("accounts:user", args=[person.pk]))
    return _person(request, person, form=form, status=422)


@access.allow(Role.ADMIN)
@require_POST
def user_disable(request: UserRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk)
    try:
        if accounts.disable(user=person, actor=request.user):
            messages.success(
                request, f"{person.username}'s account is disabled: signed out everywhere, tokens and open invitations revoked."
            )
    except accounts.LastAdmin as last:
        messages.error(request, str(last))
    return redirect("accounts:user", person.pk)


@access.allow(Role.ADMIN)
@require_POST
def user_enable(request: UserRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk)
    if accounts.enable(user=person, actor=request.user):
        messages.success(request, f"{person.username} may sign in again. Tokens stay revoked; new ones can be made.")
    return redirect("accounts:user", person.pk)


@access.allow(Role.ADMIN)
@never_cache
@require_POST
def user_link(request: UserRequest, pk: int) -> HttpResponse:
    """A one-time link to a new passphrase, shown in this answer only."""
    person = get_object_or_404(User, pk=pk)
    try:
        secret = passwords.link(user=person, actor=request.user)
    except ValueError:
        messages.error(request, "This account is disabled: enable it first.")
        return redirect("accounts:user", person.pk)
    return _person(request, person, link=request.build_absolute_uri(reverse("accounts:password-link", args=[secret])))
