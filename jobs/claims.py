"""Holding a job: claim, heartbeat, publish and letting go. Every change is a compare-and-set on (id, token, state) and the lease,
by the database's clock. Zero rows changed means "you are not the owner any more": `LeaseLost`, stop.

The token rises with every claim, so what an older holder still sends matches nothing. A GPU is held and let go in the same
transactions as the job that runs on it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Coalesce, Greatest

from accounts import audit
from jobs import devices, outbox
from jobs.clock import Clock, after
from jobs.errors import Cancelled, DeviceBusy, LeaseLost
from jobs.kinds import Kind, Tell
from jobs.models import HELD, WAITING, Attempt, Job, JobQuerySet, State

# Attempts a job may have in all, however far each came. Those that its worker gave back, or that a full disk ended, are not counted.
MOST_ATTEMPTS = 20
GIVEN_BACK = "worker_stopped"
# Why a job may be paused: what an attempt ends with when the disk, or our share of it, is full.
PAUSES = ("disk_full", "quota")
# A pause doubles each time the same job has to be paused again, to at most this many seconds.
LONGEST_PAUSE = 600
# How many waiting jobs a bell looks at before it gives up: all of them taken by others in the same moment is not to be expected.
LOOKED_AT = 50

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of one job, until it is lost; with the GPU it is to run on, or ""."""

    job: int
    token: int
    number: int
    device: str = ""

    def __str__(self) -> str:
        return f"job {self.job}, attempt {self.number}"


class Heard(NamedTuple):
    """What a heartbeat is answered: the job's state, and whether someone asked to stop here and keep what there is."""

    state: str
    keep: bool


def back_off(attempts: int) -> float:
    """Seconds to wait after so many attempts without progress: 10, 60, then 300, unless ROUNDS_BACK_OFF says otherwise."""
    pauses = settings.ROUNDS_BACK_OFF
    return float(pauses[min(max(attempts, 1), len(pauses)) - 1])


def claim_next(*, queue: str, worker: str) -> Claim | None:
    """Take the most urgent job of the queue that can run here, or None when there is none.

    A bell says "there is work", not which: so a job made urgent after its bell was rung goes first all the same.
    """
    candidates = Job.objects.filter(queue=queue).claimable()
    if devices.all_held():
        candidates = candidates.filter(needs_device=False)
    for pk in candidates.in_turn().values_list("pk", flat=True)[:LOOKED_AT]:
        if (held := claim(job_id=pk, worker=worker)) is not None:
            return held
    return None


def claim(*, job_id: int, worker: str) -> Claim | None:
    """Take a queued job that nothing holds back, or None when it is not to be had. `worker` is unique to this try.

    A job that needs a GPU takes one of this machine's with it; when all are held it is not to be had either. When the answer to the
    commit is lost, the claim is looked up by `worker` before anything is assumed.
    """
    try:
        return _claim(job_id, worker)
    except DeviceBusy:
        return None
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
            attempts_without_progress=F("attempts_without_progress") + 1,
            lease_until=after(settings.ROUNDS_LEASE_SECONDS),
            heartbeat_at=Clock(),
            started_at=Coalesce(F("started_at"), Clock()),
            phase="claimed",
            progress_done=0,
            progress_total=0,
            error_code="",
            error_detail="",
            needs_bytes=None,
        )
    )
    if not taken:
        return None
    token, number, needs_device = Job.objects.values_list("token", "attempts", "needs_device").get(pk=job_id)
    device = devices.take(job_id=job_id, token=token) if needs_device else ""
    Attempt.objects.create(job_id=job_id, number=number, token=token, worker=worker, device=device)
    return Claim(job=job_id, token=token, number=number, device=device)


def _held_by(job_id: int, worker: str) -> Claim | None:
    found = (
        Attempt.objects.filter(job_id=job_id, worker=worker, token=F("job__token"), job__state=State.RUNNING, job__lease_until__gt=Clock())
        .values_list("token", "number", "device")
        .first()
    )
    return Claim(job_id, *found) if found else None


def _mine(claim: Claim, *states: str) -> JobQuerySet:
    return _untaken(claim, *states).filter(lease_until__gt=Clock())


def _untaken(claim: Claim, *states: str) -> JobQuerySet:
    """Ours by its token, though the lease may have run out while nobody was there to notice."""
    return Job.objects.filter(pk=claim.job, token=claim.token, state__in=states)


