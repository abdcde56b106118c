"""A worker that is connected and hears nothing: noticed, shown, and started anew when it holds nothing."""

import os
from typing import Any

import pytest

from accounts.models import User
from jobs import devices, machine, pulses, sweeper
from jobs.clock import after
from jobs.models import Job, Outbox, Pulse
from tests.jobs.conftest import ask
from tests.jobs.test_claims import take

pytestmark = pytest.mark.django_db


def lie(job: Job, seconds: float) -> None:
    """The job could run, and was rung for, so long ago."""
    Job.objects.filter(pk=job.pk).update(run_after=after(-seconds))
    Outbox.objects.filter(job=job).update(published_at=after(-seconds), created_at=after(-seconds))


def watch(seconds: float = 0) -> int:
    """Look, some seconds after work was first seen lying there."""
    Pulse.objects.filter(deaf_since__isnull=False).update(deaf_since=after(-seconds))
    return pulses.warn_of_the_deaf()


def state() -> tuple[bool, bool]:
    """Whether the worker is warned of, and whether it was asked to start anew."""
    pulse = Pulse.objects.get(name="worker:w")
    return bool(pulse.warning), pulse.restart_asked_at is not None


@pytest.fixture
def worker(runner: str) -> str:
    """An idle worker of two slots on the test's queue."""
    pulses.beat("worker:w", [runner], slots=[71, 72])
    return runner


def test_an_idle_worker_that_lets_work_lie_is_asked_to_start_anew(worker: str, dan: User) -> None:
    lie(ask(dan), 45)
    assert (watch(), state()) == (0, (False, False))  # perhaps a slot was freed this very moment
    assert (watch(5), state()) == (0, (False, False))
    assert (watch(21), state()) == (1, (True, True))
    assert (watch(60), state()) == (0, (True, True))  # told once


def test_what_has_only_just_come_is_not_lying(worker: str, dan: User) -> None:
    lie(ask(dan), 20)
    watch()
    assert (watch(60), state()) == (0, (False, False))


def test_what_waited_for_another_job_lies_only_since_that_one_ended(worker: str, dan: User) -> None:
    first = ask(dan)
    job = ask(dan, waits_for=(first,))
    lie(job, 600)  # rung for when it was asked for, and heard: it could not run then
    take(first)
    Job.objects.filter(pk=first.pk).update(state="publishing")
    Job.objects.filter(pk=first.pk).update(state="succeeded", ended_at=after(-50))
    watch()
    assert (watch(60), state()) == (0, (False, False))
    Outbox.objects.create(job=job, published_at=after(-45))  # since it can run
    watch()
    assert (watch(60), state()) == (1, (True, True))


def test_a_worker_that_takes_work_again_is_no_longer_warned_of(worker: str, dan: User) -> None:
    job = ask(dan)
    lie(job, 60)
    watch()
    watch(60)
    take(job, f"{devices.here()}:71:abc")
    assert (watch(60), state()) == (0, (False, False))


def test_one_that_holds_a_job_is_warned_of_and_left_alone(worker: str, dan: User) -> None:
    held, lying = ask(dan), ask(dan)
    take(held, f"{devices.here()}:71:abc")
    lie(lying, 60)
    watch()
    assert (watch(60), state()) == (1, (True, False))


@pytest.mark.parametrize("why", ["full", "another queue", "predecessor", "paused", "cancelled"])
def test_what_cannot_run_is_nobodys_fault(worker: str, dan: User, why: str) -> None:
    first = ask(dan)
    job = ask(dan, waits_for=(first,)) if why == "predecessor" else ask(dan)
    take(first, f"{devices.here()}:71:abc")
    lie(job, 60)
    match why:
        case "full":
            take(ask(dan), f"{devices.here()}:72:def")
        case "another queue":
            Job.objects.filter(pk=job.pk).update(queue="elsewhere")
        case "paused":
            take(job)
            Job.objects.filter(pk=job.pk).update(state="paused")
        case "cancelled":
            Job.objects.filter(pk=job.pk).update(state="cancelled")
    watch()
    assert (watch(60), state()) == (0, (False, False))


def test_a_job_that_waits_for_a_gpu_is_nobodys_fault_until_one_is_free(worker: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_GPUS = "0"
    devices.register()
    held = ask(dan, kind="fake-gpu")
    lie(ask(dan, kind="fake-gpu"), 60)
    mine = take(held, f"{devices.here()}:71:abc")
    watch()
    assert (watch(60), state()) == (0, (False, False))
    devices.let_go(job_id=mine.job, token=mine.token)
    Outbox.objects.update(published_at=after(-60))
    watch()
    assert (watch(60), state()) == (1, (True, False))


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_looks(worker: str, dan: User) -> None:
    lie(ask(dan), 60)
    sweeper.sweep()
    Pulse.objects.filter(name="worker:w").update(deaf_since=after(-60))
    did = sweeper.sweep()
    assert did is not None
    assert did["deaf"] == 1


def test_the_machines_figures_are_shares_and_bytes() -> None:
    load = machine.Load()
    first = load.figures()
    assert "processor" not in first  # a share of nothing yet
    sum(range(2_000_000))
    second = load.figures()
    assert 0 <= second["processor"] <= 1
    assert 0 < second["memory_used"] < second["memory"]
    assert 0 < second["disk_free"] <= second["disk"]
    assert second["processors"] == os.cpu_count()
