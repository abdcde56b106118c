"""An attempt's checkpoints outlive it: kept while it runs, given to the next, gone when the job is done. And room for them."""

import json
import os
import signal
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import User
from jobs import attempts, claims, devices, disk, keeping, kinds, pacemaker, submissions
from jobs.clock import after
from jobs.models import Job
from modelhub.models import ModelVersion
from tests.jobs.conftest import ask, gone
from tests.jobs.test_attempts import folder_of, meanwhile, pid_of
from tests.jobs.test_sweep import swept
from tests.workers import done_here, wait_until
from training.engine import checkpoints, lifeline

pytestmark = pytest.mark.django_db(transaction=True)
Usage = namedtuple("Usage", "total used free")


def again(job: Job) -> Job:
    """The pause is over: the next attempt."""
    Job.objects.filter(pk=job.pk).update(run_after=after(-1))
    claims.requeue()
    return done_here(job)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def kill_after(job: Job, step: int) -> Any:
    """Kill the child once a checkpoint of `step` or a later one is kept."""

    def act() -> None:
        kept = lambda: any(checkpoints.step_of(path) >= step for path in checkpoints.named(keeping.folder_of(job)))  # noqa: E731
        wait_until(kept, seconds=30, why=f"step {step} is kept", every=0.02)
        os.kill(pid_of(job), signal.SIGKILL)

    return act


def test_a_killed_child_is_followed_by_one_that_goes_on_where_it_was(runner: str, dan: User) -> None:
    job = ask(dan, steps=200, every=5, pause=0.02)
    with meanwhile(job, kill_after(job, 10)):
        done_here(job)
    assert (job.state, job.error_code, job.attempts_without_progress) == ("retry_wait", "no_result", 0)
    assert job.history.get().exit_code == -9
    assert job.checkpoint_step is not None
    kept = job.checkpoint_step
    assert kept >= 10
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "pause": 0.0})
    again(job)
    assert job.state == "succeeded"
    second = job.history.get(number=2)
    assert second.resumed_from == kept
    steps = [event["step"] for event in attempts.read_events(folder_of(job, 2) / "events.jsonl", 0)[0] if event["type"] == "metric"]
    assert steps == list(range(kept, 200))
    result = json.loads((folder_of(job, 2) / "result.json").read_text())
    assert result["metrics"]["seen"] == sum(range(200))  # each step once, over both attempts
    assert ModelVersion.objects.count() == 1


def test_what_a_dead_supervisor_did_not_keep_the_next_attempt_finds(runner: str, dan: User) -> None:
    """The child saved and both died before it was linked: as after a power cut."""
    job = ask(dan, steps=20)
    held = claims.claim(job_id=job.pk, worker="w")
    assert held is not None
    fill = lambda at: (at / "weights").write_bytes(b"w")  # noqa: E731
    checkpoints.write(folder_of(job) / "checkpoints", step=12, fill=fill, state={"seen": sum(range(12))}, key=keeping.key_of(job))
    Job.objects.update(lease_until=after(-1))
    claims.reap()
    again(job)
    assert (job.state, job.history.get(number=2).resumed_from) == ("succeeded", 12)
    assert json.loads((folder_of(job, 2) / "result.json").read_text())["metrics"]["seen"] == sum(range(20))


@pytest.mark.parametrize("harm", ["truncate", "flip", "drop", "forge"])
def test_a_torn_or_forged_checkpoint_is_never_gone_on_from(runner: str, dan: User, harm: str) -> None:
    job = ask(dan, steps=10)
    kept, key = keeping.folder_of(job), keeping.key_of(job)
    for step in (4, 6):
        fill = lambda at: (at / "weights").write_bytes(b"w" * 100)  # noqa: E731
        mine = key if (step, harm) != (6, "forge") else b"somebody else's"
        made = checkpoints.write(kept, step=step, fill=fill, state={"seen": sum(range(step))}, key=mine).path
    match harm:
        case "truncate":
            os.truncate(made / "weights", 50)
        case "flip":
            (made / "weights").write_bytes(b"v" + b"w" * 99)
        case "drop":
            (made / "weights").unlink()
    done_here(job)
    assert (job.state, job.history.get().resumed_from) == ("succeeded", 4)