@transaction.atomic
def heartbeat(
    claim: Claim, *, phase: str | None = None, done: int | None = None, total: int | None = None, finished: bool = False
) -> Heard:
    """Lengthen the lease, of the GPU too, and say how far we are; returns whether someone asked to stop.

    Raises LeaseLost when the job is not ours any more, or was not lengthened in time. Once the child has `finished`, a lease that ran out
    while the database was away may be taken up again as long as nobody else did: there is no child left that could write.
    """
    said: dict[str, Any] = {"phase": phase[:30] if phase else phase, "progress_done": done, "progress_total": total}
    changed = (_untaken if finished else _mine)(claim, *HELD).update(
        lease_until=after(settings.ROUNDS_LEASE_SECONDS),
        heartbeat_at=Clock(),
        **{field: value for field, value in said.items() if value is not None},
    )
    if not changed:
        raise LeaseLost(str(claim))
    if claim.device:
        devices.renew(job_id=claim.job, token=claim.token)
    state, asked = Job.objects.values_list("state", "stop_requested_at").get(pk=claim.job)
    return Heard(state, asked is not None)


def check(claim: Claim) -> None:
    """Raises LeaseLost or Cancelled when the job may not be worked on any more."""
    if not _mine(claim, State.RUNNING).exists():
        raise _why_not(claim)


@transaction.atomic
def kept(claim: Claim, *, step: int, by_us: bool = True) -> None:
    """A checkpoint lies where the next attempt will find it. A newer one is progress; what an earlier attempt left (not `by_us`) is its
    progress, and this attempt's is still to come. Raises LeaseLost or Cancelled.
    """
    mine = _mine(claim, State.RUNNING)
    newer = Q(checkpoint_step=None) | Q(checkpoint_step__lt=step)
    if not mine.filter(newer).update(checkpoint_step=step, attempts_without_progress=0 if by_us else 1) and not mine.exists():
        raise _why_not(claim)


def resumed(claim: Claim, *, step: int) -> None:
    """This attempt goes on from the checkpoint of `step`."""
    Attempt.objects.filter(job_id=claim.job, token=claim.token).update(resumed_from=step)


def begin_publish(claim: Claim) -> None:
    """The child is done and its result is whole: from here only the database decides, and by the token: a lease that ran out while it was
    away, and that nobody has taken up, costs no finished work. Raises LeaseLost or Cancelled.

    Asked again after an answer that was lost, it finds that it has begun.
    """
    begun = {"state": State.PUBLISHING, "phase": "publishing", "lease_until": after(settings.ROUNDS_LEASE_SECONDS)}
    if not _untaken(claim, State.RUNNING).update(**begun) and not _untaken(claim, State.PUBLISHING).exists():
        raise _why_not(claim)


def _nobody_listens(phase: str, done: int, total: int) -> None:
    """For who publishes what takes no time."""


def publish(
    claim: Claim, *, kind: Kind, result: dict[str, Any], staged: Any, patience: float = 0, tell: Tell = _nobody_listens,
    still: Callable[[], None] = lambda: None,
) -> Job:  # fmt: skip
    """End the job with what came of it, in one transaction: the kind's rows, the job's state, the audit entry and the bells
    of the jobs that waited for it. A holder whose job was taken over publishes nothing: LeaseLost, or Cancelled when asked to stop.

    `tell` hears how far what takes long has come, and ends it by raising; `still` is called when that is done and the row is to be
    locked: a heartbeat would only wait for it from there. A database that is away is waited for, `patience` seconds. When the answer to
    the commit is lost, the job is read again by its token before anything is assumed.
    """

    def once_for_all() -> Job:
        done = Job.objects.filter(pk=claim.job, token=claim.token, state=State.SUCCEEDED).first() if outcomes else None
        outcomes.append("unknown")
        return done or _publish(claim, kind, result, staged, tell, still)

    outcomes: list[str] = []
    return patiently(once_for_all, seconds=max(patience, 0.1), tries=2)


def patiently(call: Callable[[], T], *, seconds: float, tries: int = 1) -> T:
    """What `call` returns, called again while the database is away: for `seconds`, and so many `tries` at least. It must bear that."""
    end, tried = time.monotonic() + seconds, 0
    while True:
        try:
            return call()
        except (OperationalError, InterfaceError):
            connection.close()
            tried += 1
            if tried >= tries and time.monotonic() > end:
                raise
            time.sleep(min(1.0, 0.05 * 2**tried))


