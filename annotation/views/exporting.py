"""Taking a snapshot away: what there is to take and who may, the files whole or in parts, and the reason that a full export asks for."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils._os import safe_join
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access, audit, fresh
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, RoleGrant, User
from annotation import export_facts, export_files, export_jobs, export_rights, hubs
from annotation.exports import card, levels, sealing
from annotation.exports.forms import FORMS, Form
from annotation.models import ExportGrant, ExportLevel, Snapshot
from jobs.models import Job
from modelhub import zipping
from web import ranges

_KINDS = {".parquet": "application/vnd.apache.parquet", ".jsonl": "application/jsonl", ".json": "application/json", ".md": "text/markdown"}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=forms.Textarea(attrs={"rows": 2}), label="What you take it for",
        help_text="Kept on record with your name; say nothing of patients.",
    )  # fmt: skip


def get_snapshot_for(user: User, pk: UUID) -> Snapshot:
    """A snapshot the user may see. Raises Http404 otherwise."""
    found = Snapshot.objects.unblinded_for(user).select_related("campaign__rubric", "frozen_by").filter(public_id=pk).first()
    if found is None:
        raise Http404
    return found


# --- the section of the snapshot's page ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """One form at the level looked at: `size` in bytes once it is made, the `job` that makes it now, and where it is downloaded."""

    form: Form
    size: int | None
    job: Job | None
    href: str
    long: bool

    @property
    def ready(self) -> bool:
        """It can be downloaded now, or is made while one waits."""
        return self.size is not None or not self.long


def section(request: UserRequest, snapshot: Snapshot, form: ReasonForm | None = None) -> dict[str, Any]:
    """What the page says of exports: levels with what they leave out, forms with sizes, and what still stands in the way."""
    grant = export_rights.standing(request.user)
    most = grant.level if grant else ""
    # A reason that was refused comes back where it was written.
    level = levels.FULL if form is not None else _level_asked(request, most)
    released = grant is not None and export_rights.release_of(request.user, snapshot, grant) is not None
    asks = level == levels.FULL and not released
    return {
        "grant": grant,
        "level": level,
        "levels": [(key, levels.LABELS[key], levels.EXPLAINED[key], levels.within(key, most)) for key in levels.ORDER],
        "offers": [] if not level or asks else [_offer(snapshot, one, level) for one in FORMS.values()],
        "forms": FORMS.values(),
        "asks": asks,
        "confirmed": fresh.confirmed(request),
        "confirm": fresh.address(f"{request.path}?level={levels.FULL}#export"),
        "reason_form": form or ReasonForm(),
        "licences": export_facts.sources(snapshot),
        "hub": hubs.configured(),
        "hub_name": hubs.name_of(snapshot),
    }


def _level_asked(request: HttpRequest, most: str) -> str:
    asked = request.GET.get("level", "")
    if levels.within(asked, most):
        return asked
    # What one may without more ado.
    return levels.UNTAGGED if most == levels.FULL else most


def _offer(snapshot: Snapshot, form: Form, level: str) -> Offer:
    size = None
    if export_files.is_made(snapshot, form.key, level):
        size = export_files.size_of(export_files.place_of(snapshot, form.key, level))
    return Offer(
        form, size, export_jobs.under_way(snapshot, form.key, level) if size is None else None,
        reverse("annotation:snapshot-download", args=[snapshot.public_id, form.key, level]), export_jobs.is_long(snapshot),
    )  # fmt: skip


# --- taking it ----------------------------------------------------------------------------------------------------------------------------


@access.allow(*TRAINERS)
@require_POST
def snapshot_export(request: UserRequest, pk: UUID) -> HttpResponse:
    """Have a long export made in the background."""
    snapshot = get_snapshot_for(request.user, pk)
    form, level = request.POST.get("form", ""), request.POST.get("level", "")
    if form not in FORMS or level not in levels.ORDER:
        messages.error(request, "Choose a form and a level.")
        return redirect("annotation:snapshot", snapshot.public_id)
    job = export_jobs.start(snapshot=snapshot, form=form, level=level, actor=request.user)
    messages.success(request, "It is being made. This page offers it when it is done.")
    return redirect("jobs:job", job.public_id)


@access.allow(*TRAINERS)
@require_safe
def snapshot_download(request: UserRequest, pk: UUID, form: str, level: str) -> HttpResponseBase:
    """A form of the snapshot as a zip, made while it is sent; any part of it, so that a broken download goes on where it broke."""
    snapshot = get_snapshot_for(request.user, pk)
    _known(form, level)
    export_rights.require(request.user, level, snapshot)
    if export_jobs.is_long(snapshot) and not export_files.is_made(snapshot, form, level):
        messages.error(request, "It takes a while to make. Ask for it first; this page offers it when it is done.")
        return redirect(f"{reverse('annotation:snapshot', args=[snapshot.public_id])}?level={level}#export")
    return send_archive(request, request.user, snapshot, form, level, via="page")


@access.allow(*TRAINERS)
@require_safe
def snapshot_file(request: UserRequest, pk: UUID, form: str, level: str, name: str) -> HttpResponseBase:
    """One file of a made export, or a part of it."""
    snapshot = get_snapshot_for(request.user, pk)
    _known(form, level)
    export_rights.require(request.user, level, snapshot)
    return send_file(request, request.user, snapshot, form, level, name, via="page")


@access.allow(*TRAINERS)
@require_POST
def snapshot_push(request: UserRequest, pk: UUID) -> HttpResponse:
    """Have the data set sent to the operator's hub."""
    snapshot = get_snapshot_for(request.user, pk)
    level, name = request.POST.get("level", ""), request.POST.get("name", "").strip()
    if level not in levels.ORDER:
        messages.error(request, "Choose a level.")
        return redirect("annotation:snapshot", snapshot.public_id)
    try:
        job = hubs.push(snapshot=snapshot, level=level, name=name, actor=request.user)
    except hubs.PushRefused as refused:
        messages.error(request, str(refused))
        return redirect(f"{reverse('annotation:snapshot', args=[snapshot.public_id])}?level={level}#export")
    messages.success(request, "It is being sent to the hub, into a private repository.")
    return redirect("jobs:job", job.public_id)


