"""A real Celery worker in a process of its own, a real broker, the real sweeper, and what a power cut does to them."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.models import User
from jobs import attempts, keeping, outbox, submissions
from jobs.clock import Clock
from jobs.models import Job, Pulse
from modelhub.models import ModelVersion
from tests.jobs.conftest import ask, gone
from tests.workers import Processes, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class House(Processes):
    """Workers on this test's own queue that know the pretending trainer."""

    def __init__(self, data_dir: Path, queue: str) -> None:
        super().__init__(data_dir)
        self.queue = queue
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.jobs.settings",
            "ROUNDS_LEASE_SECONDS": "4",
            "ROUNDS_HEARTBEAT_SECONDS": "0.3",
            "ROUNDS_TEST_QUEUE": queue,
            "ROUNDS_GPUS": "none",
        }

    def worker(self, name: str, slots: int = 1) -> None:
        self._start(
            name, "-m", "celery", "-A", "config.celery:app", "worker", "-Q", self.queue, "-c", str(slots), "-P", "prefork",
            "--without-mingle", "--without-gossip", "-n", f"{name}-{self.queue}@%h", "-l", "INFO",
        )  # fmt: skip


@pytest.fixture
def house(runner: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, runner)
    yield made
    made.stop_all()


def state(job: Job) -> str:
    return str(Job.objects.values_list("state", flat=True).get(pk=job.pk))


def child_of(job: Job, number: int = 1) -> int:
    path = attempts.folder_of(job, number) / "pid"
    wait_until(lambda: path.exists() and path.read_text(), seconds=60, why=f"child {number} starts")
    return int(path.read_text())


def test_a_chain_runs_from_bell_to_model(house: House, dan: User) -> None:
    """Submitted, rung, claimed, run, published; and the end of the first rings the second, without any sweeper."""
    house.worker("worker")
    first = ask(dan)
    second = ask(dan, waits_for=(first,))
    failing = ask(dan, behaviour="fail")
    wait_until(lambda: state(second) == "succeeded", seconds=60, why="both ran\n" + house.log("worker"))
    wait_until(lambda: state(failing) == "failed", seconds=30, why="the failing one failed")
    assert state(first) == "succeeded"
    assert ModelVersion.objects.count() == 2
    second.refresh_from_db()
    first.refresh_from_db()
    assert first.ended_at is not None
    assert second.started_at is not None
    assert second.started_at >= first.ended_at
    wait_until(lambda: Pulse.objects.filter(queues__contains=[house.queue]).exists(), seconds=20, why="the worker leaves a sign of life")
    assert "Traceback" not in house.log("worker")


def test_a_killed_worker_takes_its_child_along_and_the_job_ends_in_one_version(house: House, dan: User) -> None:
    house.worker("first")
    job = ask(dan, steps=60, pause=0.1)
    child = child_of(job)
    house.kill("first")
    wait_until(lambda: gone(child), seconds=5, why="the child dies with its supervisor", every=0.05)
    assert state(job) == "running"
    house.start_sweeper()
    house.worker("second")
    wait_until(lambda: state(job) == "succeeded", seconds=90, why="a new worker finishes the job\n" + house.log("second"))
    assert ModelVersion.objects.filter(origin=str(job.public_id)).count() == ModelVersion.objects.count() == 1
    assert [(a.number, a.reason) for a in job.history.order_by("number")] == [(1, "lease_expired"), (2, "succeeded")]


def test_a_killed_workers_job_goes_on_from_its_checkpoint(house: House, dan: User) -> None:
    """Power cut, then another worker: the steps before the checkpoint are not done again, and the last are done once."""
    house.worker("first")
    job = ask(dan, steps=80, every=5, pause=0.1)
    child_of(job)
    wait_until(lambda: (Job.objects.get(pk=job.pk).checkpoint_step or 0) >= 10, seconds=60, why="a checkpoint is kept")
    house.kill("first")
    house.start_sweeper()
    house.worker("second")
    wait_until(lambda: state(job) == "succeeded", seconds=90, why="a new worker finishes the job\n" + house.log("second"))
    second = job.history.get(number=2)
    assert second.resumed_from is not None
    assert second.resumed_from >= 10
    result = json.loads((attempts.folder_of(job, 2) / "result.json").read_text())
    assert result["metrics"]["seen"] == sum(range(80))
    assert ModelVersion.objects.count() == 1
    # It is cleared after the commit that we have seen.
    wait_until(lambda: not keeping.folder_of(job).exists(), seconds=20, why="its checkpoints are cleared away")