def test_every_job_has_a_key_of_its_own(runner: str, dan: User, settings: Any) -> None:
    one, other = ask(dan), ask(dan)
    done_here(one)
    environment = json.loads((folder_of(one) / "environment.json").read_text())
    assert environment["ROUNDS_CHECKPOINT_KEY"] == keeping.key_of(one).hex()
    assert keeping.key_of(one) != keeping.key_of(other)
    assert settings.SECRET_KEY not in json.dumps(environment)
    before = keeping.key_of(one)
    settings.SECRET_KEY = "another"
    assert keeping.key_of(one) != before


def test_a_done_jobs_checkpoints_go_and_a_failed_ones_stay_for_a_while(runner: str, dan: User, settings: Any) -> None:
    done, failed = done_here(ask(dan, steps=6, every=2)), done_here(ask(dan, steps=6, every=2, behaviour="fail"))
    assert not keeping.folder_of(done).exists()
    assert not (folder_of(done) / "checkpoints").exists()
    assert names(keeping.folder_of(failed))[-1] == "ckpt-6"
    assert keeping.sweep() == 0
    assert keeping.folder_of(failed).exists()
    settings.ROUNDS_KEEP_ATTEMPT_HOURS = 1
    Job.objects.update(ended_at=after(-3599))
    assert keeping.sweep() == 0
    Job.objects.update(ended_at=after(-3601))
    assert keeping.sweep() == 2
    assert not keeping.folder_of(failed).exists()
    assert keeping.sweep() == 0