@transaction.atomic
def _publish(claim: Claim, kind: Kind, result: dict[str, Any], staged: Any, tell: Tell, still: Callable[[], None]) -> Job:
    if kind.write:
        kind.write(Job.objects.get(pk=claim.job), result, staged, tell)
    still()
    # The row is ours until the commit: a cancel or a reaper waits, and then finds the job ended.
    job = _untaken(claim, State.PUBLISHING).filter(cancel_requested_at__isnull=True).select_for_update().first()
    if job is None:
        raise _why_not(claim)
    published = kind.publish(job, result, staged)
    changed = Job.objects.filter(pk=claim.job, token=claim.token, state=State.PUBLISHING).update(
        state=State.SUCCEEDED, phase="", result=published, ended_at=Clock(), lease_until=None, progress_done=F("progress_total"),
    )  # fmt: skip
    if not changed:
        raise _why_not(claim)
    _end_attempt(claim, "succeeded", exit_code=0)
    devices.let_go(job_id=claim.job, token=claim.token)
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
    devices.let_go(job_id=claim.job, token=claim.token)


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
    devices.let_go(job_id=claim.job, token=claim.token)


def _retry_or_fail(job: Job, code: str, detail: str) -> None:
    """For a locked row in `running` or `publishing`: another try after a pause, unless too many brought nothing, or there were too many."""
    fruitless = job.attempts_without_progress
    if fruitless >= job.max_attempts:
        since = f" since the checkpoint of step {job.checkpoint_step}" if job.checkpoint_step else ""
        _fail(job, "no_progress", f"{fruitless} attempts ended without a result{since}. The last: {detail}")
    elif Attempt.objects.filter(job=job).exclude(reason__in=(GIVEN_BACK, *PAUSES)).count() >= MOST_ATTEMPTS:
        _fail(job, "too_many_attempts", f"{MOST_ATTEMPTS} attempts came further each, and none to the end. The last: {detail}")
    else:
        Job.objects.filter(pk=job.pk).update(
            state=State.RETRY_WAIT, run_after=after(back_off(fruitless)), lease_until=None, phase="",
            error_code=code[:60], error_detail=detail[:500],
        )  # fmt: skip


# An attempt that was given back or paused says nothing about the job: it is taken off the count.
_UNCOUNTED = Greatest(F("attempts_without_progress") - 1, Value(0))


@transaction.atomic
def release(claim: Claim, *, exit_code: int | None = None) -> None:
    """Give the job back because this worker stops: at once, and without counting the attempt against it."""
    changed = _mine(claim, State.RUNNING, State.PUBLISHING).update(
        state=State.RETRY_WAIT, run_after=Clock(), lease_until=None, attempts_without_progress=_UNCOUNTED, phase=""
    )
    if not changed:
        raise _why_not(claim)
    _end_attempt(claim, GIVEN_BACK, exit_code)
    devices.let_go(job_id=claim.job, token=claim.token)


@transaction.atomic
def pause(claim: Claim, *, code: str, detail: str, needs_bytes: int, exit_code: int | None = None) -> None:
    """Put the job aside until there is room for it, without counting the attempt against it. Raises LeaseLost or Cancelled."""
    assert code in PAUSES
    job = _mine(claim, State.RUNNING, State.PUBLISHING).select_for_update().first()
    if job is None:
        raise _why_not(claim)
    # A quota is not seen from outside: that a pause did not help shows only when the job has to be paused again.
    before = Attempt.objects.filter(job=job, reason__in=PAUSES, number__gte=claim.number - 10).count()
    seconds = min(LONGEST_PAUSE, settings.ROUNDS_PAUSE_SECONDS * 2**before)
    Job.objects.filter(pk=job.pk).update(
        state=State.PAUSED, run_after=after(seconds), lease_until=None, phase="", attempts_without_progress=_UNCOUNTED,
        needs_bytes=needs_bytes, error_code=code, error_detail=detail[:500],
    )  # fmt: skip
    _end_attempt(claim, code, exit_code)
    devices.let_go(job_id=claim.job, token=claim.token)


@transaction.atomic
def acknowledge_cancel(claim: Claim, *, exit_code: int | None = None) -> None:
    """The child is gone: the job is cancelled. Nothing happens when the sweeper said so first."""
    changed = Job.objects.filter(pk=claim.job, token=claim.token, state=State.CANCELLING).update(
        state=State.CANCELLED, ended_at=Clock(), lease_until=None, phase=""
    )
    if changed:
        _end_attempt(claim, "cancelled", exit_code)
        devices.let_go(job_id=claim.job, token=claim.token)