def test_a_frozen_workers_child_saves_nothing_once_another_has_the_job(house: House, dan: User) -> None:
    """Worker and child are stopped for longer than the lease, another finishes the job, and they wake up."""
    house.worker("first")
    job = ask(dan, steps=60, every=1, pause=0.1)
    child = child_of(job)
    slot = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    frozen = [house.children["first"].pid, slot, child]
    wait_until(lambda: Job.objects.get(pk=job.pk).checkpoint_step is not None, seconds=60, why="a checkpoint is kept")
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    house.start_sweeper()
    house.worker("second")
    wait_until(lambda: state(job) == "succeeded", seconds=90, why="a new worker finishes the job\n" + house.log("second"))
    token = Job.objects.get(pk=job.pk).token
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: gone(child), seconds=20, why="the woken child ends", every=0.1)
    wait_until(lambda: "is not ours any more" in house.log("first"), seconds=30, why="its supervisor notices")
    assert not (attempts.folder_of(job, 1) / "result.json").exists()
    assert (state(job), Job.objects.get(pk=job.pk).token, ModelVersion.objects.count()) == ("succeeded", token, 1)


def test_a_worker_that_is_asked_to_start_anew_ends(house: House, dan: User) -> None:
    house.worker("worker")
    wait_until(lambda: Pulse.objects.filter(queues__contains=[house.queue]).exists(), seconds=30, why="it lives")
    pulse = Pulse.objects.get(queues__contains=[house.queue])
    assert len(pulse.slots) == 1
    assert pulse.machine["processors"] == os.cpu_count()
    Pulse.objects.filter(pk=pulse.pk).update(restart_asked_at=Clock())
    assert house.children["worker"].wait(timeout=40) == 0
    assert not Pulse.objects.filter(restart_asked_at__isnull=False).exists()


def test_a_killed_slot_alone_takes_its_child_along(house: House, dan: User) -> None:
    """The pool's process dies, its parent lives: the job is taken back and finished by the same worker."""
    house.worker("worker")
    job = ask(dan, steps=60, pause=0.1)
    child = child_of(job)
    slot = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    assert slot != house.children["worker"].pid
    house.start_sweeper()
    os.kill(slot, signal.SIGKILL)
    wait_until(lambda: gone(child), seconds=5, why="the child dies with its slot", every=0.05)
    wait_until(lambda: state(job) == "succeeded", seconds=90, why="the same worker finishes the job\n" + house.log("worker"))
    assert ModelVersion.objects.count() == 1


def test_a_worker_that_is_asked_to_stop_gives_its_job_back_in_seconds(house: House, dan: User) -> None:
    house.worker("worker")
    job = ask(dan, steps=1000, pause=0.1)
    child = child_of(job)
    house.children["worker"].send_signal(signal.SIGTERM)
    house.children["worker"].wait(timeout=20)
    assert gone(child)
    assert state(job) == "retry_wait"
    assert job.history.get().reason == "worker_stopped"


def test_cancelling_reaches_a_running_child(house: House, dan: User) -> None:
    house.worker("worker")
    job = ask(dan, steps=1000, pause=0.1)
    child = child_of(job)
    submissions.cancel(job=job, actor=dan)
    wait_until(lambda: state(job) == "cancelled", seconds=15, why="the job is cancelled")
    assert gone(child)


def test_two_bells_for_one_job_are_one_attempt(house: House, dan: User) -> None:
    job = ask(dan, pause=0.3)
    outbox.ring_later([job])
    outbox.ring_later([job])
    house.worker("worker", slots=2)
    wait_until(lambda: state(job) == "succeeded", seconds=60, why="the job ran\n" + house.log("worker"))
    assert job.history.count() == 1
    log = house.log("worker")
    wait_until(lambda: house.log("worker").count("jobs.ring") >= 3, seconds=20, why=f"all three bells were heard\n{log}")
    assert job.history.count() == 1
