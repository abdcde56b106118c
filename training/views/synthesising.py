"""Synthesis, for trainers: the list of runs, a new one with its cost ahead, a run as it goes; and for lead clinicians, the golden set."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from training.engine.grammar import grid
from training.synthesis import forecasts, golden, runs
from training.synthesis.forms import GoldForm, MoveForm, OutputsForm, SynthesisForm
from training.synthesis.models import PairState, Purpose, SynthesisPair, SynthesisRun
from web.heatmaps import heat_map

A_PAGE = 50
PREVIEW = 5
# Why a pair was left out, where its name alone does not say.
IN_WORDS = {
    "below_threshold": "below the least score",
    "beyond_top_k": "more than was wanted",
    "echo": "the output is the input",
    "near_evaluation": "the input is nearly a held-out text",
    "output_near_evaluation": "the output is nearly a held-out text",
    "holds_evaluation": "the input holds a passage that is held out",
    "output_holds_evaluation": "the output holds a passage that is held out",
    "shares_words": "thirteen words in a row of an evaluation file",
    "duplicate": "a copy",
    "near_duplicate": "nearly a copy",
    "not_judged": "the instruction was not judged",
    "no_tags": "not in the tags asked for",
    "import_refused": "refused by the importer",
}


@require_safe
@access.allow(*TRAINERS)
def synthesis_list(request: UserRequest) -> HttpResponse:
    page = Paginator(SynthesisRun.objects.select_related("corpus", "source", "created_by"), A_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/synthesis_list.html", {"page": page})


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def synthesise(request: UserRequest) -> HttpResponse:
    if request.htmx and "count" in request.GET:
        return render(request, "training/synthesise.html#ahead", _ahead(SynthesisForm(request.GET)))
    form = SynthesisForm(request.POST or None, initial={"name": _free_name("synthesis")})
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            run = runs.start(
                name=said["name"], wanted=form.wanted(), generator=said["generator"], judge=said["judge"], seed=said["seed"],
                licence=said["licence"], actor=request.user, override=said["override"],
            )  # fmt: skip
        except runs.NotStarted as no:
            form.add_error(no.field, no.message)
        else:
            return redirect("training:synthesis", run.public_id)
    context = {"form": form, **(_ahead(form) if request.method == "POST" else {})}
    return render(request, "training/synthesise.html", context, status=422 if request.method == "POST" else 200)


def _ahead(form: SynthesisForm) -> dict[str, Any]:
    """How much will be drawn and what it may cost; nothing while the form is not complete."""
    if not form.is_valid():
        return {}
    wanted, said = form.wanted(), form.cleaned_data
    chosen = wanted.selection()
    parts = sum(len(grid.DOCUMENTS[document]) for document in chosen["documents"])
    cells = len(chosen["tasks"]) * parts * len(chosen["difficulties"]) * len(chosen["formats"])
    same = said["generator"].family.casefold() == said["judge"].family.casefold()
    return {
        "forecast": forecasts.forecast(wanted, said["generator"], said["judge"]), "cells": f"{cells:,}", "parts": parts, "chosen": chosen,
        "same_family": said["judge"].family if same else "", "currency": settings.ROUNDS_CURRENCY,
    }  # fmt: skip


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def synthesise_outputs(request: UserRequest) -> HttpResponse:
    """Task outputs for a corpus's documents, for pre-instruction tuning."""
    form = OutputsForm(request.POST or None, initial={"name": _free_name("outputs")})
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            run = runs.read_documents(
                name=said["name"], corpus=said["corpus"], kinds=said["kinds"], generator=said["generator"], seed=said["seed"],
                most=said["most"], actor=request.user,
            )  # fmt: skip
        except runs.NotStarted as no:
            form.add_error(no.field if no.field in form.fields else None, no.message)
        else:
            return redirect("training:synthesis", run.public_id)
    return render(request, "training/synthesise_outputs.html", {"form": form}, status=422 if request.method == "POST" else 200)


def _free_name(stem: str) -> str:
    taken = set(SynthesisRun.objects.filter(name__startswith=stem).values_list("name", flat=True))
    return next(f"{stem}-{number}" for number in range(1, 10_000) if f"{stem}-{number}" not in taken)


