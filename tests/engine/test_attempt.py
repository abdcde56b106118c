"""What every kind is given to work with: checkpoints while the lease lasts, a request to keep what there is, and room on the disk."""

import errno
import gc
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.engine.conftest import PROJECT
from training.engine import attempt as attempts
from training.engine import checkpoints, lifeline, rundir, spec
from training.engine.attempt import Attempt
from training.engine.errors import DiskFull

SPEC = spec.parse({
    "schema": 1, "kind": "generate", "job": "j", "seed": 1, "threads": 1, "models": {"policy": "/m"},
    "params": {"temperature": 0.5, "max_new_tokens": 4},
})  # fmt: skip
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    with rundir.Events(tmp_path) as events:
        yield Attempt(tmp_path, SPEC, events)


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w" * 1000)


def lease(folder: Path, seconds: float) -> None:
    (folder / lifeline.LEASE).write_text(str(lifeline.boot_clock() + seconds))


def test_garbage_is_collected_again_once_a_kind_is_loaded_or_could_not_be(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ModuleType("training.engine.kinds.generate")
    collecting: list[bool] = []
    loaded.run = lambda attempt: collecting.append(gc.isenabled())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
    attempts._run(attempt)
    monkeypatch.setitem(sys.modules, loaded.__name__, None)
    with pytest.raises(ImportError):
        attempts._run(attempt)
    assert [*collecting, gc.isenabled()] == [True, True]


def test_a_checkpoint_is_told_after_it_is_whole_and_the_two_newest_stay(attempt: Attempt) -> None:
    lease(attempt.folder, 60)
    for step in (10, 20, 30):
        attempt.checkpoint(step=step, fill=fill, state={"epoch": step / 10})
    told = [event["step"] for event in rundir.read_events(attempt.folder)[0] if event["type"] == "checkpoint"]
    assert told == [10, 20, 30]
    assert sorted(path.name for path in attempt.checkpoints.iterdir()) == ["ckpt-20", "ckpt-30"]


def test_an_attempt_goes_on_from_the_checkpoint_it_was_given_and_from_no_torn_one(attempt: Attempt, tmp_path: Path) -> None:
    made = attempt.checkpoint(step=7, fill=fill, state={"epoch": 0.5})
    checkpoints.keep(made.path, tmp_path / "resume", attempt.key)
    found = Attempt(tmp_path, SPEC, attempt.events).resume
    assert found is not None
    assert (found.step, found.state, found.path) == (7, {"epoch": 0.5}, tmp_path / "resume" / "ckpt-7")
    (tmp_path / "resume" / "ckpt-7" / "weights").write_bytes(b"v" * 1000)
    assert Attempt(tmp_path, SPEC, attempt.events).resume is None


def test_without_room_for_the_next_checkpoint_it_stops_before_it_writes(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt.checkpoint(step=1, fill=fill, state={})
    monkeypatch.setattr(attempts.shutil, "disk_usage", lambda folder: Usage(10_000, 7_801, 2_199))
    with pytest.raises(DiskFull, match=r"need 0\.0 MB, have 0\.0 MB on the volume /") as full:
        attempt.checkpoint(step=2, fill=fill, state={})
    assert (full.value.need, full.value.free, full.value.code, full.value.retryable) == (2200, 2199, "disk_full", True)
    assert [path.name for path in attempt.checkpoints.iterdir()] == ["ckpt-1"]
    monkeypatch.setattr(attempts.shutil, "disk_usage", lambda folder: Usage(10_000, 7_800, 2_200))
    assert attempt.checkpoint(step=2, fill=fill, state={}).step == 2


def test_a_disk_that_fills_while_saving_leaves_the_checkpoint_before(attempt: Attempt) -> None:
    def stumble(folder: Path) -> None:
        fill(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    attempt.checkpoint(step=1, fill=fill, state={})
    with pytest.raises(OSError, match="No space"):
        attempt.checkpoint(step=2, fill=stumble, state={})
    assert [path.name for path in attempt.checkpoints.iterdir()] == ["ckpt-1"]


def test_stop_and_keep_is_a_file_that_says_so(attempt: Attempt) -> None:
    assert not attempt.asked_to_keep
    (attempt.folder / "stop").write_text("keep")
    assert attempt.asked_to_keep


@pytest.mark.parametrize(("written", "live"), [(None, True), ("60", True), ("-0.001", False), ("", False), ("soon", False)])
def test_a_lease_is_live_until_its_deadline_on_the_boot_clock(tmp_path: Path, written: str | None, live: bool) -> None:
    if written is not None:
        ahead = written.replace(".", "").replace("-", "").isdigit()
        (tmp_path / "lease").write_text(str(lifeline.boot_clock() + float(written)) if ahead else written)
    assert lifeline.lease_is_live(tmp_path) is live


CHECKPOINT = """
import sys
from pathlib import Path
from tests.engine.test_attempt import SPEC, fill
from training.engine import rundir
from training.engine.attempt import Attempt
folder = Path(sys.argv[1])
with rundir.Events(folder) as events:
    Attempt(folder, SPEC, events).checkpoint(step=1, fill=fill, state={})
"""


@pytest.mark.parametrize("what", [["-c", CHECKPOINT], ["-m", "training.engine"]], ids=["a checkpoint", "a result"])
def test_a_child_whose_lease_is_over_ends_and_writes_nothing(tmp_path: Path, what: list[str]) -> None:
    """Frozen and woken up: another holds the job by now."""
    lease(tmp_path, -1)
    done = subprocess.run([sys.executable, *what, str(tmp_path)], cwd=PROJECT, env=os.environ, check=False, timeout=60)
    assert done.returncode == 75
    assert rundir.read_result(tmp_path) is None
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_result_for_want_of_room_says_how_much(tmp_path: Path) -> None:
    problem = attempts._known(OSError(errno.ENOSPC, "x"), tmp_path)
    assert isinstance(problem, DiskFull)
    assert "no room left:" in problem.message
    failure = attempts._failure(DiskFull(2200, 100, tmp_path), kind="dpo", started=0.0)
    assert json.loads(json.dumps(failure))["error"]["need_bytes"] == 2200


def test_a_disk_that_fails_is_tried_again(tmp_path: Path) -> None:
    """What was saved before is whole, and a network's file system may be back by then. Any other fault of files is ours."""
    told = attempts._known(OSError(errno.EIO, "Input/output error", "/secret/name"), tmp_path)
    assert (told.code, told.message, told.retryable) == ("io_error", "Input/output error", True)
    told = attempts._known(OSError(errno.EACCES, "Permission denied", "/secret/name"), tmp_path)
    assert (told.code, told.message, told.retryable) == ("internal", "PermissionError", False)
