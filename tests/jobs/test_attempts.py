"""One attempt, supervised in this very process: the child obeys a contract, or breaks it, and the job ends as it should."""

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from jobs import attempts, kinds, submissions
from jobs.models import Job
from modelhub.models import Artifact, ModelVersion
from tests.jobs.conftest import ask, gone
from tests.workers import done_here, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def folder_of(job: Job, number: int = 1) -> Path:
    return attempts.folder_of(job, number)


@contextmanager
def meanwhile(job: Job, act: Any) -> Iterator[None]:
    """Do something to the job once its child has started."""

    def wait_and_act() -> None:
        wait_until(lambda: (folder_of(job) / "pid").exists(), seconds=30, why="the child starts", every=0.05)
        act()
        connection.close()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def pid_of(job: Job) -> int:
    return int((folder_of(job) / "pid").read_text())


def test_a_job_ends_in_one_model_version(runner: str, dan: User) -> None:
    job = done_here(ask(dan, steps=4, pause=0.3))
    version = ModelVersion.objects.get()
    assert job.state == "succeeded"
    assert job.result == {"version": str(version.public_id)}
    assert version.origin == str(job.public_id)
    assert (version.parameters, version.architecture) == (6, "Phi3ForCausalLM")
    assert (job.progress_done, job.progress_total) == (4, 4)
    assert gone(pid_of(job))


def test_events_reach_the_kind_in_order_and_once(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fake = kinds.get("fake")
    ingest = lambda job, events: seen.extend(e["step"] for e in events if e["type"] == "metric")  # noqa: E731
    kinds.register(kinds.Kind(**{**fake.__dict__, "ingest": ingest}))
    done_here(ask(dan, steps=5, pause=0.2))
    assert seen == [0, 1, 2, 3, 4]


def test_what_is_laid_out_before_the_child_begins_is_watched_too(runner: str, dan: User) -> None:
    shown: list[tuple[str, int, int]] = []

    def lay_out(job: Job, folder: Path, tell: kinds.Tell) -> None:
        for done in (3, 7):
            tell("laying out", done, 9)
            wait_until(lambda done=done: Job.objects.get().progress_done == done, seconds=20, why="a heartbeat carries it", every=0.05)
            shown.append(Job.objects.values_list("phase", "progress_done", "progress_total").get())

    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "lay_out": lay_out}))
    assert done_here(ask(dan)).state == "succeeded"
    assert shown == [("laying out", 3, 9), ("laying out", 7, 9)]


def test_a_kind_has_a_child_or_does_its_work_itself() -> None:
    for wrong in ({}, {"command": lambda job, folder: [], "work": lambda job, folder, tell: {}}):
        with pytest.raises(ValueError, match="one of the two"):
            kinds.Kind(name="x", queue="io", **wrong)  # type: ignore[arg-type]


def test_the_child_sees_no_secret_and_no_database(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUNDS_SECRET_KEY", "canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    job = done_here(ask(dan))
    environment = json.loads((folder_of(job) / "environment.json").read_text())
    assert not {"DATABASE_URL", "CELERY_BROKER_URL", "ROUNDS_SECRET_KEY", "DJANGO_SETTINGS_MODULE", "HTTPS_PROXY"} & set(environment)
    assert environment["HOME"] == str(folder_of(job) / "tmp")
    assert environment["ROUNDS_PARENT_PID"] == str(os.getpid())


def test_only_our_account_may_look_into_an_attempt(runner: str, dan: User) -> None:
    job = done_here(ask(dan))
    for folder in (folder_of(job), folder_of(job).parent, folder_of(job).parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_failure_the_engine_names_ends_the_job(runner: str, dan: User) -> None:
    job = done_here(ask(dan, behaviour="fail"))
    assert (job.state, job.error_code, job.error_detail) == ("failed", "out_of_memory", "The batch does not fit.")
    assert not ModelVersion.objects.exists()


def test_a_failure_that_may_pass_is_tried_again(runner: str, dan: User) -> None:
    job = done_here(ask(dan, behaviour="fail_once"))
    assert (job.state, job.error_code) == ("retry_wait", "out_of_memory")


@pytest.mark.parametrize(
    ("behaviour", "code", "detail"),
    [
        ("crash", "no_result", "ended with signal 9 and left no result. The system kills processes so when memory runs out."),
        ("silent", "no_result", "ended with exit code 0 and left no result."),
        ("bad_exit", "bad_exit", "reported success but ended with exit code 3."),
    ],
)
def test_a_child_that_breaks_its_word_is_tried_again(runner: str, dan: User, behaviour: str, code: str, detail: str) -> None:
    job = done_here(ask(dan, behaviour=behaviour))
    assert (job.state, job.error_code) == ("retry_wait", code)
    assert job.error_detail.endswith(detail)
    assert not ModelVersion.objects.exists()


def test_what_cannot_be_prepared_fails_at_once_and_says_why(runner: str, dan: User) -> None:
    job = done_here(ask(dan, unpreparable=True))
    assert (job.state, job.error_code, job.error_detail) == ("failed", "too_few_pairs", "3 pairs are too few; collect at least 16.")
    assert not (folder_of(job) / "pid").exists()


def test_a_kind_that_nobody_knows_any_more_fails(runner: str, dan: User) -> None:
    job = ask(dan)
    Job.objects.filter(pk=job.pk).update(kind="alchemy")
    assert done_here(job).error_code == "unknown_kind"


def test_a_fault_of_ours_is_told_by_place_never_by_its_text(runner: str, dan: User, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(job: Job, folder: Path) -> None:
        raise ValueError("Mrs Canary, 81, was admitted with")

    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "prepare": stumble}))
    job = done_here(ask(dan))
    assert (job.state, job.error_code) == ("retry_wait", "internal_error")
    assert job.error_detail.startswith("ValueError at test_attempts.py:")
    assert "Canary" not in job.error_detail + caplog.text