def test_texts_leave_an_ended_jobs_folders_and_figures_stay(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_KEEP_ATTEMPT_HOURS = 0
    job = done_here(ask(dan))
    waiting = ask(dan)
    for folder in (folder_of(job), folder_of(waiting)):
        (folder / "inputs").mkdir(parents=True)
        (folder / "inputs" / "train.jsonl").write_text('{"prompt": "Mrs Canary, 81"}')
        with (folder / "events.jsonl").open("a") as events:
            events.write('{"type": "sample", "step": 1, "index": 0, "text": "Mrs Canary"}\n{"type": "log", "message": "3 pairs"}\n')
    assert keeping.sweep() == 1
    assert names(folder_of(job)) == ["engine.log", "events.jsonl", "result.json", "spec.json"]
    left = (folder_of(job) / "events.jsonl").read_text()
    assert "Canary" not in left
    assert [json.loads(line)["type"] for line in left.splitlines()][-2:] == ["progress", "log"]
    assert (folder_of(waiting) / "inputs" / "train.jsonl").exists()


def test_the_child_is_told_until_when_it_may_save(runner: str, dan: User, settings: Any) -> None:
    job = ask(dan, steps=1000, pause=0.05)
    seen: list[float] = []

    def look() -> None:
        for _ in range(3):
            seen.append(float((folder_of(job) / "lease").read_text()) - lifeline.boot_clock())
            time.sleep(0.3)
        submissions.cancel(job=job, actor=None)

    with meanwhile(job, look):
        done_here(job)
    assert all(0 < left <= settings.ROUNDS_LEASE_SECONDS for left in seen), seen
    assert not [name for name in names(folder_of(job)) if name.startswith(".lease")]


def test_a_pacemaker_that_stopped_leaves_a_child_that_saves_nothing_more(
    runner: str, dan: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the supervisor is frozen: nobody renews and nobody stops it, so the child ends itself at its next checkpoint."""
    settings.ROUNDS_LEASE_SECONDS = 3  # on a busy machine a child needs one of them to start
    monkeypatch.setattr(claims, "check", lambda claim: None)
    monkeypatch.setattr(claims, "kept", lambda claim, **said: None)
    monkeypatch.setattr(pacemaker.Pacemaker, "_beat", lambda self: None)
    job = done_here(ask(dan, steps=400, every=1, pause=0.05))
    assert gone(pid_of(job))
    assert not (folder_of(job) / "result.json").exists()
    assert job.state == "running"  # the sweeper's to take back
    last = max(checkpoints.step_of(path) for path in checkpoints.named(folder_of(job) / "checkpoints"))
    assert last < 100


def test_stop_and_keep_ends_in_a_model_of_the_steps_so_far(runner: str, dan: User) -> None:
    job = ask(dan, steps=2000, pause=0.03)
    with meanwhile(job, lambda: submissions.stop_and_keep(job=job, actor=None)):
        done_here(job)
    assert job.state == "succeeded"
    assert 0 < job.result["stopped_at"] < 2000
    assert ModelVersion.objects.count() == 1


def test_a_wish_to_stop_and_keep_outlives_the_attempt_it_was_made_in(runner: str, dan: User) -> None:
    job = ask(dan, steps=2000, every=5, pause=0.02)
    with meanwhile(job, kill_after(job, 5)):
        done_here(job)
    submissions.stop_and_keep(job=job, actor=dan)
    again(job)
    assert job.state == "succeeded"
    assert job.result["stopped_at"] == job.history.get(number=2).resumed_from


def test_without_room_no_attempt_begins_and_it_goes_on_when_there_is_some(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ask(dan)
    with monkeypatch.context() as full:
        full.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 900_000, 900_000))
        done_here(job)
        assert (job.state, job.error_code, job.history.get().reason) == ("paused", "disk_full", "disk_full")
        assert job.error_detail.startswith("Need 1.0 MB, have 900.0 kB on the volume /")
        assert not (folder_of(job) / "pid").exists()
        Job.objects.update(run_after=after(-1))
        assert swept()["unpaused"] == 0
    Job.objects.update(run_after=after(-1))
    assert swept()["unpaused"] == 1
    assert done_here(job).state == "succeeded"


def test_the_room_wanted_grows_with_the_checkpoints(runner: str, dan: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROUNDS_MIN_FREE_BYTES = 0
    job = ask(dan)
    fill = lambda at: (at / "weights").write_bytes(b"w" * 100_000)  # noqa: E731
    for step in (1, 2):
        checkpoints.write(keeping.folder_of(job), step=step, fill=fill, state={"seen": 1}, key=keeping.key_of(job))
    size = disk.bytes_in(keeping.folder_of(job) / "ckpt-2")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 0, round(2.2 * size) - 1))
    assert done_here(job).state == "paused"
    assert job.needs_bytes == round(2.2 * size)
    assert names(keeping.folder_of(job)) == ["ckpt-2"]  # what could be spared went first


def test_a_full_volume_that_hosts_share_pauses_a_job_too(
    runner: str, dan: User, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are kept there; there is all the room in the world in the data folder."""
    shared = tmp_path / "shared"
    shared.mkdir()
    settings.ROUNDS_SHARED_DIR = str(shared)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**10, 0, 400_000 if path == shared else 10**10))
    job = done_here(ask(dan))
    assert (job.state, job.error_code, job.error_detail) == (
        "paused", "disk_full", f"Need 1.0 MB, have 400.0 kB on the volume {disk.volume(shared)}.",
    )  # fmt: skip


@pytest.mark.parametrize("behaviour", ["disk_full_once", "no_room"])
def test_a_child_that_found_the_disk_full_pauses_its_job(runner: str, dan: User, behaviour: str) -> None:
    job = done_here(ask(dan, behaviour=behaviour))
    assert (job.state, job.error_code, job.attempts_without_progress) == ("paused", "disk_full", 0)
    assert "room" in job.error_detail or "need 1.0 MB, have 0.1 MB on the volume /data" in job.error_detail
    Job.objects.update(run_after=after(-1))
    assert claims.unpause(room=disk.missing) == 1
    assert done_here(job).state == "succeeded"


def test_a_full_disk_while_publishing_pauses_the_job(runner: str, dan: User) -> None:
    def full(job: Job, result: dict[str, Any], folder: Path) -> Any:
        raise OSError(28, "No space left on device")

    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "stage": full}))
    job = done_here(ask(dan))
    assert (job.state, job.error_code) == ("paused", "disk_full")


