"""The evidence of a study: what its votes say, its pack made as a job and taken as a zip, and the verifier by itself."""

import re
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import AuditEntry, Role, User
from annotation.models import Campaign
from jobs import advice, pulses
from jobs.models import State
from training import evidence_jobs
from training.evidence import pack, verdict
from training.models import Study, StudyState
from web import ranges

# Who may export data needs a right of their own; in a pack there is no text, no time and no rater.
WHO = (*TRAINERS, Role.ADJUDICATOR, Role.STEWARD)
TAKEN_SHOWN = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def get_study_for(user: User, public_id: UUID) -> Study:
    """A study with what its pack is made of. Raises Http404 for one whose models, or their data, its reader is still blinded to."""
    found = Study.objects.select_related(
        "campaign__rubric", "champion__artifact", "challenger__artifact", "evaluation__job", "evaluation__policy__artifact",
        "evaluation__reference__artifact", "evaluation__snapshot",
    )  # fmt: skip
    study = get_object_or_404(found.unblinded_for(user), public_id=public_id)
    held = (study.campaign_id, study.evaluation.snapshot.campaign_id if study.evaluation.snapshot else None)
    campaigns = {pk for pk in held if pk is not None}
    if Campaign.objects.unblinded_for(user).filter(pk__in=campaigns).count() < len(campaigns):
        raise Http404("Not while you are rating in its campaign.")
    return study


@require_safe
@never_cache
@access.allow(*WHO)
def evidence(request: UserRequest, public_id: UUID) -> HttpResponse:
    """What the votes say, the newest pack that was made, and who has taken which. Nothing is packed here: that is a job."""
    study = get_study_for(request.user, public_id)
    page: dict[str, Any] = {"study": study, "may_see_study": request.user.has_role(*TRAINERS, Role.ADJUDICATOR), **_standing(study)}
    if request.htmx and (page["job"] is None or page["job"].ended):
        # Digest, files and the way to the download are all over the page.
        return HttpResponseClientRefresh()
    return render(request, "training/evidence.html#making" if request.htmx else "training/evidence.html", page)


def _standing(study: Study) -> dict[str, Any]:
    if study.state != StudyState.DECIDED:
        return {"job": None}
    job, made = evidence_jobs.newest_job(study), evidence_jobs.made(study)
    taken = AuditEntry.objects.filter(verb=pack.TAKEN, object_type="training.study", object_id=str(study.public_id))
    since = pack.decisions(study).filter(decided_at__gt=made.at).exists() if made else False
    making = job is not None and not job.ended
    return {
        "missing": pulses.missing((evidence_jobs.QUEUE,)) if making else [],
        "job": job if job and (not job.ended or job.state != State.SUCCEEDED) else None, "made": made, "since": since,
        "says": pack.says(study), "test": verdict, "taken": taken.order_by("-pk")[:TAKEN_SHOWN],
        "files": [(name, size, pack.told_of(name)) for name, size in made.files] if made else [],
        "advice": advice.for_code(job.error_code) if job else "",
    }  # fmt: skip


@require_POST
@access.allow(*WHO)
def evidence_make(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Have the pack made as things stand."""
    study = get_study_for(request.user, public_id)
    try:
        evidence_jobs.start(study=study, actor=request.user)
    except pack.NotPacked as problem:
        messages.error(request, str(problem))
    return redirect("training:evidence", study.public_id)


@require_safe
@access.allow(*WHO)
def evidence_pack(request: UserRequest, public_id: UUID) -> HttpResponseBase:
    """A pack that was made, the newest or that of `?digest=`; any part of it, so that a broken download goes on where it broke."""
    study = get_study_for(request.user, public_id)
    asked = request.GET.get("digest", "")
    if asked and not _DIGEST.fullmatch(asked):
        raise Http404("No digest.")
    made = evidence_jobs.made(study, asked) if study.state == StudyState.DECIDED else None
    if made is None:
        messages.error(request, pack.NO_VERDICT if study.state != StudyState.DECIDED else "There is no such pack. Have it made first.")
        return redirect("training:evidence", study.public_id)
    tag = f'"{made.digest}"'
    wanted = ranges.part(request, made.bytes, tag)
    if wanted is not None and wanted.start == 0 and request.method == "GET":
        pack.record(study=study, digest=made.digest, actor=request.user, via="page")
    return ranges.answer(
        request, made.archive.blocks, size=made.bytes, tag=tag, name=made.archive.name, content_type="application/zip"
    )  # fmt: skip


@require_safe
@access.allow(*WHO)
def evidence_verifier(request: UserRequest) -> HttpResponse:
    """The verifier from here, and not from a pack that somebody may have changed."""
    response = HttpResponse((pack.HERE / "verify.py").read_bytes(), content_type="text/x-python; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, "verify.py") or "attachment"
    response["Content-Security-Policy"] = "sandbox"
    return response
