"""Watching runs: the list, a run's page with the part of it that changes while it runs, what it answers, and stopping it."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Max
from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from accounts import access, audit
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation import export_rights
from annotation.exports import levels
from annotation.models import Snapshot, Split
from jobs import advice, submissions
from jobs.attempts import LOG, folder_of
from jobs.errors import NotCancellable, NothingToKeep, Unprepared
from jobs.models import Job, State
from modelhub.models import LineageEdge
from training import bundles, curves, estimates, evaluations, health, learning, merge_reports, presets, replays, searches
from training.forms import RunFilterForm
from training.models import MetricPoint, Run, RunSample

RUNS_A_PAGE = 50
LOG_BYTES = 4096
# What a watchdog's finding asks to be changed, as the launch form takes it: factors of the run's own setting, or values.
REMEDIES: dict[str, dict[str, float]] = {
    "not_finite": {"learning_rate": 1 / 3}, "collapsed": {"learning_rate": 1 / 3}, "chosen_falling": {"nll_weight": 0.1},
}  # fmt: skip
MOST_OVERLAID = 4


@require_GET
@access.allow(*TRAINERS)
def run_list(request: UserRequest) -> HttpResponse:
    filters = RunFilterForm(request.GET)
    page = Paginator(filters.chosen(Run.objects.for_list()), RUNS_A_PAGE).get_page(request.GET.get("page"))
    template = "training/runs.html#table" if request.htmx else "training/runs.html"
    return render(request, template, {
        "page": page, "filters": filters, "alive": any(not run.job.ended for run in page), "any": Run.objects.exists(),
        "snapshots": Snapshot.objects.exists(), "query": _without_page(request),
    })  # fmt: skip


def _without_page(request: UserRequest) -> str:
    kept = request.GET.copy()
    kept.pop("page", None)
    return f"{kept.urlencode()}&" if kept else ""


def get_run_for(user: User, pk: int) -> Run:
    """A run a trainer may see. Only its answers (`may_read`) could tell a rater something, and those are shown apart."""
    return get_object_or_404(Run.objects.for_page(), pk=pk)


def may_read(user: User, run: Run) -> bool:
    """Whether the run's answers may be seen: not by who judges in its snapshot's open campaign, or in a study of what it began or ended
    with."""
    return Run.objects.unblinded_for(user).filter(pk=run.pk).exists()


@require_GET
@access.allow(*TRAINERS)
def run_detail(request: UserRequest, pk: int) -> HttpResponse:
    run = get_run_for(request.user, pk)
    return render(request, "training/run.html", {
        **_live(run), **_samples(request, run), "recipe": presets.shown(run.params), "changed": _changed(run),
        "siblings": _siblings(run),
        "learning": learning.of(run), "searched": searches.found(run),
        "extracted": merge_reports.extraction(run.output.metrics) if run.output else None, "parents": _parents(run),
        "again": replays.compared(run, run.replays.output) if run.replays and run.replays.output else replays.agreement(run),
        "may_replay": run.job.ended and not replays.refusal(run),
    })  # fmt: skip


@require_GET
@access.allow(*TRAINERS)
def run_live(request: UserRequest, pk: int) -> HttpResponse:
    """The part of a run's page that changes while it runs; nothing, when it is as `?seen=` has it; all of the page, once it has ended."""
    run = get_run_for(request.user, pk)
    if request.GET.get("seen") == _as_seen(run):
        return HttpResponse(status=204)
    if request.htmx and run.job.ended:
        return HttpResponseClientRefresh()
    return render(request, "training/run.html#live", _live(run))


def _parents(run: Run) -> list[LineageEdge]:
    """What a run that starts from several models made its own of."""
    if run.policy or run.output is None:
        return []
    return list(run.output.parent_edges.filter(parent__isnull=False).select_related("parent").order_by("pk"))


