"""Holding a job: one holder at a time, and what an older holder still says counts for nothing."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.utils import ProgrammingError
from django.utils import timezone

from accounts.models import AuditEntry, User
from jobs import claims, kinds, submissions
from jobs.claims import Claim
from jobs.clock import after
from jobs.errors import Cancelled, LeaseLost
from jobs.models import Attempt, Job, Outbox, State
from tests.jobs.conftest import ask

pytestmark = pytest.mark.django_db


def take(job: Job, worker: str = "host:1:abc") -> Claim:
    held = claims.claim(job_id=job.pk, worker=worker)
    assert held is not None
    return held


def let_the_lease_lapse(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=after(-1))


def nothing_made(name: str = "fake") -> kinds.Kind:
    return kinds.Kind(name=name, queue="compute", command=lambda job, folder: [], publish=lambda job, result, staged: {"made": 1})


def test_a_claim_starts_an_attempt_and_raises_the_token(runner: str, dan: User) -> None:
    job = ask(dan)
    held = take(job)
    job.refresh_from_db()
    assert (job.state, job.token, job.attempts, held.token, held.number) == ("running", 1, 1, 1, 1)
    assert job.lease_until is not None
    assert job.started_at is not None
    attempt = Attempt.objects.get()
    assert (attempt.worker, attempt.number, attempt.token, attempt.ended_at) == ("host:1:abc", 1, 1, None)


def test_a_held_job_cannot_be_claimed(runner: str, dan: User) -> None:
    job = ask(dan)
    take(job)
    assert claims.claim(job_id=job.pk, worker="other") is None
    assert Attempt.objects.count() == 1


def test_a_lapsed_job_must_be_reaped_before_it_is_claimed(runner: str, dan: User) -> None:
    job = ask(dan)
    take(job)
    let_the_lease_lapse(job)
    assert claims.claim(job_id=job.pk, worker="other") is None


@pytest.mark.django_db(transaction=True)
def test_of_two_rings_at_once_one_claims(runner: str, dan: User) -> None:
    jobs = [ask(dan) for _ in range(10)]
    barrier = threading.Barrier(8)
    won: list[Claim | None] = []

    def ring() -> None:
        barrier.wait()
        for job in jobs:
            won.append(claims.claim(job_id=job.pk, worker=f"slot:{threading.get_ident()}:{job.pk}"))
        connection.close()

    threads = [threading.Thread(target=ring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([held for held in won if held]) == 10
    assert len(won) == 80
    assert Attempt.objects.count() == 10


def test_a_job_waits_for_all_its_predecessors(runner: str, dan: User) -> None:
    first, second = ask(dan), ask(dan)
    third = ask(dan, waits_for=(first, second))
    assert claims.claim(job_id=third.pk, worker="w") is None
    finish(take(first))
    assert claims.claim(job_id=third.pk, worker="w") is None
    finish(take(second))
    assert claims.claim(job_id=third.pk, worker="w") is not None


def test_the_end_of_a_job_rings_those_that_waited(runner: str, dan: User) -> None:
    first = ask(dan)
    second = ask(dan, waits_for=(first,))
    before = Outbox.objects.filter(job=second).count()
    finish(take(first))
    assert Outbox.objects.filter(job=second).count() == before + 1


def finish(held: Claim) -> Job:
    claims.begin_publish(held)
    return claims.publish(held, kind=nothing_made(), result={}, staged=None)


def test_a_heartbeat_lengthens_the_lease_and_says_how_far_it_is(runner: str, dan: User) -> None:
    job = ask(dan)
    held = take(job)
    job.refresh_from_db()
    before = job.lease_until
    assert claims.heartbeat(held, phase="training", done=12, total=60) == ("running", False)
    job.refresh_from_db()
    assert before is not None
    assert job.lease_until is not None
    assert job.lease_until > before
    assert (job.phase, job.progress_done, job.progress_total, job.percent) == ("training", 12, 60, 20)


def test_a_lapsed_lease_cannot_be_lengthened(runner: str, dan: User) -> None:
    job = ask(dan)
    held = take(job)
    let_the_lease_lapse(job)
    with pytest.raises(LeaseLost):
        claims.heartbeat(held)


def zombie_and_owner(dan: User) -> tuple[Job, Claim, Claim]:
    """A job whose first holder was thought dead, and its second."""
    job = ask(dan)
    zombie = take(job)
    let_the_lease_lapse(job)
    assert claims.reap() == 1
    Job.objects.filter(pk=job.pk).update(run_after=after(-1))
    assert claims.requeue() == 1
    return job, zombie, take(job, "host:2:def")


SPEAKS: dict[str, Callable[[Claim], object]] = {
    "heartbeat": lambda held: claims.heartbeat(held),
    "begin to publish": lambda held: claims.begin_publish(held),
    "publish": lambda held: claims.publish(held, kind=nothing_made(), result={}, staged=None),
    "fail": lambda held: claims.fail(held, code="x", detail="y"),
    "retry": lambda held: claims.retry(held, code="x", detail="y"),
    "give back": lambda held: claims.release(held),
}


@pytest.mark.parametrize("what", SPEAKS)
def test_a_zombie_with_an_old_token_changes_nothing(runner: str, dan: User, what: str) -> None:
    job, zombie, owner = zombie_and_owner(dan)
    if what == "publish":
        claims.begin_publish(owner)  # the very state a zombie would need
    before = Job.objects.values().get(pk=job.pk)
    with pytest.raises(LeaseLost):
        SPEAKS[what](zombie)
    assert Job.objects.values().get(pk=job.pk) == before


def test_an_old_token_acknowledges_no_cancel(runner: str, dan: User) -> None:
    job, zombie, owner = zombie_and_owner(dan)
    submissions.cancel(job=job, actor=dan)
    claims.acknowledge_cancel(zombie)
    job.refresh_from_db()
    assert job.state == "cancelling"
    claims.acknowledge_cancel(owner)
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_publishing_ends_the_job_with_what_its_kind_made(runner: str, dan: User) -> None:
    job = finish(take(ask(dan)))
    assert (job.state, job.result, job.lease_until) == ("succeeded", {"made": 1}, None)
    assert job.ended_at is not None
    assert Attempt.objects.get().reason == "succeeded"
    assert AuditEntry.objects.filter(verb="job.succeeded", object_id=str(job.public_id)).count() == 1


def test_publishing_twice_is_refused(runner: str, dan: User) -> None:
    held = take(ask(dan))
    finish(held)
    with pytest.raises(LeaseLost):
        claims.publish(held, kind=nothing_made(), result={}, staged=None)


def test_what_a_kind_wrote_goes_when_publishing_fails(runner: str, dan: User) -> None:
    held = take(ask(dan))
    claims.begin_publish(held)

    def writes_and_stumbles(job: Job, result: dict[str, Any], staged: Any) -> dict[str, Any]:
        AuditEntry.objects.create(verb="half.done", object_type="x", object_id="1")
        raise ValueError

    with pytest.raises(ValueError):
        claims.publish(
            held,
            kind=kinds.Kind(name="fake", queue="q", command=lambda job, folder: [], publish=writes_and_stumbles),
            result={},
            staged=None,
        )
    assert not AuditEntry.objects.filter(verb="half.done").exists()
    assert Job.objects.get(pk=held.job).state == "publishing"


def test_a_cancel_before_the_publish_wins(runner: str, dan: User) -> None:
    job = ask(dan)
    held = take(job)
    claims.begin_publish(held)
    submissions.cancel(job=job, actor=dan)
    with pytest.raises(Cancelled):
        claims.publish(held, kind=nothing_made(), result={}, staged=None)


@pytest.mark.django_db(transaction=True)
def test_of_cancel_and_publish_exactly_one_wins(runner: str, dan: User) -> None:
    outcomes = set()
    for _ in range(30):
        job = ask(dan)
        held = take(job)
        claims.begin_publish(held)
        barrier = threading.Barrier(2)
        said: dict[str, str] = {}

        def cancel(job: Job = job, barrier: threading.Barrier = barrier, said: dict[str, str] = said) -> None:
            barrier.wait()
            try:
                submissions.cancel(job=job, actor=None)
                said["cancel"] = "asked"
            except submissions.NotCancellable:
                said["cancel"] = "too late"
            connection.close()

        thread = threading.Thread(target=cancel)
        thread.start()
        barrier.wait()
        try:
            claims.publish(held, kind=nothing_made(), result={}, staged=None)
            said["publish"] = "done"
        except Cancelled:
            claims.acknowledge_cancel(held)
            said["publish"] = "cancelled"
        thread.join()
        job.refresh_from_db()
        outcomes.add((said["cancel"], said["publish"], job.state))
    assert outcomes <= {("asked", "cancelled", "cancelled"), ("too late", "done", "succeeded")}


@pytest.mark.django_db(transaction=True)
def test_a_commit_whose_answer_was_lost_is_looked_up_not_assumed(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both for a claim and for a publish: the work is done, the connection dies before the answer."""
    job = ask(dan)
    real_claim, real_publish = claims._claim, claims._publish

    def claim_then_lose(*args: Any) -> Any:
        real_claim(*args)
        raise OperationalError("server closed the connection unexpectedly")

    def publish_then_lose(*args: Any) -> Any:
        real_publish(*args)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(claims, "_claim", claim_then_lose)
    held = take(job)
    assert held.token == 1
    monkeypatch.setattr(claims, "_publish", publish_then_lose)
    claims.begin_publish(held)
    assert claims.publish(held, kind=nothing_made(), result={}, staged=None).state == "succeeded"