def _known(form: str, level: str) -> None:
    if form not in FORMS or level not in levels.ORDER:
        raise Http404("No such export.")


def send_archive(request: HttpRequest, user: User, snapshot: Snapshot, form: str, level: str, *, via: str) -> HttpResponseBase:
    """The whole as a zip. Everything that is sent leaves an entry, so that no part is taken unseen."""
    place = export_files.folder(snapshot=snapshot, form=form, level=level)
    archive = export_files.archive(snapshot, place)
    tag = f'"{sha256((place / sealing.MANIFEST).read_bytes()).hexdigest()}"'
    _record(request, user, snapshot, form=form, level=level, via=via)
    return ranges.answer(
        request, lambda start, stop: export_rights.watched(archive.blocks(start, stop), user, level), size=archive.size, tag=tag,
        name=f"{card.filename(snapshot.digest)}-{form}.zip", content_type="application/zip",
    )  # fmt: skip


def send_file(request: HttpRequest, user: User, snapshot: Snapshot, form: str, level: str, name: str, *, via: str) -> HttpResponseBase:
    """One file that the manifest names, or the manifest. Raises Http404 for any other name, and while the export is not made."""
    place = export_files.place_of(snapshot, form, level)
    if not place.is_dir():
        raise Http404("It is not made yet.")
    told = export_files.manifest(place)["files"]
    if name != sealing.MANIFEST and name not in told:
        raise Http404("No such file.")
    try:
        path = Path(safe_join(place, name))
    except SuspiciousFileOperation as outside:
        raise Http404 from outside
    digest = told[name]["sha256"] if name in told else sha256(path.read_bytes()).hexdigest()
    _record(request, user, snapshot, form=form, level=level, via=via, file=digest)
    member = zipping.Member(name, path.stat().st_size, path)
    return ranges.answer(
        request, lambda start, stop: export_rights.watched(member.blocks(start, stop), user, level), size=member.size,
        tag=f'"{digest}"', name=Path(name).name, content_type=_KINDS.get(path.suffix, "application/octet-stream"),
    )  # fmt: skip


def _record(request: HttpRequest, user: User, snapshot: Snapshot, **details: str) -> None:
    if request.method == "GET":
        part = request.headers.get("Range", "")[:60]
        audit.record(user, "snapshot.downloaded", snapshot, digest=snapshot.digest, **details, **({"part": part} if part else {}))


# --- who may ------------------------------------------------------------------------------------------------------------------------------


class GrantForm(forms.Form):
    user = forms.ModelChoiceField(queryset=User.objects.none(), label="Who", empty_label=None)
    level = forms.ChoiceField(choices=ExportLevel.choices, label="How much", initial=ExportLevel.DEIDENTIFIED)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        able = RoleGrant.objects.filter(role__in=TRAINERS).values("user")
        people = forms.ModelChoiceField(
            queryset=User.objects.filter(pk__in=able, is_active=True).order_by("username"), label="Who", empty_label=None,
            help_text="Trainers and administrators: nobody else exports.",
        )  # fmt: skip
        self.fields["user"] = people


@access.allow(Role.STEWARD, Role.ADMIN)
@require_http_methods(["GET", "HEAD", "POST"])
def export_rights_page(request: UserRequest) -> HttpResponse:
    """Who may export how much; an administrator grants."""
    may_grant = request.user.has_role(Role.ADMIN)
    form, status = GrantForm(request.POST or None), 200
    if request.method == "POST":
        access.require(request.user, Role.ADMIN)
        status = 422
        if form.is_valid():
            try:
                made = export_rights.grant(user=form.cleaned_data["user"], level=form.cleaned_data["level"], actor=request.user)
            except export_rights.GrantRefused as refused:
                form.add_error(None, str(refused))
            else:
                messages.success(request, f"{made.user.username} may export: {made.get_level_display().lower()}. It holds from now on.")
                return redirect("annotation:export-rights")
    page = {
        "grants": ExportGrant.objects.for_list()[:200], "form": form, "may_grant": may_grant,
        "levels": [(levels.LABELS[key], levels.EXPLAINED[key]) for key in levels.ORDER],
    }  # fmt: skip
    return render(request, "annotation/export_rights.html", page, status=status)


@access.allow(Role.ADMIN)
@require_POST
def export_right_revoke(request: UserRequest, pk: UUID) -> HttpResponse:
    grant = get_object_or_404(ExportGrant.objects.select_related("user"), public_id=pk)
    if export_rights.revoke(grant=grant, actor=request.user):
        messages.success(request, f"{grant.user.username} may export nothing from now on; what was being made for them is stopped.")
    return redirect("annotation:export-rights")