def _as_seen(run: Run) -> str:
    """Changes whenever the live part would look different; cheap to work out."""
    job = run.job
    newest = MetricPoint.objects.filter(run=run).aggregate(newest=Max("pk"))["newest"] or 0
    return f"{job.state}-{job.phase}-{job.progress_done}-{job.attempts}-{job.checkpoint_step}-{bool(job.stop_requested_at)}-{newest}"


def _live(run: Run) -> dict[str, Any]:
    job, measured = run.job, curves.of_run(run)
    return {
        "run": run,
        "job": job,
        "seen": _as_seen(run),
        "charts": curves.charts(measured),
        "last_step": max((points[-1][0] for points in measured.values()), default=0),
        "verdict": health.verdict(measured, beta=float(run.params.get("beta") or 0.1), held_out=_held_out(run)),
        "kept": estimates.kept(run),
        "remaining": estimates.remaining(run) if job.state == State.RUNNING else None,
        "evaluations": evaluations.of_version(run.output) if run.output else [],
        "ended_before": run.output.metrics if run.output and run.output.metrics.get("stopped_early") else None,
        "remedy": _remedy(run),
        "watchdog": job.error_code in REMEDIES,
        "advice": advice.for_code(job.error_code),
        "log": _log_tail(job),
    }


def _held_out(run: Run) -> int:
    """Pairs of the validation split."""
    return int(run.snapshot.counts.get("used", {}).get(Split.VALIDATION, 0)) if run.snapshot else 0


def _remedy(run: Run) -> str:
    """The launch form's address for the run with what its watchdog asks to be changed; of any other run, as it was."""
    asked: dict[str, Any] = {"from": run.pk}
    for name, value in REMEDIES.get(run.job.error_code, {}).items():
        asked[name] = value if name == "nll_weight" else f"{float(run.params.get(name) or 0) * value:.2g}"
    return urlencode(asked)


def _log_tail(job: Job) -> str:
    """The end of the newest attempt's log, whole lines, at most 4 kB. Empty when there is none."""
    if not job.attempts:
        return ""
    try:
        with (folder_of(job, job.attempts) / LOG).open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - LOG_BYTES))
            tail = stream.read()
    except OSError:
        return ""
    return (tail.partition(b"\n")[2] if size > LOG_BYTES else tail).decode("utf-8", "replace")


def _changed(run: Run) -> list[tuple[str, str]]:
    """What the run has otherwise than its preset."""
    preset = next((preset for preset in presets.ALL if preset.key == run.preset), None)
    if preset is None:
        return []
    usual = dict(presets.shown(presets.usual(preset)))
    return [(name, value) for name, value in presets.shown(run.params) if usual.get(name) != value]


def _siblings(run: Run) -> list[dict[str, Any]]:
    """Other runs of the same start model on the same snapshot: what they were given differently, and what came of it."""
    if run.snapshot is None or run.policy is None:
        return []
    found = Run.objects.for_list().filter(snapshot=run.snapshot, policy=run.policy).exclude(pk=run.pk)[:8]
    mine = dict(presets.shown(run.params)) | {"seed": str(run.seed), "pairs": "half" if run.half_of_id else "all"}
    rows = []
    for other in found:
        theirs = dict(presets.shown(other.params)) | {"seed": str(other.seed), "pairs": "half" if other.half_of_id else "all"}
        names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        rows.append({"run": other, "differs": [(name, theirs.get(name, "–")) for name in names]})
    return rows


@require_GET
@access.allow(*TRAINERS)
def run_samples(request: UserRequest, pk: int) -> HttpResponse:
    """What the model answers to the fixed prompts, then and now; nothing, when there is no newer step than `?seen=`."""
    run = get_run_for(request.user, pk)
    context = _samples(request, run)
    if not context["may_read"]:
        raise Http404("Not while you are rating in its campaign.")
    if request.htmx and request.GET.get("seen") == str(context["latest"]) and not run.job.ended:
        return HttpResponse(status=204)
    return render(request, "training/run.html#samples" if request.htmx else "training/run.html", {"run": run, "job": run.job, **context})