@require_safe
@access.allow(*TRAINERS)
def synthesis(request: UserRequest, public_id: UUID) -> HttpResponse:
    """A run: how far each stage is, what was refused and why, what it took; when it is over, what came of it."""
    run = get_object_or_404(SynthesisRun.objects.select_related("corpus", "source", "created_by"), public_id=public_id)
    blocked = runs.blocked(run)
    if request.htmx:
        if run.over or blocked:
            return HttpResponseClientRefresh()
        return render(request, "training/synthesis.html#progress", _progress(run, None))
    made = runs.coverage(run)
    cells = {(task, document): float(n) for (task, document), n in made.items()}
    stored = SynthesisPair.objects.filter(item__run=run, state=PairState.STORED)
    return render(request, "training/synthesis.html", {
        **_progress(run, blocked), "covered": len(cells), "of": len(run.options.get("tasks", [])) * len(run.options.get("documents", [])),
        "chart": _coverage(cells) if cells else "", "agreement": golden.agreement_of(run) if run.judge else [],
        # One of each of the first instructions.
        "samples": stored.select_related("item").order_by("number", "item__number")[:PREVIEW],
        "stored": stored.count(), "rejected": stored.exclude(rejected_output="").count(),
    })  # fmt: skip


def _progress(run: SynthesisRun, blocked: Any) -> dict[str, Any]:
    counted, spent = runs.counts(run), runs.spent(run)
    total = sum(counted["items"].values())
    items = counted["items"]
    written = total - items.get("drawn", 0)
    stages = [("Written or refused", written, total)]
    if run.purpose == Purpose.SAMPLES:
        stages.append(("Judged or refused", written - items.get("written", 0), total))
        pairs = sum(counted["pairs"].values())
        settled = sum(counted["pairs"].get(state, 0) for state in ("stored", "dropped"))
        stages.append(("Pairs stored or dropped", settled, pairs))
    reasons = {where: {_in_words(why): n for why, n in found.items()} for where, found in counted["reasons"].items()}
    return {
        "run": run, "reasons": reasons, "stages": stages, "spent": spent, "price": sum(row["price"] for row in spent), "blocked": blocked,
        "going": run.state == "running" and not blocked, "currency": settings.ROUNDS_CURRENCY,
    }  # fmt: skip


def _in_words(reason: str) -> str:
    return IN_WORDS.get(reason, reason.replace("_", " "))


def _coverage(cells: dict[tuple[str, str], float]) -> Any:
    """Documents down, tasks across: tasks are numbered, as their names are longer than the squares are wide."""
    numbers = {task: str(at) for at, task in enumerate(grid.TASKS, start=1)}
    documents = [document for document in grid.DOCUMENTS if any(place[1] == document for place in cells)]
    by_place = {(_clipped(document), numbers[task]): n for (task, document), n in cells.items()}
    return heat_map(
        [_clipped(document) for document in documents], list(numbers.values()), by_place, title="Samples by document type and task",
        row_label="document type", column_label="task, numbered as below", unit="samples", limits=(0, max(cells.values())),
    )  # fmt: skip


def _clipped(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


@require_POST
@access.allow(*TRAINERS)
def move_synthesis(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Pause, resume or stop."""
    run = get_object_or_404(SynthesisRun, public_id=public_id)
    form = MoveForm(request.POST)
    if form.is_valid():
        verb = {"pause": runs.pause, "resume": runs.resume, "stop": runs.stop}[form.cleaned_data["do"]]
        try:
            verb(run=run, actor=request.user)
        except runs.NotPossible as no:
            messages.warning(request, str(no))
    return redirect("training:synthesis", run.public_id)


@require_http_methods(["GET", "POST"])
@access.allow(Role.ADJUDICATOR)
def golden_set(request: UserRequest) -> HttpResponse:
    """One instruction after another, without who wrote or judged it."""
    item = golden.next_for(request.user)
    form = GoldForm(request.POST or None)
    if request.method == "POST" and item is not None and form.is_valid():
        if request.POST.get("item") == str(item.pk):
            golden.score(item=item, rater=request.user, scores=form.cleaned_data)
            messages.success(request, "Kept.")
        return redirect("training:golden-set")
    context = {"item": item, "form": form, "scored": golden.scored_by(request.user)}
    return render(request, "training/golden_set.html", context, status=422 if request.method == "POST" and item else 200)
