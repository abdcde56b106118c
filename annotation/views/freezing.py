"""Snapshots: what is frozen, what was left out and why, and the files."""

from uuid import UUID

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from accounts import access, audit
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, User
from annotation import export_files, safety
from annotation import snapshots as verbs
from annotation.exports import card
from annotation.models import Campaign, CampaignState, Snapshot, Split

# A steward sees what was frozen, and takes nothing away.
READERS = (*TRAINERS, Role.STEWARD)


def get_snapshot_for(user: User, pk: UUID) -> Snapshot:
    """A snapshot the user may see. Raises Http404 otherwise."""
    snapshot = Snapshot.objects.unblinded_for(user).select_related("campaign", "frozen_by").filter(public_id=pk).first()
    if snapshot is None:
        raise Http404
    return snapshot


@access.allow(*READERS)
@require_safe
def snapshots(request: UserRequest) -> HttpResponse:
    page = Paginator(Snapshot.objects.unblinded_for(request.user).select_related("campaign").order_by("-pk"), 50).get_page(
        request.GET.get("page")
    )
    ready = Campaign.objects.unblinded_for(request.user).exclude(state=CampaignState.DRAFT).order_by("-pk").first()
    return render(request, "annotation/snapshots.html", {"page": page, "ready": ready})


@access.allow(*READERS)
@require_safe
def snapshot(request: UserRequest, pk: UUID) -> HttpResponse:
    shown = get_snapshot_for(request.user, pk)
    used = [(Split(split).label, shown.counts["used"].get(split, 0)) for split in Split.values]
    dropped = [(verbs.DROP_REASONS.get(reason, reason), count) for reason, count in shown.counts["dropped"].items()]
    page = {
        "snapshot": shown,
        "used": used,
        "rows": sum(count for _, count in used),
        "dropped": dropped,
        "lost": sum(n for _, n in dropped),
        "since": safety.since(shown),
    }
    return render(request, "annotation/snapshot.html", page)


@access.allow(*TRAINERS)
@require_safe
def snapshot_download(request: UserRequest, pk: UUID, format: str) -> HttpResponseBase:
    wanted = get_snapshot_for(request.user, pk)
    if format != "dataset.zip":
        raise Http404
    archive = export_files.archive(wanted, export_files.folder(snapshot=wanted))
    audit.record(request.user, "snapshot.downloaded", wanted, format=format, digest=wanted.digest)
    response = StreamingHttpResponse(archive.blocks(), content_type="application/zip")
    response["Content-Length"] = str(archive.size)
    response["Content-Disposition"] = content_disposition_header(True, f"{card.filename(wanted.digest)}.zip") or "attachment"
    response["Content-Security-Policy"] = "sandbox"
    return response