def _samples(request: UserRequest, run: Run) -> dict[str, Any]:
    """Answers at the first step and at `?step=`, which is the latest unless it says another."""
    if not may_read(request.user, run):
        return {"may_read": False, "latest": None}
    steps = list(RunSample.objects.filter(run=run).order_by("step").values_list("step", flat=True).distinct())
    if not steps:
        return {"may_read": True, "latest": None, "steps": []}
    asked = request.GET.get("step", "")
    step = int(asked) if asked.isdecimal() and len(asked) < 10 and int(asked) in steps else steps[-1]
    found = RunSample.objects.filter(run=run, step__in=(steps[0], step)).select_related("prompt__sample").order_by("index")
    texts: dict[int, dict[str, Any]] = {}
    for sample in found:
        row = texts.setdefault(sample.index, {"prompt": sample.prompt, "number": sample.index + 1})
        row["first" if sample.step == steps[0] else "now"] = sample.text
    for row in texts.values():
        row.setdefault("now", row.get("first", ""))
    return {
        "may_read": True, "latest": steps[-1], "steps": steps, "first": steps[0], "step": step, "chosen": step != steps[-1],
        "answers": list(texts.values()),
    }  # fmt: skip


@require_POST
@access.allow(*TRAINERS)
def stop(request: UserRequest, pk: int) -> HttpResponse:
    """End a run before its time: with its model as it is now, or without one."""
    run = get_run_for(request.user, pk)
    keep = request.POST.get("how") == "keep"
    try:
        if keep:
            submissions.stop_and_keep(job=run.job, actor=request.user)
        else:
            submissions.cancel(job=run.job, actor=request.user)
    except (NotCancellable, NothingToKeep) as refused:
        messages.warning(request, str(refused))
    else:
        soon = (
            "It stops at its next step, and its model as it then is becomes a version." if keep else "Asked to stop. Nothing is kept of it."
        )
        messages.success(request, soon)
    return redirect("training:run", run.pk)


@require_safe
@access.allow(*TRAINERS)
def bundle(request: UserRequest, pk: int) -> HttpResponseBase:
    """Rows, recipe, versions and a stock-TRL script in a zip. Rows tell what raters of an open campaign must not learn."""
    run = get_run_for(request.user, pk)
    if run.snapshot is not None and not may_read(request.user, run):
        raise Http404("Not while you are rating in its campaign.")
    if run.snapshot is not None:
        # Its rows leave the house: prompts and answers, nothing that a rater wrote.
        export_rights.require(request.user, levels.DEIDENTIFIED, run.snapshot)
    try:
        written = bundles.write(run)
    except Unprepared as refused:
        messages.error(request, refused.message)
        return redirect("training:run", run.pk)
    audit.record(request.user, "run.downloaded", run, digest=run.snapshot.digest if run.snapshot else "")
    response = FileResponse(written, as_attachment=True, filename=bundles.filename(run), content_type="application/zip")
    response["Content-Security-Policy"] = "sandbox"
    return response


@require_GET
@access.allow(*TRAINERS)
def compare(request: UserRequest) -> HttpResponse:
    """Up to four runs' curves over each other: `?run=` again and again."""
    asked = [int(text) for text in request.GET.getlist("run") if text.isdecimal() and len(text) < 10]
    found = Run.objects.for_list().in_bulk(asked[:MOST_OVERLAID])
    runs = [found[pk] for pk in dict.fromkeys(asked) if pk in found]
    if "run" not in request.GET:
        return redirect("training:runs")
    if not runs:
        raise Http404("No such runs.")
    recipes = [dict(presets.shown(run.params)) | {"seed": str(run.seed), "pairs": "half" if run.half_of_id else "all"} for run in runs]
    names = sorted({name for recipe in recipes for name in recipe if len({str(each.get(name)) for each in recipes}) > 1})
    return render(request, "training/compare.html", {
        "runs": runs, "charts": curves.overlaid([(run.name, curves.of_run(run)) for run in runs]),
        "differs": [(name, [recipe.get(name, "–") for recipe in recipes]) for name in names],
    })  # fmt: skip
