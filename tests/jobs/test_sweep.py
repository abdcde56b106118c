"""`manage.py sweep`: what a lost message, a dead worker or a failed predecessor leaves behind is set right."""

import json
import signal
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection, connections
from kombu.transport.redis import Channel as RedisChannel
from redis.exceptions import ConnectionError as RedisHungUp

from accounts.models import User
from jobs import claims, pulses, submissions, sweeper
from jobs.clock import after
from jobs.models import Job, Outbox, Pulse
from tests.jobs.conftest import ask
from tests.jobs.test_claims import let_the_lease_lapse, take
from tests.jobs.test_submissions import messages
from tests.workers import Processes, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def swept() -> dict[str, int]:
    did = sweeper.sweep()
    assert did is not None
    return did


def test_a_quiet_house_is_left_alone(runner: str, dan: User) -> None:
    ask(dan)
    assert set(swept().values()) == {0}


def test_what_an_app_has_named_is_cleared_with_the_rest(runner: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = Path(settings.DATA_DIR) / "references" / ("a" * 64)
    store.mkdir(parents=True)
    (store / "b.jsonl").write_text("{}")
    sweeper.forget_old()
    assert list(store.iterdir())
    settings.ROUNDS_KEEP_REFERENCES_GB = 0.0
    with caplog.at_level("INFO", "jobs.sweeper"):
        sweeper.forget_old()
    assert not store.exists()
    assert "Cleared away 1 stored log-probabilities' files." in caplog.text


def test_a_job_whose_worker_fell_silent_is_tried_again_after_a_pause(runner: str, dan: User) -> None:
    job = ask(dan)
    take(job)
    let_the_lease_lapse(job)
    messages(runner)
    assert swept()["reaped"] == 1
    job.refresh_from_db()
    assert (job.state, job.error_code, job.history.get().reason) == ("retry_wait", "lease_expired", "lease_expired")
    assert swept()["queued_again"] == 0
    Job.objects.filter(pk=job.pk).update(run_after=after(-0.1))
    assert swept()["queued_again"] == 1
    job.refresh_from_db()
    assert job.state == "queued"
    assert [message["body"][0] for message in messages(runner)] == [[job.pk]]


def test_a_job_that_kills_its_workers_is_given_up(runner: str, dan: User) -> None:
    job = ask(dan)
    for _ in range(3):
        take(job, f"w{job.attempts}")
        let_the_lease_lapse(job)
        swept()
        Job.objects.filter(pk=job.pk).update(run_after=after(-0.1))
        swept()
        job.refresh_from_db()
    assert (job.state, job.error_code, job.attempts) == ("failed", "no_progress", 3)


def test_a_stopping_job_whose_worker_fell_silent_is_cancelled(runner: str, dan: User) -> None:
    job = ask(dan)
    take(job)
    submissions.cancel(job=job, actor=dan)
    let_the_lease_lapse(job)
    assert swept()["reaped"] == 1
    job.refresh_from_db()
    assert (job.state, job.history.get().reason) == ("cancelled", "cancelled")


def test_a_job_that_fell_silent_while_publishing_is_tried_again(runner: str, dan: User) -> None:
    job = ask(dan)
    claims.begin_publish(take(job))
    let_the_lease_lapse(job)
    swept()
    job.refresh_from_db()
    assert job.state == "retry_wait"


def test_a_chain_falls_with_its_first_link_in_one_pass(runner: str, dan: User) -> None:
    first = ask(dan)
    second = ask(dan, waits_for=(first,))
    third = ask(dan, waits_for=(second,))
    free = ask(dan)
    claims.fail(take(first), code="too_few_pairs", detail="3 pairs are too few.")
    assert swept()["orphans"] == 2
    for job in (second, third, free):
        job.refresh_from_db()
    assert [job.state for job in (second, third, free)] == ["failed", "failed", "queued"]
    assert second.error_code == third.error_code == "predecessor_failed"
    assert second.error_detail == "It needed “Pretend to succeed”, which failed."


def test_a_lost_message_is_rung_again(runner: str, dan: User) -> None:
    job = ask(dan)
    messages(runner)  # the broker forgot
    assert sweeper.ring_again(older_than=0) == 1
    assert [message["body"][0] for message in messages(runner)] == [[job.pk]]


def test_a_message_that_still_waits_is_not_doubled(runner: str, dan: User) -> None:
    ask(dan)
    assert sweeper.ring_again(older_than=0) == 0
    assert len(messages(runner)) == 1


def test_a_job_that_waits_for_another_is_not_rung(runner: str, dan: User) -> None:
    first = ask(dan)
    ask(dan, waits_for=(first,))
    messages(runner)
    assert sweeper.ring_again(older_than=0) == 1


def test_bells_the_broker_did_not_take_are_published_later(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as down:
        down.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:9/0")
        ask(dan)
        assert swept()["published"] == 0
    assert swept()["published"] == 1
    assert Outbox.objects.filter(published_at__isnull=True).count() == 0


@pytest.mark.parametrize("call", ["_has_queue", "_put"])
def test_a_broker_that_hangs_up_in_mid_answer_does_not_end_the_sweeper(
    runner: str, dan: User, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """redis-py says so in exceptions of its own, which kombu hands on: they once ended the sweeper's process."""

    def hang_up(*args: object, **kwargs: object) -> None:
        raise RedisHungUp("Connection closed by server.")

    with monkeypatch.context() as down:
        down.setattr(RedisChannel, call, hang_up)
        ask(dan)
        assert sweeper.ring_again(older_than=0) == 1
        assert swept() is not None
    swept()
    assert Outbox.objects.filter(published_at__isnull=True).count() == 0


def test_two_sweepers_do_not_sweep_at_once(runner: str, dan: User) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with sweeper._alone() as alone:
            assert alone
            entered.set()
            leave.wait(20)
        connections.close_all()

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(20)
    try:
        assert sweeper.sweep() is None
        out = StringIO()
        call_command("sweep", "--once", stdout=out)
        assert json.loads(out.getvalue()) == {"another_sweeper_is_running": True}
    finally:
        leave.set()
        other.join()
    assert sweeper.sweep() is not None


def test_a_pass_leaves_a_sign_of_life(runner: str) -> None:
    assert [missing.command for missing in pulses.missing()] == [
        "celery -A config.celery worker -Q compute",
        "python manage.py sweep",
    ]
    swept()
    pulses.beat("worker:w1@host", ["compute", "io"])
    assert pulses.missing() == []
    assert pulses.alive(queue="compute")
    assert not pulses.alive(queue="gpu")
    Pulse.objects.update(at=after(-60))
    assert len(pulses.missing()) == 2


def test_the_command_sweeps_until_it_is_told_to_stop(runner: str, dan: User, tmp_path: Path) -> None:
    job = ask(dan)
    take(job)
    let_the_lease_lapse(job)
    processes = Processes(tmp_path)
    child = processes.start_sweeper()
    try:
        reaped = lambda: Job.objects.get(pk=job.pk).state != "running"  # noqa: E731
        wait_until(lambda: reaped() or child.poll() is not None, seconds=60, why="the silent job is reaped")
        assert reaped(), processes.log("sweeper")
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=15) == 0
    finally:
        processes.stop_all()
    assert "Traceback" not in processes.log("sweeper")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s), pg_advisory_unlock(%s)", [sweeper.LOCK, sweeper.LOCK])
        assert cursor.fetchone() == (True, True)
