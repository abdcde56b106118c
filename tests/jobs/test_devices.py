"""GPUs: found without torch, and leased like jobs. None is here: the tests name two pretended ones."""

import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from jobs import claims, devices
from jobs.claims import Claim
from jobs.devices import Found
from jobs.models import Device, Job, Outbox
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, let_the_lease_lapse, take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

INFORMATION = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 18\nGPU UUID: \t GPU-{}\nVideo BIOS: \t 96.00.a5.00.01\n"


@pytest.fixture
def two(runner: str, settings: Any) -> str:
    """A machine with two GPUs; its value is the queue."""
    settings.ROUNDS_GPUS = "0,1"
    assert devices.register() == 2
    return runner


def gpu_job(dan: User | None = None, **spec: Any) -> Job:
    return ask(dan, kind="fake-gpu", **spec)


def held() -> dict[str, int | None]:
    return dict(Device.objects.values_list("name", "holder"))


def test_the_setting_names_them_or_none(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROUNDS_GPUS = "0, GPU-abc"
    assert devices.found() == [Found("0"), Found("GPU-abc")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    settings.ROUNDS_GPUS = "none"
    assert devices.found() == []
    settings.ROUNDS_GPUS = ""
    assert devices.found() == [Found("3")]


def test_the_kernel_driver_tells_of_them(tmp_path: Path) -> None:
    for place, uuid in (("0000:17:00.0", "aaaa-1"), ("0000:3d:00.0", "bbbb-2"), ("0000:60:00.0", "????????-????")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(INFORMATION.format(uuid))
    assert devices._in_proc(tmp_path) == [Found("GPU-aaaa-1", "NVIDIA H200"), Found("GPU-bbbb-2", "NVIDIA H200")]
    assert devices._in_proc(tmp_path / "nothing") == []


def test_else_nvidias_program_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)"\necho "GPU 1: NVIDIA L4 (UUID: GPU-bbbb-2)"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert devices._listed() == [Found("GPU-aaaa-1", "NVIDIA H200"), Found("GPU-bbbb-2", "NVIDIA L4")]
    program.write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    assert devices._listed() == []


def test_one_that_is_gone_is_forgotten_unless_somebody_holds_it(two: str, dan: User, settings: Any) -> None:
    job = gpu_job(dan)
    take(job)
    settings.ROUNDS_GPUS = "7"
    devices.register()
    assert held() == {"0": job.pk, "7": None}


def test_a_job_takes_a_gpu_with_its_claim_and_lets_it_go_at_its_end(two: str, dan: User) -> None:
    job = gpu_job(dan)
    mine = take(job)
    assert (mine.device, held()) == ("0", {"0": job.pk, "1": None})
    gpu = Device.objects.get(name="0")
    assert (gpu.token, gpu.lease_until is not None, job.history.get().device) == (mine.token, True, "0")
    finish(mine)
    assert held() == {"0": None, "1": None}


def test_a_heartbeat_lengthens_the_gpus_lease_too(two: str, dan: User) -> None:
    mine = take(gpu_job(dan))
    before = Device.objects.get(name="0").lease_until
    claims.heartbeat(mine)
    after = Device.objects.get(name="0").lease_until
    assert before is not None
    assert after is not None
    assert after > before


def test_when_all_are_held_the_job_waits_and_the_others_go_on(two: str, dan: User) -> None:
    first, second, third = gpu_job(dan), gpu_job(dan), gpu_job(dan)
    mine, theirs = take(first), take(second)
    assert theirs.device == "1"
    assert claims.claim(job_id=third.pk, worker="w") is None
    third.refresh_from_db()
    assert (third.state, third.attempts, third.token) == ("queued", 0, 0)
    other = ask(dan)
    found = claims.claim_next(queue=two, worker="w")
    assert found is not None
    assert (found.job, found.device) == (other.pk, "")
    assert claims.claim_next(queue=two, worker="w2") is None
    bells = Outbox.objects.filter(job=third).count()
    finish(mine)
    assert Outbox.objects.filter(job=third).count() == bells + 1  # whose turn it is hears of the free GPU
    found = claims.claim_next(queue=two, worker="w3")
    assert found is not None
    assert (found.job, found.device) == (third.pk, "0")


LETS_GO: dict[str, Any] = {
    "fail": lambda mine: claims.fail(mine, code="x", detail="y"),
    "retry": lambda mine: claims.retry(mine, code="x", detail="y"),
    "give back": lambda mine: claims.release(mine),
    "pause": lambda mine: claims.pause(mine, code="disk_full", detail="y", needs_bytes=1),
}


@pytest.mark.parametrize("how", LETS_GO)
def test_however_an_attempt_ends_its_gpu_is_free(two: str, dan: User, how: str) -> None:
    LETS_GO[how](take(gpu_job(dan)))
    assert held() == {"0": None, "1": None}


def test_the_gpu_of_a_worker_that_fell_silent_is_free_with_its_job(two: str, dan: User) -> None:
    job = gpu_job(dan)
    take(job)
    let_the_lease_lapse(job)
    assert claims.reap() == 1
    assert held() == {"0": None, "1": None}


def test_a_machine_without_gpus_runs_the_job_without(runner: str, dan: User) -> None:
    assert take(gpu_job(dan)).device == ""


def test_another_machines_gpus_are_not_ours(two: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_HOST = "elsewhere"
    assert take(gpu_job(dan)).device == ""
    settings.ROUNDS_GPUS = "0"
    assert devices.register() == 1
    mine = take(gpu_job(dan))
    assert list(Device.objects.exclude(holder=None).values_list("host", "name")) == [("elsewhere", mine.device)]


def test_the_database_lets_a_job_hold_one_and_only_whole(two: str, dan: User) -> None:
    mine = take(gpu_job(dan))
    with pytest.raises(IntegrityError, match="holder"), transaction.atomic():
        Device.objects.filter(name="1").update(holder=mine.job, token=mine.token, lease_until="2030-01-01T00:00Z")
    with pytest.raises(IntegrityError, match="held_whole"), transaction.atomic():
        Device.objects.filter(name="0").update(lease_until=None)


@pytest.mark.django_db(transaction=True)
def test_two_gpus_are_never_booked_twice_by_eight_workers(two: str) -> None:
    """Forty jobs; each worker claims whatever is next, runs on its GPU for a moment, and ends it."""
    jobs = [gpu_job() for _ in range(40)]
    running: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    lock = threading.Lock()
    done: list[int] = []

    def work(number: int) -> None:
        while len(done) < len(jobs):
            mine: Claim | None = claims.claim_next(queue=two, worker=f"w{number}:{time.monotonic_ns()}")
            if mine is None:
                time.sleep(0.01)
                continue
            with lock:
                running[mine.device] += 1
                most[mine.device] = max(most[mine.device], running[mine.device])
            time.sleep(0.005)
            with lock:
                running[mine.device] -= 1
            finish(mine)
            done.append(mine.job)
        connection.close()

    outcomes = at_once(*[lambda number=number: work(number) for number in range(8)])
    assert outcomes == [None] * 8
    assert dict(most) == {"0": 1, "1": 1}
    assert sorted(done) == [job.pk for job in jobs]
    assert held() == {"0": None, "1": None}