def test_a_result_that_cannot_be_published_leaves_nothing(runner: str, dan: User) -> None:
    job = done_here(ask(dan, broken_publish=True))
    assert (job.state, job.error_code) == ("failed", "bad_result")
    assert not ModelVersion.objects.exists()
    assert not Artifact.objects.exists()


def test_cancelling_stops_the_child(runner: str, dan: User) -> None:
    job = ask(dan, steps=1000, pause=0.05)
    with meanwhile(job, lambda: submissions.cancel(job=job, actor=None)):
        started = time.monotonic()
        done_here(job)
    assert (job.state, job.history.get().reason) == ("cancelled", "cancelled")
    assert time.monotonic() - started < 15
    assert gone(pid_of(job))
    assert not ModelVersion.objects.exists()


def test_a_child_that_does_not_listen_is_killed(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "CANCEL_GRACE_SECONDS", 1.0)
    job = ask(dan, behaviour="deaf", steps=1000, pause=0.05)
    with meanwhile(job, lambda: submissions.cancel(job=job, actor=None)):
        done_here(job)
    assert job.state == "cancelled"
    assert gone(pid_of(job))


def test_losing_the_lease_kills_the_child_and_publishes_nothing(runner: str, dan: User) -> None:
    job = ask(dan, steps=1000, pause=0.05)
    with meanwhile(job, lambda: Job.objects.filter(pk=job.pk).update(token=77)):
        done_here(job)
    assert (job.state, job.token) == ("running", 77)  # whoever holds token 77 goes on
    assert gone(pid_of(job))


def test_a_worker_that_is_told_to_stop_gives_the_job_back(runner: str, dan: User) -> None:
    job = ask(dan, steps=1000, pause=0.05)
    with meanwhile(job, lambda: os.kill(os.getpid(), signal.SIGUSR2)):
        done_here(job)
    assert (job.state, job.attempts, job.attempts_without_progress) == ("retry_wait", 1, 0)
    assert job.history.get().reason == "worker_stopped"
    assert gone(pid_of(job))


def test_a_long_job_outlives_many_leases(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_LEASE_SECONDS = 1
    job = done_here(ask(dan, steps=12, pause=0.25))
    assert job.state == "succeeded"


def test_staging_may_take_longer_than_a_lease(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_LEASE_SECONDS = 1
    fake = kinds.get("fake")

    def slow_stage(job: Job, result: dict[str, Any], folder: Path) -> Any:
        time.sleep(2.5)
        return fake.stage(job, result, folder)

    kinds.register(kinds.Kind(**{**fake.__dict__, "stage": slow_stage}))
    assert done_here(ask(dan)).state == "succeeded"


def test_events_are_read_by_byte_offset_and_torn_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert attempts.read_events(path, 0) == ([], 0)
    path.write_bytes('{"type":"log","message":"é\u2028"}\nnot json\n[1]\n{"type":"pro'.encode())
    found, offset = attempts.read_events(path, 0)
    assert found == [{"type": "log", "message": "é\u2028"}]
    assert attempts.read_events(path, offset) == ([], offset)
    with path.open("ab") as more:
        more.write(b'gress"}\n')
    found, offset = attempts.read_events(path, offset)
    assert found == [{"type": "progress"}]
    assert offset == path.stat().st_size


@pytest.mark.parametrize("content", ["", "[]", '{"ok": "yes"}', "{"])
def test_a_result_that_says_nothing_is_no_result(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(attempts.EngineFailed) as refusal:
        attempts.read_result(tmp_path, 0)
    assert (refusal.value.code, refusal.value.retryable) == ("bad_result", True)
