"""The evidence of a study: what is in its pack and how anybody verifies it, the pack as a zip, and the verifier by itself."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import AuditEntry, Role, User
from annotation.models import Campaign
from training.evidence import pack
from training.models import Study, StudyState
from web import ranges

# Who may export data needs a right of their own; in a pack there is no text, no time and no rater.
WHO = (*TRAINERS, Role.ADJUDICATOR, Role.STEWARD)
TAKEN_SHOWN = 20


def get_study_for(user: User, public_id: UUID) -> Study:
    """A study with what its pack is made of. Raises Http404 for one whose models, or their data, its reader is still blinded to."""
    found = Study.objects.select_related(
        "campaign__rubric", "champion__artifact", "challenger__artifact", "evaluation__job", "evaluation__policy__artifact",
        "evaluation__reference__artifact", "evaluation__snapshot",
    )  # fmt: skip
    study = get_object_or_404(found, public_id=public_id)
    held = (study.campaign_id, study.evaluation.snapshot.campaign_id if study.evaluation.snapshot else None)
    campaigns = {pk for pk in held if pk is not None}
    if Campaign.objects.unblinded_for(user).filter(pk__in=campaigns).count() < len(campaigns):
        raise Http404("Not while you are rating in its campaign.")
    return study


@require_safe
@access.allow(*WHO)
def evidence(request: UserRequest, public_id: UUID) -> HttpResponse:
    """The pack's digest and files, and who has taken which pack: what was taken earlier may be another, if more was decided since."""
    study = get_study_for(request.user, public_id)
    page: dict[str, Any] = {"study": study, "pack": None, "may_see_study": request.user.has_role(*TRAINERS, Role.ADJUDICATOR)}
    if study.state == StudyState.DECIDED:
        made = pack.assemble(study)
        taken = AuditEntry.objects.filter(verb=pack.TAKEN, object_type="training.study", object_id=str(study.public_id))
        page |= {
            "pack": made, "files": [(name, len(content), pack.told_of(name)) for name, content in made.files.items()],
            "taken": taken.order_by("-pk")[:TAKEN_SHOWN],
        }  # fmt: skip
    return render(request, "training/evidence.html", page)


@require_safe
@access.allow(*WHO)
def evidence_pack(request: UserRequest, public_id: UUID) -> HttpResponseBase:
    """The pack as a zip; any part of it, so that a broken download goes on where it broke."""
    study = get_study_for(request.user, public_id)
    try:
        made = pack.assemble(study)
    except pack.NotPacked as problem:
        messages.error(request, str(problem))
        return redirect("training:evidence", study.public_id)
    tag = f'"{made.digest}"'
    wanted = ranges.part(request, made.archive.size, tag)
    if wanted is not None and wanted.start == 0 and request.method == "GET":
        pack.record(study=study, pack=made, actor=request.user, via="page")
    name = f"{made.name}.zip"
    return ranges.answer(request, made.archive.blocks, size=made.archive.size, tag=tag, name=name, content_type="application/zip")


@require_safe
@access.allow(*WHO)
def evidence_verifier(request: UserRequest) -> HttpResponse:
    """The verifier from here, and not from a pack that somebody may have changed."""
    response = HttpResponse((pack.HERE / "verify.py").read_bytes(), content_type="text/x-python; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, "verify.py") or "attachment"
    response["Content-Security-Policy"] = "sandbox"
    return response
