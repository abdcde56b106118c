"""Evaluating a model on a snapshot of one's choice: which there are, how many of their pairs count for gate G1, and the job."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.held_out_raters import PAIRS_NEEDED
from annotation.models import Snapshot
from modelhub.models import ModelVersion
from training import elsewhere
from training.evaluations import NothingHeldOut
from training.models import Study

A_PAGE = 20


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def evaluate_on(request: UserRequest, public_id: UUID) -> HttpResponse:
    """The snapshots the reader may see, the newest first; POST starts the evaluation on one. `against` is what the model is held against,
    else what its run started from.
    """
    policy = get_model_for(request.user, public_id)
    reference = _reference(policy, request.GET.get("against", ""))
    if reference is None:
        messages.error(request, f"No run made {policy.name}, so nothing says what to hold it against. Begin at one of its evaluations.")
        return redirect("modelhub:model", policy.public_id)
    seen = Snapshot.objects.unblinded_for(request.user).select_related("campaign")
    refused = None
    if named := request.POST.get("snapshot", ""):
        snapshot = get_object_or_404(seen, public_id=_uuid(named))
        try:
            evaluation = elsewhere.start(policy=policy, reference=reference, snapshot=snapshot, actor=request.user)
        except NothingHeldOut as problem:
            refused = (snapshot, problem)
        else:
            return redirect("training:evaluation", evaluation.public_id)
    page = Paginator(seen.order_by("-pk"), A_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/evaluate_on.html", {
        "policy": policy, "reference": reference, "run": getattr(policy, "run", None), "page": page, "refused": refused,
        "choices": elsewhere.choices(policy=policy, reference=reference, snapshots=list(page)), "pairs_needed": PAIRS_NEEDED,
    }, status=409 if refused else 200)  # fmt: skip


def get_model_for(user: User, public_id: UUID) -> ModelVersion:
    """A model whose evaluations a trainer may see: not while they rate in a study of it."""
    found = get_object_or_404(ModelVersion.objects.select_related("run"), public_id=public_id)
    if Study.objects.rated_by(user).filter(challenger=found).exists():
        raise Http404("Not while you are rating in a study of it.")
    return found


def _reference(policy: ModelVersion, named: str) -> ModelVersion | None:
    """What `policy` is held against: the model named, else what its run started from, if it has one."""
    if named:
        return get_object_or_404(ModelVersion.objects.exclude(pk=policy.pk), public_id=_uuid(named))
    run = getattr(policy, "run", None)
    return run.policy if run is not None else None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404("No such thing.") from None
