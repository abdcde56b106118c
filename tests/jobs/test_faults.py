"""The fault harness in small: its instruments bend what they should, its judge sees what is wrong. `make faults` is the whole."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from kombu import Exchange, Queue

from benchmarks.faults import checker, fake, inhouse, torn
from benchmarks.faults.checker import Report
from benchmarks.faults.fake import brokendisk, kind, trainer, warm
from benchmarks.faults.history import History
from benchmarks.faults.proxy import Proxy
from jobs import attempts, kinds
from jobs.models import Job
from modelhub import artifacts
from modelhub.models import ModelVersion

QUEUE = f"faults-{os.getpid()}"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.jsonl")
    yield made
    made.close()


@pytest.fixture
def forks(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_BACK_OFF = [0.1]
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))
    monkeypatch.setattr(attempts, "subprocess", warm.subprocess_with_forks())
    kind.register(QUEUE)
    yield
    with current_app.connection_for_write() as broker:
        ours = Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)(broker.default_channel)
        ours.declare()
        ours.delete()


def judged() -> Report:
    report = Report("T", "test", 1)
    checker.jobs(report)
    checker.rework(report)
    checker.close(report)
    return report


@pytest.mark.django_db(transaction=True)
def test_a_killed_trainer_goes_on_from_what_was_kept_and_the_judge_is_content(forks: None) -> None:
    job = fake.ask(seed=7, steps=12, pause=0.03, every=4, bytes=2000, die=10)
    inhouse.attempt(job)
    assert (job.state, job.error_code) == ("retry_wait", "no_result")
    inhouse.come_back(job)
    inhouse.attempt(job)
    assert job.state == "succeeded"
    report = judged()
    assert report.wrong == []
    # Steps 9 and 10 were done twice: two of twelve.
    assert (report.jobs, report.published, report.duplicates, report.lost, report.rework) == (1, 1, 0, 0, 0.1667)


@pytest.mark.django_db(transaction=True)
def test_the_judge_names_what_is_wrong(forks: None) -> None:
    job = fake.ask(seed=7, steps=3, pause=0.0)
    inhouse.attempt(job)
    version = ModelVersion.objects.get()
    ModelVersion.objects.create(name="twin", kind="base", artifact=version.artifact, origin=f"{job.public_id}/2")
    Job.objects.filter(pk=job.pk).update(lease_until=job.ended_at)
    for entry in version.artifact.manifest:
        artifacts.blob(entry["sha256"]).unlink()
    report = judged()
    assert report.duplicates == 1
    assert sorted({wrong[:3].strip() for wrong in report.wrong}) == ["I16", "I5", "I7", "I8"]


@pytest.mark.parametrize("way", torn.WAYS)
@pytest.mark.django_db(transaction=True)
def test_torn_checkpoints_are_passed_over(forks: None, history: History, way: str) -> None:
    report = Report("T", "test", 1)
    torn.resume(1, way, random.Random(1), history, report)
    assert report.wrong == []
    assert [one.args["way"] for one in history.of("tear")] == [way]


def test_a_history_says_who_was_told_what(history: History) -> None:
    with history.asking("alice", "judge", key="k") as asked:
        asked.ok(judgement=3)
    with pytest.raises(OSError), history.asking("bob", "judge", key="l"):
        raise OSError
    assert [(one.client, one.outcome) for one in history.of("judge")] == [("alice", "ok"), ("bob", "unknown")]


def test_a_broken_disk_fails_at_the_call_it_was_told(tmp_path: Path) -> None:
    for call, there in ((1, []), (2, ["a"]), (3, ["a"]), (4, ["b"])):
        folder = tmp_path / str(call)
        folder.mkdir()
        disk = brokendisk.Broken({"where": "x", "call": call, "errno": "ENOSPC"}, tmp_path)
        with pytest.raises(OSError, match="No space"), disk.failing():
            _write_move_and_make(folder)
        assert [path.name for path in folder.iterdir()] == there
        assert (tmp_path / brokendisk.FIRED).exists()


def _write_move_and_make(folder: Path) -> None:
    with (folder / "a").open("wb", buffering=0) as out:
        out.write(b"1")
    (folder / "a").rename(folder / "b")
    (folder / "c").mkdir()


def test_the_chain_of_hashes_depends_on_every_step() -> None:
    value = trainer.begin(1)
    assert trainer.expected(1, 2) == trainer.advance(trainer.advance(value, 1), 2)
    assert trainer.expected(1, 2) != trainer.expected(2, 2)


def test_the_proxy_passes_resets_refuses_and_cuts(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        threading.Thread(target=_echo, args=[server], daemon=True).start()
        proxy = Proxy(tmp_path / "s")
        try:
            said = lambda seconds=20: _say(proxy.port, b"12345678", seconds)  # noqa: E731
            assert said() == b"12345678"
            proxy.obey("cut 3")
            assert said() != b"12345678"
            proxy.obey("silence")
            assert said(0.5) == b"nothing"
            proxy.obey("reset")
            assert said() == b"reset"
            proxy.obey("refuse")
            assert said() == b"refused"
            proxy.obey("pass")
            assert said() == b"12345678"
        finally:
            proxy.close()


def _echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=lambda c=connection: _answer(c), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while data := connection.recv(100):
            connection.sendall(data)


def _say(port: int, what: bytes, seconds: float) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
            client.sendall(what)
            return client.recv(100)
    except TimeoutError:
        return b"nothing"
    except ConnectionRefusedError:
        return b"refused"
    except ConnectionResetError:
        return b"reset"
