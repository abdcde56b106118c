"""Holding a job: claim, heartbeat, publish and letting go. Every change is a compare-and-set on (id, token, state) and the lease,
by the database's clock. Zero rows changed means "you are not the owner any more": `LeaseLost`, stop.

The token rises with every claim, so what an older holder still sends matches nothing.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce

from accounts import audit
from jobs import outbox
from jobs.clock import Clock, after
from jobs.errors import Cancelled, LeaseLost
from jobs.kinds import Kind
from jobs.models import HELD, Attempt, Job, JobQuerySet, State

# Seconds before the next try, by how many tries there were.
BACK_OFF = (2, 10, 60)


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of one job, until it is lost."""

    job: int
    token: int
    number: int

    def __str__(self) -> str:
        return f"job {self.job}, attempt {self.number}"


def back_off(attempts: int) -> int:
    """Seconds to wait after the given number of attempts: 2, 10, then 60."""
    return BACK_OFF[min(max(attempts, 1), len(BACK_OFF)) - 1]


def claim(*, job_id: int, worker: str) -> Claim | None:
    """Take a queued job that nothing holds back, or None when it is not to be had. `worker` is unique to this try.

    When the answer to the commit is lost, the claim is looked up by `worker` before anything is assumed.
    """
    try:
        return _claim(job_id, worker)
    except (OperationalError, InterfaceError):
        connection.close()
        return _held_by(job_id, worker)


@transaction.atomic
def _claim(job_id: int, worker: str) -> Claim | None:
    taken = (
        Job.objects.filter(pk=job_id)
        .claimable()
        .update(
            state=State.RUNNING,
            token=F("token") + 1,
            attempts=F("attempts") + 1,
            lease_until=after(settings.ROUNDS_LEASE_SECONDS),
            heartbeat_at=Clock(),
            started_at=Coalesce(F("started_at"), Clock()),
            phase="claimed",
            progress_done=0,
            progress_total=0,
            error_code="",
            error_detail="",
        )
    )
    if not taken:
        return None
    token, number = Job.objects.values_list("token", "attempts").get(pk=job_id)
    Attempt.objects.create(job_id=job_id, number=number, token=token, worker=worker)
    return Claim(job=job_id, token=token, number=number)


def _held_by(job_id: int, worker: str) -> Claim | None:
    found = (
        Attempt.objects.filter(job_id=job_id, worker=worker, token=F("job__token"), job__state=State.RUNNING, job__lease_until__gt=Clock())
        .values_list("token", "number")
        .first()
    )
    return Claim(job=job_id, token=found[0], number=found[1]) if found else None


def _mine(claim: Claim, *states: str) -> JobQuerySet:
    return Job.objects.filter(pk=claim.job, token=claim.token, state__in=states, lease_until__gt=Clock())


def heartbeat(claim: Claim, *, phase: str | None = None, done: int | None = None, total: int | None = None) -> str:
    """Lengthen the lease and say how far we are; returns the job's state, which tells whether someone asked to stop.

    Raises LeaseLost when the job is not ours any more, or was not lengthened in time.
    """
    said: dict[str, Any] = {"phase": phase[:30] if phase else phase, "progress_done": done, "progress_total": total}
    changed = _mine(claim, *HELD).update(
        lease_until=after(settings.ROUNDS_LEASE_SECONDS),
        heartbeat_at=Clock(),
        **{field: value for field, value in said.items() if value is not None},
    )
    if not changed:
        raise LeaseLost(str(claim))
    return Job.objects.values_list("state", flat=True).get(pk=claim.job)


def begin_publish(claim: Claim) -> None:
    """The child is done and its result is whole: from here only the database decides. Raises LeaseLost or Cancelled."""
    if not _mine(claim, State.RUNNING).update(state=State.PUBLISHING, phase="publishing", lease_until=after(settings.ROUNDS_LEASE_SECONDS)):
        raise _why_not(claim)


def publish(claim: Claim, *, kind: Kind, result: dict[str, Any], staged: Any) -> Job:
    """End the job with what came of it, in one transaction: the kind's rows, the job's state, the audit entry and the bells
    of the jobs that waited for it. A holder that lost its lease publishes nothing: LeaseLost, or Cancelled when asked to stop.

    When the answer to the commit is lost, the job is read again by its token before anything is assumed.
    """
    try:
        return _publish(claim, kind, result, staged)
    except (OperationalError, InterfaceError):
        connection.close()
        done = Job.objects.filter(pk=claim.job, token=claim.token, state=State.SUCCEEDED).first()
        if done is None:
            raise
        return done


@transaction.atomic
def _publish(claim: Claim, kind: Kind, result: dict[str, Any], staged: Any) -> Job:
    # The row is ours until the commit: a cancel or a reaper waits, and then finds the job ended.
    job = _mine(claim, State.PUBLISHING).filter(cancel_requested_at__isnull=True).select_for_update().first()
    if job is None:
        raise _why_not(claim)
    published = kind.publish(job, result, staged)
    changed = Job.objects.filter(pk=claim.job, token=claim.token, state=State.PUBLISHING).update(
        state=State.SUCCEEDED, phase="", result=published, ended_at=Clock(), lease_until=None, progress_done=F("progress_total"),
    )  # fmt: skip
    if not changed:
        raise _why_not(claim)
    _end_attempt(claim, "succeeded", exit_code=0)
    audit.record(job.requested_by, "job.succeeded", job, kind=job.kind, attempt=claim.number)
    outbox.ring_later(job.awaited_by.filter(state=State.QUEUED).order_by("pk"))
    job.refresh_from_db()
    return job