def test_pauses_between_tries_grow(runner: str, settings: Any) -> None:
    settings.ROUNDS_BACK_OFF = [10, 60, 300]
    assert [claims.back_off(tries) for tries in (0, 1, 2, 3, 9)] == [10, 10, 60, 300, 300]


def test_the_last_try_fails_the_job_with_a_reason(runner: str, dan: User) -> None:
    job = ask(dan)
    for number in (1, 2, 3):
        held = take(job, f"w{number}")
        claims.retry(held, code="no_result", detail="The child ended with signal 9.", exit_code=-9)
        job.refresh_from_db()
        if number < 3:
            assert job.state == "retry_wait"
            Job.objects.filter(pk=job.pk).update(run_after=after(-1))
            claims.requeue()
    assert (job.state, job.error_code) == ("failed", "no_progress")
    assert job.error_detail == "3 attempts ended without a result. The last: The child ended with signal 9."
    assert [attempt.exit_code for attempt in job.history.order_by("number")] == [-9, -9, -9]


def test_a_job_given_back_does_not_lose_a_try(runner: str, dan: User) -> None:
    job = ask(dan)
    for _ in range(5):
        claims.release(take(job))
        assert claims.requeue() == 1
    job.refresh_from_db()
    assert (job.state, job.attempts, job.attempts_without_progress) == ("queued", 5, 0)


