"""Promoting a version from its own page: the gates with what makes each known, which name moves, who reads that name, and the decision."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import evaluations, replays, suiteruns
from training.models import Evaluation, Promotion
from training.views.comparing import get_evaluation_for, standing
from training.views.watching import get_run_for


@require_GET
@access.allow(*TRAINERS)
def promotion(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Everything a promotion stands on, on one page; the button sends it to the evaluation that is its evidence."""
    version = get_object_or_404(ModelVersion, public_id=public_id)
    name = request.GET.get("alias", "")
    alias = AliasName(name) if name in AliasName.values else AliasName.CHAMPION
    # It shows who wrote what: not while one is rating in its campaign, or in a study of it.
    seen = Evaluation.objects.of_candidates().unblinded_for(request.user).filter(policy=version, finished_at__isnull=False)
    evaluation = seen.order_by("-finished_at").first()
    current = aliases.current(alias)
    page = {
        "version": version, "alias": alias, "names": AliasName.choices, "current": current, "evaluation": evaluation,
        "consumers": aliases.CONSUMERS[alias], "back": "model",
        "previous": aliases.previous(alias) if current == version else None,
        "decisions": Promotion.objects.filter(version=version).select_related("decided_by", "replaced"),
        **(standing(request.user, evaluation, alias, current) if evaluation else {}),
    }  # fmt: skip
    return render(request, "training/promotion.html", page)


@require_POST
@access.allow(*TRAINERS)
def ask_champion(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Ask the champion the held-out pairs of an evaluation."""
    found = get_evaluation_for(request.user, public_id)
    champion = aliases.current(AliasName.CHAMPION)
    if champion is None or champion in (found.policy, found.reference):
        messages.info(request, "There is no other champion to ask.")
        return redirect("training:promotion", found.policy.public_id)
    try:
        evaluations.of_champion(evaluation=found, champion=champion, actor=request.user)
    except evaluations.NothingHeldOut as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"{champion.name} is asked the same pairs. The gate follows when it has answered.")
    return redirect("training:promotion", found.policy.public_id)


@require_POST
@access.allow(*TRAINERS)
def ask_suite(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Ask the mini-suite of an evaluation's policy and of what it is held against, where they were not asked yet."""
    found = get_evaluation_for(request.user, public_id)
    champion = aliases.current(AliasName.CHAMPION) or found.reference
    try:
        for version in dict.fromkeys((found.policy, champion if champion != found.policy else found.reference)):
            suiteruns.start(version=version, actor=request.user)
    except suiteruns.NotAskable as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, "Both are asked, as jobs of a few minutes. The gate follows when they have answered.")
    return redirect("training:promotion", found.policy.public_id)


@require_POST
@access.allow(*TRAINERS)
def replay(request: UserRequest, pk: int) -> HttpResponse:
    """Do a run once more, by the same spec and seed."""
    run = get_run_for(request.user, pk)
    try:
        made = replays.start(run=run, actor=request.user)
    except replays.ReplayRefused as refused:
        messages.error(request, str(refused))
        return redirect("training:run", run.pk)
    messages.success(request, f"{run.name} is done once more. What comes of it is compared and let go.")
    return redirect("training:run", made.pk)