def test_a_child_that_says_nothing_for_too_long_is_ended(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_SILENT_SECONDS = 4  # on a busy machine a child needs most of them to start
    job = done_here(ask(dan, behaviour="hang"))
    assert (job.state, job.error_code, job.error_detail) == ("retry_wait", "silent", "The child said nothing for 4 s and was ended.")
    assert gone(pid_of(job))


@pytest.mark.parametrize("step", ["prepare", "lay_out", "work", "keep", "stage"])
def test_a_cancel_does_not_wait_for_what_takes_long(runner: str, dan: User, step: str) -> None:
    """Preparing inputs, hashing a checkpoint, taking in a model: the job is cancelled while the work is still at it."""
    fake, begun, over = kinds.get("fake"), threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        begun.set()
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "cancelled", seconds=20, why="it is cancelled meanwhile", every=0.05)
        over.set()

    kinds.register(kinds.Kind(**{**fake.__dict__, step: slow, **({"command": None} if step == "work" else {})}))
    job = ask(dan, steps=50, every=1, pause=0.02)

    def cancel() -> None:
        begun.wait(20)
        submissions.cancel(job=job, actor=None)
        connection.close()

    thread = threading.Thread(target=cancel)
    thread.start()
    done_here(job)
    thread.join()
    assert (job.state, over.is_set()) == ("cancelled", True)
    assert not ModelVersion.objects.exists()
    assert not keeping.folder_of(job).exists()


@pytest.mark.parametrize(
    "phase", ["claimed", "preparing", "tokenizing", "training", "checkpointing", "evaluating", "merging", "saving", "publishing"]
)
def test_a_cancel_reaches_every_phase(runner: str, dan: User, phase: str) -> None:
    job = ask(dan, steps=1000, pause=0.03, phase=phase)
    fake = kinds.get("fake")
    cancel = lambda *args: submissions.cancel(job=job, actor=None) and time.sleep(1.0)  # noqa: E731
    match phase:
        case "claimed":
            held = claims.claim(job_id=job.pk, worker="w")
            assert held is not None
            submissions.cancel(job=job, actor=None)
            attempts.supervise(held)
        case "preparing":
            kinds.register(kinds.Kind(**{**fake.__dict__, "prepare": cancel}))
            done_here(job)
        case "publishing":
            Job.objects.update(spec={**job.spec, "steps": 2})
            kinds.register(kinds.Kind(**{**fake.__dict__, "stage": lambda *args: cancel() or fake.stage(*args)}))
            done_here(job)
        case _:

            def in_phase() -> None:
                wait_until(lambda: Job.objects.get(pk=job.pk).phase == phase, seconds=20, why=f"it is {phase}", every=0.05)
                submissions.cancel(job=job, actor=None)

            with meanwhile(job, in_phase):
                done_here(job)
    job.refresh_from_db()
    assert (job.state, job.history.get().reason) == ("cancelled", "cancelled")
    assert not ModelVersion.objects.exists()
    pid = folder_of(job) / "pid"
    assert not pid.exists() or gone(int(pid.read_text()))


def test_a_job_that_holds_no_gpu_sees_none(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_GPUS = "GPU-a,GPU-b"
    devices.register()
    seen = {}
    for kind in ("fake", "fake-gpu"):
        job = done_here(ask(dan, kind=kind))
        seen[kind] = json.loads((folder_of(job) / "environment.json").read_text())["CUDA_VISIBLE_DEVICES"]
    assert seen == {"fake": "", "fake-gpu": "GPU-a"}


def test_a_finished_childs_result_outlasts_a_database_that_is_away_longer_than_the_lease(
    runner: str, dan: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement of ours gets through from the child's end on, for three leases; no sweeper runs meanwhile."""
    settings.ROUNDS_LEASE_SECONDS = 1
    real = {name: getattr(claims, name) for name in ("begin_publish", "heartbeat")}
    away_until: list[float] = []

    def through(name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            if name == "begin_publish" and not away_until:
                away_until.append(time.monotonic() + 3)
            if away_until and time.monotonic() < away_until[0]:
                raise OperationalError("the connection was refused")
            return real[name](*args, **named)

        return call

    for name in real:
        monkeypatch.setattr(claims, name, through(name))
    assert done_here(ask(dan)).state == "succeeded"
    assert ModelVersion.objects.count() == 1