def test_the_database_refuses_a_jump_between_states(runner: str, dan: User) -> None:
    job = ask(dan)
    for state in (State.SUCCEEDED, State.PUBLISHING, State.CANCELLING):
        with pytest.raises(ProgrammingError, match="Invalid transition"), transaction.atomic():
            Job.objects.filter(pk=job.pk).update(state=state)


def try_in_vain(job: Job, times: int, *, up_to: int | None = None) -> None:
    """Attempts that end early; each keeps a checkpoint one step further, up to the given one."""
    for _ in range(times):
        held = take(job, f"w{job.attempts}")
        step = (Job.objects.get(pk=job.pk).checkpoint_step or 0) + 1
        if up_to is not None and step <= up_to:
            claims.kept(held, step=step)
        claims.retry(held, code="no_result", detail="The child ended with signal 9.", exit_code=-9)
        Job.objects.filter(pk=job.pk, state="retry_wait").update(run_after=after(-1))
        claims.requeue()
        job.refresh_from_db()


def test_a_newer_checkpoint_gives_a_job_its_tries_back(runner: str, dan: User) -> None:
    job = ask(dan)
    try_in_vain(job, 5, up_to=5)
    assert (job.state, job.attempts, job.attempts_without_progress, job.checkpoint_step) == ("queued", 5, 0, 5)
    try_in_vain(job, 3, up_to=5)
    assert (job.state, job.error_code, job.attempts) == ("failed", "no_progress", 8)
    assert job.error_detail.startswith("3 attempts ended without a result since the checkpoint of step 5. The last: The child ended")


def test_twenty_attempts_are_enough_even_with_progress(runner: str, dan: User) -> None:
    job = ask(dan)
    claims.release(take(job))  # given back: not counted
    claims.requeue()
    job.refresh_from_db()
    try_in_vain(job, 19, up_to=100)
    assert job.state == "queued"
    try_in_vain(job, 1, up_to=100)
    assert (job.state, job.error_code, job.attempts) == ("failed", "too_many_attempts", 21)


def test_the_same_checkpoint_again_is_no_progress(runner: str, dan: User) -> None:
    held = take(ask(dan))
    claims.kept(held, step=10)
    assert Job.objects.values_list("attempts_without_progress", "checkpoint_step").get() == (0, 10)
    Job.objects.update(attempts_without_progress=2)
    claims.kept(held, step=10)
    claims.kept(held, step=9)
    assert Job.objects.values_list("attempts_without_progress", "checkpoint_step").get() == (2, 10)


def test_what_an_earlier_attempt_left_is_not_this_ones_progress(runner: str, dan: User) -> None:
    held = take(ask(dan))
    claims.kept(held, step=10, by_us=False)
    assert Job.objects.values_list("attempts_without_progress", "checkpoint_step").get() == (1, 10)


