"""Two producers answer the same prompts, and the jobs that make them do."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.models import GenerationBatch
from jobs.models import Job, State
from training import generations
from training.forms import AskAgainForm, GenerateForm


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def generate(request: UserRequest) -> HttpResponse:
    presets = generations.presets()
    suggestion = _suggestion(presets, request.GET.get("preset", ""))
    if request.htmx and "first" in request.GET:
        return render(request, "training/generate.html#preflight", _look_ahead(GenerateForm(request.GET)))
    form = GenerateForm(request.POST or None, initial=suggestion)
    ahead = _look_ahead(form) if request.method == "POST" else {}
    if request.method == "POST" and form.is_valid() and ahead["clear"]:
        made = _generate(form, request.user)
        return redirect(f"{reverse('training:generate')}?{urlencode({'batches': ','.join(str(batch.public_id) for batch in made)})}")
    page = "training/generate.html#progress" if request.htmx else "training/generate.html"
    context = {
        "form": form,
        "batches": _batches(request.GET.get("batches", "")),
        "producers": form.has_producers,
        "presets": presets,
        **ahead,
    }
    return render(request, page, context, status=422 if request.method == "POST" else 200)


def _suggestion(presets: list[generations.Preset], name: str) -> dict[str, Any]:
    """What the form begins with: the preset asked for, else one model at two temperatures."""
    by_name = {preset.name: preset for preset in presets}
    preset = by_name.get(name) or by_name.get("two-temperatures")
    if preset is None:
        return {}
    return {
        "first": preset.first.public_id, "first_temperature": preset.temperatures[0],
        "second": preset.second.public_id, "second_temperature": preset.temperatures[1],
    }  # fmt: skip


def _look_ahead(form: GenerateForm) -> dict[str, Any]:
    """Whether the producers chosen can answer, and what past batches say it will take; neither while the form is not complete."""
    if not form.is_valid():
        return {"clear": False}
    producers = [form.cleaned_data[side] for side in ("first", "second")]
    checks = generations.checks(producers=producers)
    wanted = min(form.cleaned_data["count"], form.fits.count())
    forecasts = [(producer, generations.forecast(producer, completions=wanted)) for producer in producers]
    return {"checks": checks, "clear": not any(check.stops for check in checks), "forecasts": forecasts}


@require_POST
@access.allow(*TRAINERS)
def ask_again(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Ask a server once more for what it left unanswered."""
    batch = get_object_or_404(GenerationBatch, public_id=public_id)
    try:
        generations.ask_again(batch=batch, actor=request.user)
    except generations.NothingMissing:
        messages.warning(request, "Nothing of this batch waits to be asked again.")
    shown = form.cleaned_data["batches"] if (form := AskAgainForm(request.POST)).is_valid() else ""
    return redirect(f"{reverse('training:generate')}?{urlencode({'batches': shown or str(batch.public_id)})}")


def _generate(form: GenerateForm, user: User) -> list[GenerationBatch]:
    chosen = generations.choose(counts=form.counts(), **form.filters())
    asked = form.cleaned_data
    return [
        generations.start(
            producer=asked[side],
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
    rows = [
        {"batch": batch, "job": job, "unanswered": len(generations.unanswered(batch, job)) if job and job.ended else 0}
        for batch, job in zip(found, theirs, strict=True)
    ]
    ended = all(job is None or job.ended for job in theirs)
    done = bool(theirs) and all(job is not None and job.state == State.SUCCEEDED for job in theirs)
    query = urlencode([("batch", str(batch.public_id)) for batch in found])
    return {"rows": rows, "ended": ended, "done": done, "query": query, "ids": text}
