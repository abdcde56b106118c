"""Pages about background work: what runs and on what, what waits for what and in which turn, and what went wrong."""

from pathlib import Path
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from jobs import advice, attempts, pulses, submissions
from jobs.errors import NotCancellable, NothingToKeep, NotRepeatable
from jobs.models import Device, Job, State

A_PAGE = 50
LOG_BYTES = 4096


@access.allow(*TRAINERS)
@require_safe
def jobs(request: UserRequest) -> HttpResponse:
    found = Paginator(Job.objects.for_list(), A_PAGE).get_page(request.GET.get("page"))
    turns = Job.objects.turns()
    for each in found:
        each.turn = turns.get(each.pk)  # type: ignore[attr-defined]
    page = {
        "jobs": found,
        "alive": any(not job.ended for job in found),
        "missing": pulses.missing(_queues_in_use()),
        "workers": pulses.workers(),
        "devices": Device.objects.select_related("holder"),
    }
    return render(request, "jobs/jobs.html#table" if request.htmx else "jobs/jobs.html", page)


@access.allow(*TRAINERS)
@require_safe
def job(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(Job.objects.for_page(), public_id=public_id)
    page = {
        "job": found,
        "turn": Job.objects.turns().get(found.pk) if found.state == State.QUEUED else None,
        "can_keep": submissions.can_stop_and_keep(found),
        "advice": advice.for_code(found.error_code),
        "log": _log_tail(found),
        "missing": pulses.missing((found.queue,)) if not found.ended else [],
    }
    return render(request, "jobs/job.html#live" if request.htmx else "jobs/job.html", page)


@access.allow(*TRAINERS)
@require_POST
def cancel(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(Job, public_id=public_id)
    try:
        stopped = submissions.cancel(job=found, actor=request.user)
    except NotCancellable as ended:
        messages.warning(request, str(ended))
    else:
        at_once, soon = "Cancelled; it was not running.", "Asked to stop. It ends at its next step, within half a minute."
        messages.success(request, at_once if stopped.state == State.CANCELLED else soon)
    return redirect("jobs:job", public_id)


@access.allow(*TRAINERS)
@require_POST
def keep(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(Job, public_id=public_id)
    try:
        submissions.stop_and_keep(job=found, actor=request.user)
    except (NotCancellable, NothingToKeep) as refused:
        messages.warning(request, str(refused))
    else:
        messages.success(request, "It stops at its next step and saves the model as it is then.")
    return redirect("jobs:job", public_id)


@access.allow(*TRAINERS)
@require_POST
def prioritise(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(Job, public_id=public_id)
    by = 1 if request.POST.get("turn") == "sooner" else -1
    try:
        submissions.prioritise(job=found, by=by, actor=request.user)
    except NotCancellable as begun:
        messages.warning(request, str(begun))
    return redirect("jobs:jobs") if request.POST.get("back") == "jobs" else redirect("jobs:job", public_id)


@access.allow(*TRAINERS)
@require_POST
def again(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(Job, public_id=public_id)
    try:
        new = submissions.again(job=found, actor=request.user)
    except NotRepeatable as refused:
        messages.warning(request, str(refused))
        return redirect("jobs:job", public_id)
    messages.success(request, "Asked for again, from the beginning.")
    return redirect("jobs:job", new.public_id)


def _queues_in_use() -> tuple[str, ...]:
    """Queues that somebody waits for; `compute` always, since everything that trains is there."""
    return tuple(sorted({"compute", *Job.objects.unended().order_by().values_list("queue", flat=True).distinct()}))


def _log_tail(job: Job) -> str:
    """The end of the newest attempt's log, whole lines, at most 4 kB. Empty when there is none."""
    if not job.attempts:
        return ""
    path: Path = attempts.folder_of(job, job.attempts) / attempts.LOG
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - LOG_BYTES))
            tail = stream.read()
    except OSError:
        return ""
    if size > LOG_BYTES:
        tail = tail.partition(b"\n")[2] or tail
    return tail.decode("utf-8", "replace")