def _end_attempt(claim: Claim, reason: str, exit_code: int | None) -> None:
    Attempt.objects.filter(job_id=claim.job, token=claim.token, ended_at__isnull=True).update(
        ended_at=Clock(), reason=reason[:60], exit_code=exit_code
    )


def _why_not(claim: Claim) -> LeaseLost | Cancelled:
    cancelling = Job.objects.filter(pk=claim.job, token=claim.token, state=State.CANCELLING).exists()
    return Cancelled(str(claim)) if cancelling else LeaseLost(str(claim))


def reap(*, salvage: Callable[[Job], int | None] = lambda job: None) -> int:
    """Take back the jobs whose holder was not heard of in time; returns how many.

    `salvage(job)` is asked before one is given up: the step of a checkpoint its attempt left and nobody kept, if any. An attempt that left
    a newer one made progress, though its supervisor did not live to say so. (Otherwise whoever tries it next looks there.)
    """
    count = 0
    for job in Job.objects.filter(state__in=HELD, lease_until__lte=Clock()).order_by("pk")[:100]:
        last_chance = job.state == State.RUNNING and job.attempts_without_progress >= job.max_attempts
        count += _reap(job, salvage(job) if last_chance else None)
    return count


@transaction.atomic
def _reap(seen: Job, step: int | None) -> bool:
    """Rows that another sweep holds are left to it, and a holder that was heard of meanwhile keeps its job."""
    still = Job.objects.filter(pk=seen.pk, token=seen.token, state__in=HELD, lease_until__lte=Clock())
    job = still.select_for_update(skip_locked=True).first()
    if job is None:
        return False
    lost = Claim(job=job.pk, token=job.token, number=job.attempts)
    if step is not None and step > (job.checkpoint_step or 0):
        job.checkpoint_step, job.attempts_without_progress = step, 0
        job.save(update_fields=["checkpoint_step", "attempts_without_progress"])
    if job.state == State.CANCELLING:
        Job.objects.filter(pk=job.pk).update(state=State.CANCELLED, ended_at=Clock(), lease_until=None, phase="")
        _end_attempt(lost, "cancelled", None)
    else:
        _retry_or_fail(job, "lease_expired", "The worker that held the job was not heard of in time.")
        _end_attempt(lost, "lease_expired", None)
    devices.let_go(job_id=job.pk, token=job.token)
    return True


@transaction.atomic
def requeue() -> int:
    """Queue the jobs whose pause is over, with a bell each; returns how many."""
    due = list(Job.objects.filter(state=State.RETRY_WAIT, run_after__lte=Clock()).select_for_update(skip_locked=True)[:100])
    Job.objects.filter(pk__in=[job.pk for job in due]).update(state=State.QUEUED)
    outbox.ring_later(due)
    return len(due)


@transaction.atomic
def unpause(*, room: Callable[[int], str]) -> int:
    """Queue the paused jobs for which there is room by now, with a bell each; returns how many.

    `room(bytes)` says what is missing, or nothing when there is room: the pages show it.
    """
    due = Job.objects.filter(state=State.PAUSED, run_after__lte=Clock()).select_for_update(skip_locked=True).order_by("pk")
    ready = []
    for job in due[:100]:
        if missing := room(job.needs_bytes or 0):
            Job.objects.filter(pk=job.pk).update(error_detail=missing[:500], run_after=after(settings.ROUNDS_PAUSE_SECONDS))
        else:
            ready.append(job)
    Job.objects.filter(pk__in=[job.pk for job in ready]).update(state=State.QUEUED, needs_bytes=None)
    outbox.ring_later(ready)
    return len(ready)


@transaction.atomic
def fail_orphans() -> int:
    """Fail the waiting jobs one of whose predecessors failed or was cancelled; returns how many. A chain falls one link a call."""
    broken = Job.waits_for.through.objects.filter(from_job_id=OuterRef("pk"), to_job__state__in=(State.FAILED, State.CANCELLED))
    orphans = Job.objects.filter(Exists(broken), state__in=WAITING).select_for_update(skip_locked=True)
    count = 0
    for job in orphans[:100]:
        culprit = job.waits_for.filter(state__in=(State.FAILED, State.CANCELLED)).order_by("pk").values_list("label", "state").first()
        assert culprit is not None
        _fail(job, "predecessor_failed", f"It needed “{culprit[0]}”, which {'failed' if culprit[1] == State.FAILED else 'was cancelled'}.")
        count += 1
    return count
