"""Pages of those who train: where the loop stands, launching, watching, comparing, promoting."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, User
from annotation.models import Campaign, GenerationBatch, Snapshot
from annotation.views.rating import RATERS
from jobs.models import Job, State
from modelhub import aliases
from modelhub.errors import AliasMoved, NothingBefore
from modelhub.models import AliasName, ModelVersion
from training import curves, evaluations, families, generations, preflight, presets, promotions, runs, stages
from training import impact as impacts
from training.engine.errors import SpecError
from training.forms import GenerateForm, LaunchForm, PromoteForm
from training.models import Evaluation, Promotion, Run

RUNS_A_PAGE = 50
ITEMS_A_PAGE = 20


@require_GET
@access.allow()
def home(request: UserRequest) -> HttpResponse:
    """Trainers see where the loop stands; everyone else is led to their own first page."""
    if request.user.has_role(*TRAINERS):
        page = "training/home.html#overview" if request.htmx else "training/home.html"
        return render(request, page, stages.overview())
    if request.user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR):
        return redirect("annotation:queue")
    if request.user.has_role(Role.STEWARD):
        return redirect("accounts:audit")
    return render(request, "training/home.html", {"without_role": True})


@require_POST
@access.allow(*TRAINERS)
def family(request: UserRequest) -> HttpResponse:
    """Build a tiny model family, unless one is being built."""
    running = families.progress()
    if running and not running.finished and not running.failed:
        messages.warning(request, "A family is being built already.")
    else:
        made = families.start(preset="demo", actor=request.user)
        messages.success(request, f"{len(made)} jobs are queued. Each starts when the models it needs are there.")
    return redirect("training:home")


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def generate(request: UserRequest) -> HttpResponse:
    usual = aliases.current(AliasName.CHAMPION) or ModelVersion.objects.first()
    suggestion = {"first": usual.public_id, "second": usual.public_id} if usual else {}
    form = GenerateForm(request.POST or None, initial=suggestion)
    if request.method == "POST" and form.is_valid():
        made = _generate(form, request.user)
        return redirect(f"{reverse('training:generate')}?{urlencode({'batches': ','.join(str(batch.public_id) for batch in made)})}")
    page = "training/generate.html#progress" if request.htmx else "training/generate.html"
    context = {"form": form, "batches": _batches(request.GET.get("batches", "")), "models": ModelVersion.objects.exists()}
    return render(request, page, context, status=422 if form.errors else 200)


def _generate(form: GenerateForm, user: User) -> list[GenerationBatch]:
    chosen = generations.choose(counts=form.counts(), **form.filters())
    asked = form.cleaned_data
    return [
        generations.start(
            version=asked[side],
            decoding={"temperature": asked[f"{side}_temperature"], "max_new_tokens": asked["max_new_tokens"]},
            prompts=chosen,
            actor=user,
            seed=asked["seed"] + place,
        )
        for place, side in enumerate(("first", "second"))
    ]


def _batches(text: str) -> dict[str, Any] | None:
    """The batches a page follows, with their jobs, and whether all are done."""
    try:
        wanted = [UUID(part) for part in text.split(",") if part][:8]
    except ValueError:
        raise Http404("No such batches.") from None
    if not wanted:
        return None
    found = list(GenerationBatch.objects.filter(public_id__in=wanted).select_related("version").order_by("pk"))
    jobs = {str(job.public_id): job for job in Job.objects.filter(public_id__in=[batch.origin for batch in found if batch.origin])}
    theirs = [jobs.get(batch.origin or "") for batch in found]
    rows = [{"batch": batch, "job": job} for batch, job in zip(found, theirs, strict=True)]
    ended = all(job is None or job.ended for job in theirs)
    done = bool(theirs) and all(job is not None and job.state == State.SUCCEEDED for job in theirs)
    query = urlencode([("batch", str(batch.public_id)) for batch in found])
    return {"rows": rows, "ended": ended, "done": done, "query": query, "ids": text}


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def launch(request: UserRequest) -> HttpResponse:
    """Four fields, a preflight, one click. While fields change, htmx asks for the preflight alone."""
    if request.method == "GET" and not request.htmx:
        suggestion = _suggestion(request)
        ahead = _look_ahead(LaunchForm(suggestion, user=request.user))
        return render(request, "training/launch.html", {"form": LaunchForm(initial=suggestion, user=request.user), **ahead})
    form = LaunchForm(request.POST if request.method == "POST" else request.GET, user=request.user)
    ahead = _look_ahead(form)
    if request.method == "GET":
        return render(request, "training/launch.html#preflight", {"form": form, **ahead})
    if form.is_valid() and not any(check.stops for check in ahead["checks"]):
        try:
            run = _launch(form, request.user)
        except (runs.Refused, SpecError) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:run", run.pk)
    return render(request, "training/launch.html", {"form": form, **ahead}, status=422)


def _suggestion(request: UserRequest) -> dict[str, Any]:
    """Fields filled in before anyone types: the snapshot asked for or the newest, the champion or the newest SFT, a free name."""
    named = request.GET.get("snapshot", "")
    seen = Snapshot.objects.unblinded_for(request.user)
    snapshot = seen.filter(public_id=named).first() if _is_uuid(named) else seen.first()
    if named and snapshot is None:
        raise Http404("No such snapshot.")
    policy = aliases.current(AliasName.CHAMPION)
    if snapshot and (policy is None or policy.toy != snapshot.toy):
        policy = ModelVersion.objects.filter(toy=snapshot.toy, kind__in=("sft", "dpo")).first() or policy or ModelVersion.objects.first()
    preset = presets.suggested(toy=bool(policy and policy.toy))
    return {
        "snapshot": snapshot and snapshot.public_id, "policy": policy and policy.public_id, "preset": preset.key,
        "name": _free_name(policy), "seed": None,
    }  # fmt: skip


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _free_name(policy: ModelVersion | None) -> str:
    stem = f"{policy.name.split('-')[0][:60]}-dpo" if policy else "dpo"
    taken = set(Run.objects.filter(name__startswith=stem).values_list("name", flat=True))
    return next(f"{stem}-{number}" for number in range(1, 10_000) if f"{stem}-{number}" not in taken)


def _look_ahead(form: LaunchForm) -> dict[str, Any]:
    """Preflight and estimate of what the form says so far; neither while snapshot, model or recipe is missing or wrong."""
    form.is_valid()
    said = form.cleaned_data
    if not ({"snapshot", "policy", "params"} <= said.keys()):
        return {"checks": [], "estimate": None, "clear": False}
    snapshot, policy, params = said["snapshot"], said["policy"], said["params"]
    checks = preflight.checks(snapshot=snapshot, policy=policy, name=said.get("name", ""), params=params)
    return {
        "checks": checks,
        "estimate": preflight.estimate(snapshot=snapshot, policy=policy, params=params) if preflight.readable(policy) else None,
        "before": preflight.waiting_jobs(),
        "clear": not any(check.stops for check in checks),
        "preset": presets.named(said["preset"]),
    }


def _launch(form: LaunchForm, user: User) -> Run:
    said = form.cleaned_data
    return runs.start(
        snapshot=said["snapshot"], policy=said["policy"], preset=said["preset"], name=said["name"], actor=user,
        changes=form.changes(said), seed=said["seed"] if said["seed"] is not None else 1,
    )  # fmt: skip


@require_GET
@access.allow(*TRAINERS)
def run_list(request: UserRequest) -> HttpResponse:
    found = Run.objects.for_list()
    page = Paginator(found, RUNS_A_PAGE).get_page(request.GET.get("page"))
    template = "training/runs.html#table" if request.htmx else "training/runs.html"
    return render(
        request, template, {"page": page, "alive": any(not run.job.ended for run in page), "snapshots": Snapshot.objects.exists()}
    )


def get_run_for(user: User, pk: int) -> Run:
    """A run a trainer may see. What raters of an open campaign must not learn is not on its page: it shows no texts and no votes."""
    return get_object_or_404(Run.objects.for_page(), pk=pk)


@require_GET
@access.allow(*TRAINERS)
def run_detail(request: UserRequest, pk: int) -> HttpResponse:
    return render(request, "training/run.html", _run_context(get_run_for(request.user, pk)))


@require_GET
@access.allow(*TRAINERS)
def run_live(request: UserRequest, pk: int) -> HttpResponse:
    """The part of a run's page that changes while it runs."""
    return render(request, "training/run.html#live", _run_context(get_run_for(request.user, pk)))


