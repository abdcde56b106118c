"""The hub's pages: which models there are, bringing one in, verifying all, and putting one away."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from jobs.models import Job
from modelhub import archiving, artifacts, garbage, incoming, kinds
from modelhub.errors import InUse, Refused
from modelhub.forms import ImportForm
from modelhub.models import AliasName, Kind, ModelVersion, ModelVersionQuerySet

A_PAGE = 50
# Clinicians do not see models: what they compare must stay blinded.
WHO = (*TRAINERS, Role.STEWARD)
STATES = (("", "In use"), ("archived", "Archived"), ("all", "All"))


@access.allow(*WHO)
@require_safe
def models(request: UserRequest) -> HttpResponse:
    chosen = {key: request.GET.get(key, "")[:80] for key in ("kind", "alias", "state", "q")}
    shown = Paginator(_chosen(ModelVersion.objects.for_list().with_uses(), chosen), A_PAGE).get_page(request.GET.get("page"))
    busy = archiving.used_by_jobs()
    for version in shown:
        version.jobs = sum(version.pk in used for used in busy.values())  # type: ignore[attr-defined]
        version.lacks = artifacts.missing(version.artifact)  # type: ignore[attr-defined]
    page = {
        "models": shown, "kinds": Kind.choices, "aliases": AliasName.choices, "states": STATES, "chosen": chosen,
        "filtered": any(chosen.values()), "store": garbage.look(), "checked": Job.objects.filter(kind=kinds.VERIFY).order_by("-pk").first(),
    }  # fmt: skip
    return render(request, "modelhub/models.html", page)


def _chosen(found: ModelVersionQuerySet, chosen: dict[str, str]) -> ModelVersionQuerySet:
    """What is not one of the values that a field has is passed over."""
    if chosen["kind"] in Kind.values:
        found = found.filter(kind=chosen["kind"])
    if chosen["alias"] in AliasName.values:
        found = found.filter(aliases__name=chosen["alias"])
    if chosen["q"] and "\0" not in chosen["q"]:
        found = found.filter(name__icontains=chosen["q"])
    if chosen["state"] != "all":
        found = found.filter(archived_at__isnull=chosen["state"] != "archived")
    return found


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def bring_in(request: UserRequest) -> HttpResponse:
    offers = incoming.offers()
    asked = request.GET.get("folder", "")
    form = ImportForm(request.POST or None, offers=offers, initial={"folder": asked, "name": ""})
    if request.method == "POST" and form.is_valid():
        try:
            job = incoming.queue(actor=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error("folder", ValidationError(str(refusal), code=refusal.code))
        else:
            return redirect("jobs:job", job.public_id)
    page = {
        "offers": offers,
        "form": form,
        "any": any(offer.refusal is None for offer in offers),
        "folder": incoming.FOLDER,
    }
    return render(request, "modelhub/import.html", page, status=422 if form.errors else 200)


@access.allow(*TRAINERS)
@require_POST
def verify(request: UserRequest) -> HttpResponse:
    return redirect("jobs:job", kinds.verify(actor=request.user).public_id)


@access.allow(*TRAINERS)
@require_POST
def archive(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Put a version away, or with `back` bring it back."""
    version = get_object_or_404(ModelVersion, public_id=public_id)
    try:
        if request.POST.get("back"):
            archiving.bring_back(version=version, actor=request.user)
            messages.success(request, f"{version.name} is offered again.")
        else:
            archiving.archive(version=version, actor=request.user)
            messages.success(request, f"{version.name} is archived: nothing of it is deleted, and it is offered nowhere.")
    except InUse as used:
        messages.error(request, str(used))
    return redirect("modelhub:model", version.public_id)
