"""Asking for work, for its turn, for its end, and for it once more."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from jobs import kinds, outbox
from jobs.clock import Clock
from jobs.errors import NotCancellable, NothingToKeep, NotRepeatable
from jobs.models import ENDED, WAITING, Job, State

HIGHEST_PRIORITY = 100


def digest_of(spec: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: the same work has the same digest."""
    return sha256(json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()).hexdigest()


def submit(
    *,
    kind: str,
    label: str,
    spec: dict[str, Any],
    requested_by: User | None,
    waits_for: Iterable[Job] = (),
    dedupe_key: str | None = None,
    max_attempts: int = 3,
    priority: int = 0,
) -> Job:
    """Queue one job and its bell, in one transaction. It starts when every job in `waits_for` has succeeded, in its turn.

    `spec` holds ids, digests and numbers, never clinical text. With a `dedupe_key` that an unended job already has, that job
    is returned and nothing is written. Raises KeyError for a kind that nobody registered.
    """
    known = kinds.get(kind)
    try:
        with transaction.atomic():
            if dedupe_key and (already := _unended(dedupe_key)):
                return already
            job = Job.objects.create(
                kind=kind, label=label, queue=known.queue, spec=spec, spec_digest=digest_of(spec),
                requested_by=requested_by, dedupe_key=dedupe_key, max_attempts=max_attempts, priority=priority,
                needs_device=known.device,
            )  # fmt: skip
            predecessors = list(waits_for)
            if predecessors:
                job.waits_for.set(predecessors)
            audit.record(requested_by, "job.submitted", job, kind=kind, spec=job.spec_digest)
            outbox.ring_later([job])
    except IntegrityError:
        # Someone else's submit with the same key committed between our look and our insert.
        if dedupe_key and (already := _unended(dedupe_key)):
            return already
        raise
    job.refresh_from_db()
    return job


def _unended(dedupe_key: str) -> Job | None:
    return Job.objects.unended().filter(dedupe_key=dedupe_key).first()


@transaction.atomic
def cancel(*, job: Job, actor: User | None) -> Job:
    """Ask a job to stop. A waiting job is cancelled at once; a running one stops at its next step, within seconds.

    Asking twice is one request. Raises NotCancellable for a job that has ended.
    """
    mine = Job.objects.select_for_update().get(pk=job.pk)
    if mine.state in ENDED:
        raise NotCancellable(f"The job has ended already: {mine.get_state_display().lower()}.")
    if mine.state == State.CANCELLING:
        return mine
    waiting = mine.state in WAITING
    Job.objects.filter(pk=mine.pk).update(
        state=State.CANCELLED if waiting else State.CANCELLING,
        cancel_requested_at=Clock(),
        **({"ended_at": Clock()} if waiting else {}),
    )
    audit.record(actor, "job.cancelled", mine, was=mine.state)
    mine.refresh_from_db()
    return mine


@transaction.atomic
def stop_and_keep(*, job: Job, actor: User | None) -> Job:
    """Ask a training to stop at its next step, save the model as it is, and succeed. Asking twice is one request.

    One that waits to go on from a checkpoint does so and stops there. Raises NothingToKeep for a job that has learned nothing yet, or
    of a kind that ends whole or not at all; NotCancellable for one that has ended or is being stopped.
    """
    mine = Job.objects.select_for_update().get(pk=job.pk)
    if mine.state in (*ENDED, State.CANCELLING):
        raise NotCancellable(f"The job is not running any more: {mine.get_state_display().lower()}.")
    if not can_stop_and_keep(mine):
        raise NothingToKeep("There is nothing to keep yet. Stop the job instead.")
    if mine.stop_requested_at is None:
        Job.objects.filter(pk=mine.pk).update(stop_requested_at=Clock())
        audit.record(actor, "job.stopped_and_kept", mine, was=mine.state)
    mine.refresh_from_db()
    return mine


def can_stop_and_keep(job: Job) -> bool:
    """Whether a stop now leaves a model: it runs, or has run and a checkpoint was kept; and its kind knows how."""
    try:
        able = kinds.get(job.kind).can_keep
    except KeyError:
        return False
    return able and (job.state == State.RUNNING or (job.state in WAITING and job.checkpoint_step is not None))


@transaction.atomic
def prioritise(*, job: Job, by: int, actor: User | None) -> Job:
    """Move a waiting job's place in the queue: the highest priority goes first, the default is 0. Counted from where it stands now, not
    from where `job` was read: two people who press at once move it twice. Raises NotCancellable for one that has begun.
    """
    mine = Job.objects.select_for_update().get(pk=job.pk)
    if mine.state not in WAITING:
        raise NotCancellable(f"Only a waiting job has a turn; this one is {mine.get_state_display().lower()}.")
    priority = max(-HIGHEST_PRIORITY, min(HIGHEST_PRIORITY, mine.priority + by))
    if priority != mine.priority:
        Job.objects.filter(pk=mine.pk).update(priority=priority)
        audit.record(actor, "job.prioritised", mine, was=mine.priority, now=priority)
    mine.refresh_from_db()
    return mine


@transaction.atomic
def again(*, job: Job, actor: User | None) -> Job:
    """Ask once more for a job that failed or was cancelled, and for those that failed because it did; returns the new one.

    The new jobs take over what belonged to the old ones (a run, an evaluation); where their specs named an old job they name the new one.
    Raises NotRepeatable when it did neither, was repeated already, or needs a job that did not succeed.
    """
    old = Job.objects.select_for_update().get(pk=job.pk)
    if old.state not in (State.FAILED, State.CANCELLED):
        raise NotRepeatable(f"Only a job that failed or was cancelled can be tried again; this one is {old.get_state_display().lower()}.")
    if newer := old.repeated_by.order_by("-pk").first():
        raise NotRepeatable(f"It was asked for again already: “{newer.label}”, {newer.get_state_display().lower()}.")
    if lacking := old.waits_for.filter(state__in=(State.FAILED, State.CANCELLED)).order_by("pk").first():
        raise NotRepeatable(f"It needs “{lacking.label}”, which did not succeed. Try that one again; this one comes along.")
    return _repeat(old, actor, {})


def _repeat(old: Job, actor: User | None, made: dict[str, Job]) -> Job:
    """`made`: the new jobs so far, by the public id of the one each repeats."""
    text = json.dumps(old.spec)
    for theirs, ours in made.items():
        text = text.replace(theirs, str(ours.public_id))
    new = submit(
        kind=old.kind, label=old.label, spec=json.loads(text), requested_by=actor or old.requested_by, dedupe_key=old.dedupe_key,
        waits_for=[made.get(str(needed.public_id), needed) for needed in old.waits_for.order_by("pk")],
        max_attempts=old.max_attempts, priority=old.priority,
    )  # fmt: skip
    Job.objects.filter(pk=new.pk).update(repeats=old)
    kinds.get(old.kind).again(old, new)
    made[str(old.public_id)] = new
    fallen = old.awaited_by.filter(state=State.FAILED, error_code="predecessor_failed", repeated_by=None).order_by("pk")
    for other in fallen:
        still_broken = other.waits_for.filter(state__in=(State.FAILED, State.CANCELLED)).exclude(public_id__in=made)
        if str(other.public_id) not in made and not still_broken.exists():
            _repeat(other, actor, made)
    return new
