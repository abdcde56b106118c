"""Watching runs: the list, and a run's page with the part of it that changes while it runs."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.models import Snapshot
from training import curves, evaluations, presets
from training.models import Run

RUNS_A_PAGE = 50


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
