"""Asking for work, and asking for it to stop."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from jobs import kinds, outbox
from jobs.clock import Clock
from jobs.errors import NotCancellable
from jobs.models import ENDED, Job, State


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
) -> Job:
    """Queue one job and its bell, in one transaction. It starts when every job in `waits_for` has succeeded.

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
                requested_by=requested_by, dedupe_key=dedupe_key, max_attempts=max_attempts,
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
    waiting = mine.state in (State.QUEUED, State.RETRY_WAIT)
    Job.objects.filter(pk=mine.pk).update(
        state=State.CANCELLED if waiting else State.CANCELLING,
        cancel_requested_at=Clock(),
        **({"ended_at": Clock()} if waiting else {}),
    )
    audit.record(actor, "job.cancelled", mine, was=mine.state)
    mine.refresh_from_db()
    return mine
