"""Asking for work is one transaction; the broker only hears of it."""

import json
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from celery import current_app
from django.db import connection, transaction

from accounts.models import AuditEntry, User
from jobs import claims, outbox, submissions
from jobs.errors import NotCancellable
from jobs.models import Attempt, Job, Outbox
from tests.jobs.conftest import ask

pytestmark = pytest.mark.django_db(transaction=True)


def messages(queue: str) -> list[dict[str, Any]]:
    """What the broker holds for a queue, taken out of it."""
    found = []
    with current_app.connection_for_read() as broker:
        channel: Any = broker.default_channel
        while message := channel.basic_get(queue, no_ack=True):
            found.append({"headers": message.headers, "body": json.loads(message.body)})
    return found


def test_a_submitted_job_is_queued_rung_and_audited(runner: str, dan: User) -> None:
    job = ask(dan, steps=5)
    assert (job.state, job.queue, job.attempts, job.requested_by) == ("queued", runner, 0, dan)
    bell = Outbox.objects.get(job=job)
    assert bell.published_at is not None
    assert AuditEntry.objects.get(verb="job.submitted").details == {"kind": "fake", "spec": job.spec_digest}


def test_the_message_holds_the_jobs_number_and_nothing_else(runner: str, dan: User) -> None:
    job = ask(dan, secret="a canary that must not travel")
    [message] = messages(runner)
    assert message["body"][:2] == [[job.pk], {}]
    assert message["headers"]["task"] == "jobs.ring"
    assert message["headers"]["argsrepr"] == f"[{job.pk}]"
    assert "canary" not in json.dumps(message)


def test_the_same_spec_has_the_same_digest_whatever_its_order() -> None:
    assert submissions.digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == submissions.digest_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert submissions.digest_of({"a": 1}) != submissions.digest_of({"a": 2})


def test_nothing_is_asked_for_when_the_transaction_fails(runner: str, dan: User) -> None:
    with suppress(RuntimeError), transaction.atomic():
        ask(dan)
        raise RuntimeError
    assert not Job.objects.exists()
    assert not Outbox.objects.exists()
    assert messages(runner) == []


def test_a_broker_that_is_down_costs_no_job_and_little_time(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:9/0")
    started = time.monotonic()
    job = ask(dan)
    assert time.monotonic() - started < 1.9
    bell = Outbox.objects.get(job=job)
    assert (bell.published_at, bell.tries) == (None, 1)
    monkeypatch.undo()
    monkeypatch.setenv("ROUNDS_TEST_QUEUE", runner)
    assert outbox.publish(Outbox.objects.all()) == 1
    assert [message["body"][0] for message in messages(runner)] == [[job.pk]]


def test_a_broker_that_says_nothing_holds_nobody_up(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and never answers, as behind a firewall that drops. It used to cost a request four seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(current_app.conf, "broker_write_url", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        job = ask(dan)
        assert time.monotonic() - started < 2.5
    assert Outbox.objects.get(job=job).published_at is None
    monkeypatch.undo()
    monkeypatch.setenv("ROUNDS_TEST_QUEUE", runner)


def test_a_bell_rings_once(runner: str, dan: User) -> None:
    ask(dan)
    assert outbox.publish(Outbox.objects.all()) == 0
    assert len(messages(runner)) == 1


def test_an_unknown_kind_is_refused(runner: str) -> None:
    with pytest.raises(KeyError):
        submissions.submit(kind="alchemy", label="Gold", spec={}, requested_by=None)


def test_the_same_key_twice_is_one_job_until_it_ends(runner: str, dan: User) -> None:
    def again() -> Job:
        return submissions.submit(kind="fake", label="x", spec={"behaviour": "succeed"}, requested_by=dan, dedupe_key="k")

    first = again()
    assert again() == first
    submissions.cancel(job=first, actor=dan)
    assert again() != first


def test_the_same_key_at_once_is_one_job(runner: str, dan: User) -> None:
    barrier = threading.Barrier(8)
    got: list[int] = []

    def submit() -> None:
        barrier.wait()
        job = submissions.submit(kind="fake", label="x", spec={"behaviour": "succeed"}, requested_by=None, dedupe_key="k")
        got.append(job.pk)
        connection.close()

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(got)) == 1
    assert Job.objects.count() == 1
    assert Outbox.objects.count() == 1


def test_a_waiting_job_is_cancelled_at_once(runner: str, dan: User) -> None:
    job = submissions.cancel(job=ask(dan), actor=dan)
    assert (job.state, Attempt.objects.count()) == ("cancelled", 0)
    assert job.ended_at is not None
    assert claims.claim(job_id=job.pk, worker="w") is None
    assert AuditEntry.objects.filter(verb="job.cancelled", actor_id=dan.pk).count() == 1


def test_a_running_job_is_asked_to_stop_once(runner: str, dan: User) -> None:
    job = ask(dan)
    held = claims.claim(job_id=job.pk, worker="w")
    assert held is not None
    assert submissions.cancel(job=job, actor=dan).state == "cancelling"
    assert submissions.cancel(job=job, actor=dan).state == "cancelling"
    assert claims.heartbeat(held).state == "cancelling"
    assert AuditEntry.objects.filter(verb="job.cancelled").count() == 1


def test_an_ended_job_cannot_be_cancelled(runner: str, dan: User) -> None:
    job = submissions.cancel(job=ask(dan), actor=dan)
    with pytest.raises(NotCancellable, match="cancelled"):
        submissions.cancel(job=job, actor=dan)