@transaction.atomic
def fail(claim: Claim, *, code: str, detail: str, exit_code: int | None = None) -> None:
    """End the job: trying again would not help. Raises LeaseLost or Cancelled."""
    job = _mine(claim, State.RUNNING, State.PUBLISHING).select_for_update().first()
    if job is None:
        raise _why_not(claim)
    _fail(job, code, detail)
    _end_attempt(claim, code, exit_code)


def _fail(job: Job, code: str, detail: str) -> None:
    Job.objects.filter(pk=job.pk).update(
        state=State.FAILED, error_code=code[:60], error_detail=detail[:500], ended_at=Clock(), lease_until=None
    )
    audit.record(None, "job.failed", job, code=code[:60], attempts=job.attempts)


@transaction.atomic
def retry(claim: Claim, *, code: str, detail: str, exit_code: int | None = None) -> None:
    """Let go of the job for another try after a pause; fails it when it has had all its tries. Raises LeaseLost or Cancelled."""
    job = _mine(claim, State.RUNNING, State.PUBLISHING).select_for_update().first()
    if job is None:
        raise _why_not(claim)
    _retry_or_fail(job, code, detail)
    _end_attempt(claim, code, exit_code)


def _retry_or_fail(job: Job, code: str, detail: str) -> None:
    """For a locked row in `running` or `publishing`."""
    if job.attempts >= job.max_attempts:
        _fail(job, "no_progress", f"{job.attempts} attempts ended without a result. The last: {detail}")
        return
    Job.objects.filter(pk=job.pk).update(
        state=State.RETRY_WAIT, run_after=after(back_off(job.attempts)), lease_until=None, error_code=code[:60], error_detail=detail[:500]
    )


@transaction.atomic
def release(claim: Claim, *, exit_code: int | None = None) -> None:
    """Give the job back because this worker stops: at once, and without counting the attempt against it."""
    changed = _mine(claim, State.RUNNING, State.PUBLISHING).update(
        state=State.RETRY_WAIT, run_after=Clock(), lease_until=None, max_attempts=F("max_attempts") + 1, phase=""
    )
    if not changed:
        raise _why_not(claim)
    _end_attempt(claim, "worker_stopped", exit_code)


@transaction.atomic
def acknowledge_cancel(claim: Claim, *, exit_code: int | None = None) -> None:
    """The child is gone: the job is cancelled. Nothing happens when the sweeper said so first."""
    changed = Job.objects.filter(pk=claim.job, token=claim.token, state=State.CANCELLING).update(
        state=State.CANCELLED, ended_at=Clock(), lease_until=None, phase=""
    )
    if changed:
        _end_attempt(claim, "cancelled", exit_code)


def _end_attempt(claim: Claim, reason: str, exit_code: int | None) -> None:
    Attempt.objects.filter(job_id=claim.job, token=claim.token, ended_at__isnull=True).update(
        ended_at=Clock(), reason=reason[:60], exit_code=exit_code
    )


def _why_not(claim: Claim) -> LeaseLost | Cancelled:
    cancelling = Job.objects.filter(pk=claim.job, token=claim.token, state=State.CANCELLING).exists()
    return Cancelled(str(claim)) if cancelling else LeaseLost(str(claim))


@transaction.atomic
def reap() -> int:
    """Take back the jobs whose holder was not heard of in time; returns how many. Rows another sweep holds are left to it."""
    expired = Job.objects.filter(state__in=HELD, lease_until__lte=Clock()).select_for_update(skip_locked=True, of=("self",))
    count = 0
    for job in expired.order_by("pk")[:100]:
        lost = Claim(job=job.pk, token=job.token, number=job.attempts)
        if job.state == State.CANCELLING:
            Job.objects.filter(pk=job.pk).update(state=State.CANCELLED, ended_at=Clock(), lease_until=None, phase="")
            _end_attempt(lost, "cancelled", None)
        else:
            _retry_or_fail(job, "lease_expired", "The worker that held the job was not heard of in time.")
            _end_attempt(lost, "lease_expired", None)
        count += 1
    return count


@transaction.atomic
def requeue() -> int:
    """Queue the jobs whose pause is over, with a bell each; returns how many."""
    due = list(Job.objects.filter(state=State.RETRY_WAIT, run_after__lte=Clock()).select_for_update(skip_locked=True)[:100])
    Job.objects.filter(pk__in=[job.pk for job in due]).update(state=State.QUEUED)
    outbox.ring_later(due)
    return len(due)


@transaction.atomic
def fail_orphans() -> int:
    """Fail the waiting jobs one of whose predecessors failed or was cancelled; returns how many. A chain falls one link a call."""
    broken = Job.waits_for.through.objects.filter(from_job_id=OuterRef("pk"), to_job__state__in=(State.FAILED, State.CANCELLED))
    orphans = Job.objects.filter(Exists(broken), state__in=(State.QUEUED, State.RETRY_WAIT)).select_for_update(skip_locked=True)
    count = 0
    for job in orphans[:100]:
        culprit = job.waits_for.filter(state__in=(State.FAILED, State.CANCELLED)).order_by("pk").values_list("label", "state").first()
        assert culprit is not None
        _fail(job, "predecessor_failed", f"It needed “{culprit[0]}”, which {'failed' if culprit[1] == State.FAILED else 'was cancelled'}.")
        count += 1
    return count