def test_only_the_holder_keeps_checkpoints(runner: str, dan: User) -> None:
    job, zombie, owner = zombie_and_owner(dan)
    for say in (lambda: claims.check(zombie), lambda: claims.kept(zombie, step=10)):
        with pytest.raises(LeaseLost):
            say()
    claims.check(owner)
    submissions.cancel(job=job, actor=dan)
    for say in (lambda: claims.check(owner), lambda: claims.kept(owner, step=10)):
        with pytest.raises(Cancelled):
            say()
    job.refresh_from_db()
    assert job.checkpoint_step is None


def test_a_paused_job_keeps_its_tries_and_waits_longer_each_time(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_PAUSE_SECONDS = 10
    job = ask(dan)
    pauses = []
    for _ in range(4):
        claims.pause(take(job), code="disk_full", detail="Need 2 GB, have 1 GB on the volume /data.", needs_bytes=2 * 10**9)
        job.refresh_from_db()
        pauses.append(round((job.run_after - timezone.now()).total_seconds()))
        assert (job.state, job.attempts_without_progress, job.needs_bytes) == ("paused", 0, 2 * 10**9)
        Job.objects.filter(pk=job.pk).update(run_after=after(-1))
        assert claims.unpause(room=lambda need: "") == 1
    assert pauses == [10, 20, 40, 80]
    assert job.history.count() == 4


def test_a_job_goes_on_when_there_is_room_and_says_until_then_how_much_is_missing(runner: str, dan: User) -> None:
    job = ask(dan)
    claims.pause(take(job), code="disk_full", detail="full", needs_bytes=2200)
    asked: list[int] = []
    assert claims.unpause(room=lambda need: "") == 0  # not yet due
    Job.objects.update(run_after=after(-1))
    assert claims.unpause(room=lambda need: asked.append(need) or "Need 2.2 kB, have 1.0 kB on the volume /.") == 0  # type: ignore[func-returns-value]
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_detail, asked) == (
        "paused",
        "disk_full",
        "Need 2.2 kB, have 1.0 kB on the volume /.",
        [2200],
    )
    assert job.run_after > timezone.now()
    Job.objects.update(run_after=after(-1))
    bells = Outbox.objects.count()
    assert claims.unpause(room=lambda need: "") == 1
    job.refresh_from_db()
    assert (job.state, job.needs_bytes, Outbox.objects.count()) == ("queued", None, bells + 1)


def test_a_paused_job_is_cancelled_at_once(runner: str, dan: User) -> None:
    job = ask(dan)
    claims.pause(take(job), code="quota", detail="full", needs_bytes=0)
    assert submissions.cancel(job=job, actor=dan).state == "cancelled"


def test_the_most_urgent_job_goes_first_whichever_was_rung(runner: str, dan: User) -> None:
    later, usual, urgent = ask(dan, priority=-1), ask(dan), ask(dan)
    submissions.prioritise(job=urgent, by=2, actor=dan)
    order = [claims.claim_next(queue=runner, worker=f"w{number}") for number in range(4)]
    assert [held and held.job for held in order] == [urgent.pk, usual.pk, later.pk, None]


def test_a_lapsed_lease_that_nobody_took_up_costs_no_finished_work(runner: str, dan: User) -> None:
    """The database was away for longer than the lease, and the sweeper has not come round yet."""
    held = take(ask(dan))
    Job.objects.update(lease_until=after(-1))
    with pytest.raises(LeaseLost):
        claims.heartbeat(held)
    assert claims.heartbeat(held, finished=True).state == "running"
    Job.objects.update(lease_until=after(-1))
    claims.begin_publish(held)
    claims.begin_publish(held)  # asked again, after an answer that was lost
    Job.objects.update(lease_until=after(-1))
    assert claims.publish(held, kind=nothing_made(), result={}, staged=None).state == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_a_publish_waits_for_a_database_that_is_away(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    held = take(ask(dan))
    claims.begin_publish(held)
    real, calls = claims._publish, []

    def away_at_first(*args: Any) -> Any:
        calls.append(1)
        if len(calls) < 4:
            raise OperationalError("the connection was refused")
        return real(*args)

    monkeypatch.setattr(claims, "_publish", away_at_first)
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: None)
    assert claims.publish(held, kind=nothing_made(), result={}, staged=None, patience=30).state == "succeeded"
    assert len(calls) == 4
    assert AuditEntry.objects.filter(verb="job.succeeded").count() == 1


def test_the_silent_last_attempt_is_forgiven_when_it_left_a_newer_checkpoint(runner: str, dan: User) -> None:
    job = ask(dan)
    try_in_vain(job, 2)
    take(job, "w3")
    let_the_lease_lapse(job)
    assert claims.reap(salvage=lambda job: 30) == 1
    job.refresh_from_db()
    assert (job.state, job.checkpoint_step, job.attempts_without_progress) == ("retry_wait", 30, 0)
