"""Blinded before/after studies: started from an evaluation in one click, watched, ended; and its raters' guesses which model was new."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation import memberships
from annotation.views.rating import RATERS
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import blinding, studies, study_figures
from training.evidence import verdict as evidence
from training.forms import StudyForm, StudyStopForm
from training.models import Study, StudyState
from training.views.comparing import get_evaluation_for

# Who may see what a study has found so far: its verdict stays honest however often they look.
READERS = memberships.SEE_STUDIES
STUDIES_A_PAGE = 50


def get_study(public_id: UUID) -> Study:
    found = Study.objects.for_list().select_related("champion_texts", "challenger_texts", "stopped_by")
    return get_object_or_404(found, public_id=public_id)


def rates_in(user: User, study: Study) -> bool:
    """Whether the user is to stay blinded: they rate in it, or in another of its models, while that is under way."""
    return not Study.objects.unblinded_for(user).filter(pk=study.pk).exists()


@require_GET
@never_cache
@access.allow(*READERS)
def study_list(request: UserRequest) -> HttpResponse:
    """Every study with its state and verdict, or those of one model; of one that the reader rates in, that it is there."""
    found = Study.objects.for_list()
    model = _model(request.GET.get("model", ""))
    if model is not None:
        found = found.of_version(model)
    hidden = set(Study.objects.rated_by(request.user).values_list("pk", flat=True))
    page = Paginator(found.exclude(pk__in=hidden) if model else found, STUDIES_A_PAGE).get_page(request.GET.get("page"))
    rows = [(study, study.pk in hidden) for study in page]
    return render(request, "training/studies.html", {"page": page, "rows": rows, "model": model})


def _model(text: str) -> ModelVersion | None:
    try:
        return ModelVersion.objects.filter(public_id=UUID(text)).first() if text else None
    except ValueError:
        return None


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def study_start(request: UserRequest, public_id: UUID) -> HttpResponse:
    """POST starts the study with the campaign's own raters, in one click; the page is for choosing others, and says why it cannot."""
    evaluation = get_evaluation_for(request.user, public_id)
    form = StudyForm(request.POST if request.method == "POST" else None, evaluation=evaluation)
    refused = None
    if request.method == "POST" and form.is_valid():
        try:
            study = studies.start(
                evaluation=evaluation, actor=request.user, raters=form.cleaned_data["raters"], seed=form.cleaned_data["seed"]
            )
        except studies.StudyRefused as problem:
            refused = problem
        else:
            messages.success(request, "The study is started: both models answer, then its raters find it on their queue.")
            return redirect("training:study", study.public_id)
    page = {
        "evaluation": evaluation, "form": form, "refused": refused,
        "champion": aliases.current(AliasName.CHAMPION) or evaluation.reference,
        "test": evidence, "hours": studies.foreseen(evaluation),
    }  # fmt: skip
    return render(request, "training/study_start.html", page)


@require_GET
@never_cache
@access.allow(*READERS)
def study(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Where a study stands and what it found. Who rates in it, or in another of its models, sees that and nothing else."""
    found = get_study(public_id)
    if rates_in(request.user, found):
        return render(request, "training/study.html", {"study": found, "blinded": True})
    page = {"study": found, "blinded": False, "may_train": request.user.has_role(*TRAINERS), **_standing(found)}
    return render(request, "training/study.html#study" if request.htmx else "training/study.html", page)


def _standing(study: Study) -> dict[str, Any]:
    page: dict[str, Any] = {"test": evidence, "protocol": studies.protocol(study), "others": studies.others(study)}
    if study.campaign is None:
        return page | {"jobs": list(zip((study.champion, study.challenger), studies.jobs_of(study), strict=True))}
    votes = list(studies.raw_votes(study))
    progress = studies.progress(study, votes)
    most = min(evidence.MOST, progress.pairs)
    page |= {
        "progress": progress, "most": most, **_ahead(progress.verdict, most),
        "evidence_chart": study_figures.evidence_chart(votes) if votes else "",
    }  # fmt: skip
    if study.state in StudyState.under_way():
        return page
    return page | {"figures": study_figures.of(study, votes), "check": blinding.check(study)}


def _ahead(found: evidence.Verdict, most: int) -> dict[str, Any]:
    """Whether a decision is in sight: "near", "beyond" what the study has left, or "far"."""
    remaining = max(0, most - found.judgements)
    ahead = "far" if found.more is None else "beyond" if found.more > remaining else "near"
    return {"ahead": ahead, "remaining": remaining}


@require_POST
@access.allow(*TRAINERS)
def study_stop(request: UserRequest, public_id: UUID) -> HttpResponse:
    """End a study before its time: a written reason, no verdict."""
    found = get_study(public_id)
    if rates_in(request.user, found):
        raise Http404("Not while you are rating in it.")
    form = StudyStopForm(request.POST)
    try:
        studies.stop(study=found, actor=request.user, reason=form.cleaned_data["reason"] if form.is_valid() else "")
    except studies.StudyRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, "The study is stopped. What was judged is kept; there is no verdict.")
    return redirect("training:study", public_id)


@require_http_methods(["GET", "POST"])
@never_cache
@access.allow(*RATERS)
def study_guess(request: UserRequest, campaign: UUID) -> HttpResponse:
    """After a study its rater says of a few of their own pairs which text they take for the new model's."""
    found = get_object_or_404(Study.objects.filter(campaign__memberships__user=request.user), campaign__public_id=campaign)
    if request.method == "POST":
        said = {pair.public_id: request.POST.get(str(pair.public_id), "") for pair in blinding.asked(study=found, rater=request.user)}
        try:
            kept = blinding.guess(study=found, rater=request.user, guesses={pair: word for pair, word in said.items() if word})
        except blinding.GuessRefused as refused:
            messages.error(request, str(refused))
            return redirect("training:study-guess", campaign)
        if kept:
            messages.success(request, "Thank you: kept, and told to the trainers and leads as a sum without names.")
        return redirect("training:study-guess", campaign)
    pairs = blinding.asked(study=found, rater=request.user)
    left = blinding.open_for(study=found, rater=request.user)
    return render(request, "training/study_guess.html", {"study": found, "pairs": left, "asked": len(pairs)})
