"""Before and after: comparing what a run made with what it started from, promoting it, going back."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from modelhub import aliases
from modelhub.errors import AliasMoved, NothingBefore
from modelhub.models import AliasName, ModelVersion
from training import curves, evaluations, gates, promotions
from training.forms import PromoteForm
from training.models import Evaluation, Promotion, Study, StudyState
from training.views.watching import get_run_for

ITEMS_A_PAGE = 20


@require_POST
@access.allow(*TRAINERS)
def evaluate(request: UserRequest, pk: int) -> HttpResponse:
    """Compare what a run made with what it started from, on prompts that no training has seen."""
    run = get_run_for(request.user, pk)
    if run.output is None or run.policy is None or run.snapshot is None:
        messages.error(request, "Only a finished run on a snapshot can be evaluated.")
        return redirect("training:run", run.pk)
    try:
        evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=request.user)
    except evaluations.NothingHeldOut as problem:
        messages.error(request, f"{problem} Open a campaign that includes some, and freeze again.")
        return redirect("training:run", run.pk)
    return redirect("training:evaluation", evaluation.public_id)


def get_evaluation_for(user: User, public_id: UUID) -> Evaluation:
    """An evaluation a trainer may see. It shows who wrote what: while its campaign is open, or a study of one of its models is under way,
    their raters get 404.
    """
    found = Evaluation.objects.unblinded_for(user).select_related("job", "policy", "reference", "snapshot__campaign")
    return get_object_or_404(found, public_id=public_id)


def _blinded(gate: gates.Gate) -> gates.Gate:
    """Without what tells of the two models' answers, for who rates in a study of one of them."""
    if gate.code not in gates.OF_ANSWERS:
        return gate
    said = "you rate in a study that is under way: this is hidden from you until it ends"
    return replace(gate, state="unknown", value=said, evidence={}, links=(), remedies=())


def standing(user: User, evaluation: Evaluation, alias: str, current: ModelVersion | None) -> dict[str, Any]:
    """The gates of `evaluation` and what they leave its reader to do, for the page of a promotion and that of an evaluation."""
    found = promotions.found(evaluation=evaluation, alias=alias, replaces=current)
    if not Evaluation.objects.unblinded_for(user).filter(pk=evaluation.pk).exists():
        found = [_blinded(gate) for gate in found]
    return {
        "gates": found,
        "passed": gates.passed(found), "may_override": gates.may_override(found),
        "not_passed": [gate for gate in found if not gate.passed],
        "never": [gate for gate in found if not gate.passed and not gate.may_be_overridden],
        "blocked": any(gate.code == gates.SAFETY and not gate.passed for gate in found),
        "same_person": promotions.same_person(evaluation=evaluation, actor=user),
    }  # fmt: skip


@require_GET
@access.allow(*TRAINERS)
def evaluation(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_evaluation_for(request.user, public_id)
    champion = aliases.current(AliasName.CHAMPION)
    # Of this model, whichever evaluation they were started from: they are about the two models, not about the pairs.
    studies = list(Study.objects.filter(challenger=found.policy).order_by("-pk"))
    context = {
        "evaluation": found,
        "job": found.job,
        "items": Paginator(found.items.select_related("prompt__sample"), ITEMS_A_PAGE).get_page(request.GET.get("page")),
        "version": found.policy,
        "alias": AliasName.CHAMPION,
        "champion": champion,
        "studies": studies,
        "study_under_way": any(study.state in StudyState.under_way() for study in studies),
        "current": champion,
        "previous": aliases.previous(AliasName.CHAMPION) if champion == found.policy else None,
        **(standing(request.user, found, AliasName.CHAMPION, champion) if found.finished_at else {}),
        "decisions": Promotion.objects.filter(evaluation=found).select_related("decided_by", "version"),
        **curves.of_evaluation(found),
    }
    page = "training/evaluation.html#result" if request.htmx else "training/evaluation.html"
    return render(request, page, context)


@require_POST
@access.allow(*TRAINERS)
def promote(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_evaluation_for(request.user, public_id)
    form = PromoteForm(request.POST)
    if not form.is_valid():
        messages.error(request, "The form was not complete; nothing was changed.")
        return redirect("training:evaluation", public_id)
    alias = form.cleaned_data["alias"] or AliasName.CHAMPION
    try:
        decision = promotions.decide(
            evaluation=found,
            actor=request.user,
            alias=alias,
            expected=_expected(form),
            reason=form.cleaned_data["reason"],
            override=form.cleaned_data["override"],
        )
    except (promotions.OverrideRefused, promotions.SecondPersonNeeded) as refused:
        messages.error(request, f"{refused} Nothing was changed.")
    except AliasMoved:
        messages.error(request, f"Somebody else moved the {alias} meanwhile; nothing was changed. Look again, then decide.")
    else:
        if decision.decision == "promoted":
            messages.success(request, f"{found.policy.name} is {alias}.")
        else:
            messages.error(request, f"Not promoted. {decision.reason}. The refusal is on record.")
    if form.cleaned_data["back"] == "model":
        return redirect("modelhub:model", found.policy.public_id)
    return redirect("training:evaluation", public_id)


def _expected(form: PromoteForm) -> ModelVersion | None:
    wanted = form.cleaned_data["expected"]
    return get_object_or_404(ModelVersion, public_id=wanted) if wanted else None


@require_POST
@access.allow(*TRAINERS)
def rollback(request: UserRequest, name: str) -> HttpResponse:
    """Point an alias back to what it named before. Seconds, and nothing is deleted."""
    if name not in AliasName.values:
        raise Http404("No such alias.")
    form = PromoteForm(request.POST)
    seen = _expected(form) if form.is_valid() else None
    if seen is None:
        messages.error(request, "The form did not say what to roll back from; nothing was changed.")
        return redirect("training:home")
    try:
        decision = promotions.roll_back(
            actor=request.user, expected=seen, alias=name, reason=form.cleaned_data["reason"] or "Rolled back by hand"
        )
    except AliasMoved:
        messages.error(request, f"Somebody else moved the {name} meanwhile; nothing was changed.")
    except NothingBefore:
        messages.error(request, f"The {name} has named no other version before; there is nothing to go back to.")
    else:
        messages.success(request, f"{decision.version.name} is {name} again.")
    return redirect("modelhub:model", seen.public_id)