def _run_context(run: Run) -> dict[str, Any]:
    seen = evaluations.of_version(run.output) if run.output else []
    return {"run": run, "job": run.job, "evaluations": seen, "recipe": presets.shown(run.params), **curves.of_run(run)}


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
    """An evaluation a trainer may see. It shows who wrote what: while its campaign is open, its raters get 404."""
    found = get_object_or_404(Evaluation.objects.select_related("job", "policy", "reference", "snapshot__campaign"), public_id=public_id)
    campaign = found.snapshot.campaign if found.snapshot else None
    if campaign and not Campaign.objects.unblinded_for(user).filter(pk=campaign.pk).exists():
        raise Http404("Not while you are rating in its campaign.")
    return found


@require_GET
@access.allow(*TRAINERS)
def evaluation(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_evaluation_for(request.user, public_id)
    champion = aliases.current(AliasName.CHAMPION)
    gates = promotions.gates(found, champion=champion)
    context = {
        "evaluation": found,
        "job": found.job,
        "items": Paginator(found.items.select_related("prompt__sample"), ITEMS_A_PAGE).get_page(request.GET.get("page")),
        "gates": gates,
        "passed": all(gate.passed for gate in gates),
        "may_override": promotions.may_override(gates),
        "champion": champion,
        "is_champion": champion == found.policy,
        "previous": aliases.previous(AliasName.CHAMPION),
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
    try:
        decision = promotions.decide(
            evaluation=found,
            actor=request.user,
            expected=_expected(form),
            reason=form.cleaned_data["reason"],
            override=form.cleaned_data["override"],
        )
    except promotions.OverrideRefused as refused:
        messages.error(request, f"{refused} Nothing was changed.")
    except AliasMoved:
        messages.error(request, "Somebody else moved the champion meanwhile; nothing was changed. Look again, then decide.")
    else:
        if decision.decision == "promoted":
            messages.success(request, f"{found.policy.name} is champion.")
        else:
            messages.error(request, f"Not promoted. {decision.reason}. The refusal is on record.")
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


@require_GET
@never_cache
@access.allow(*RATERS)
def impact(request: UserRequest) -> HttpResponse:
    """What came of one's own judgements: for raters, each their own."""
    return render(request, "training/impact.html", {"impact": impacts.of(user=request.user), "enough": impacts.ENOUGH_REPEATS})


@require_GET
@never_cache
@access.allow(*RATERS)
def impact_data(request: UserRequest) -> HttpResponse:
    """One's own judgements to take away."""
    response = JsonResponse(impacts.own_data(user=request.user), json_dumps_params={"ensure_ascii": False, "indent": 1})
    response["Content-Disposition"] = 'attachment; filename="my-judgements.json"'
    return response
