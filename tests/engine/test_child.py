"""A child process that stops when asked, dies with its supervisor, and always says what became of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the engine's packages are not installed")

from tests.engine.conftest import PROJECT, environment, laid_out
from training.engine import rundir

pytestmark = pytest.mark.engine

LONG = {"steps": 100_000, "batch_size": 2, "block": 32, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64}
COMMAND = [sys.executable, "-m", "training.engine"]


def long_attempt(tmp_path: Path) -> Path:
    return laid_out(tmp_path / "attempt", "build-base", LONG, {}, None, 1)


def wait_for_training(folder: Path, seconds: float = 120) -> None:
    """Training is visible in the events, as it is to a supervisor."""
    offset, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        events, offset = rundir.read_events(folder, offset)
        if any(event.get("phase") == "training" for event in events):
            return
        time.sleep(0.1)
    raise AssertionError("no training step in time")


def gone(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_sigterm_stops_at_the_next_step_with_a_result(tmp_path: Path) -> None:
    folder = long_attempt(tmp_path)
    with subprocess.Popen([*COMMAND, str(folder)], cwd=PROJECT, env=environment(), stderr=subprocess.PIPE) as child:
        wait_for_training(folder)
        child.terminate()
        assert child.wait(30) == 143
    result = rundir.read_result(folder)
    assert result is not None
    assert not result["ok"]
    assert result["error"]["code"] == "cancelled"
    assert not (folder / "output").exists()


def test_the_closed_pipe_ends_the_child_at_once_and_without_a_result(tmp_path: Path) -> None:
    folder = long_attempt(tmp_path)
    ours, theirs = os.pipe()
    env = environment(ROUNDS_LIFELINE_FD=str(ours), ROUNDS_PARENT_PID=str(os.getpid()))
    with subprocess.Popen([*COMMAND, str(folder)], cwd=PROJECT, env=env, pass_fds=[ours], stderr=subprocess.DEVNULL) as child:
        os.close(ours)
        wait_for_training(folder)
        os.close(theirs)
        assert child.wait(20) == 75
    assert rundir.read_result(folder) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")
def test_a_killed_supervisor_takes_the_child_along(tmp_path: Path) -> None:
    folder = long_attempt(tmp_path)
    supervisor = (
        "import os, subprocess, sys, time\n"
        "env = {**os.environ, 'ROUNDS_PARENT_PID': str(os.getpid())}\n"
        "child = subprocess.Popen(sys.argv[1:], env=env)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", supervisor, *COMMAND, str(folder)], cwd=PROJECT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for_training(folder)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        assert gone(pid)
    assert rundir.read_result(folder) is None


def test_a_child_whose_parent_is_already_another_does_not_start(tmp_path: Path) -> None:
    folder = long_attempt(tmp_path)
    child = subprocess.run([*COMMAND, str(folder)], cwd=PROJECT, env=environment(ROUNDS_PARENT_PID="1"), timeout=30)
    assert child.returncode == 75
    assert not (folder / "events.jsonl").exists()


def failed(folder: Path) -> dict[str, Any]:
    child = subprocess.run([*COMMAND, str(folder)], cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=60)
    assert child.returncode == 1
    result = rundir.read_result(folder)
    assert result is not None
    assert not result["ok"]
    return result


def test_a_bad_spec_is_a_result_that_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"schema": 1, "kind": "sft"}))
    error = failed(tmp_path)["error"]
    assert error["code"] == "bad_spec"
    assert error["message"].endswith("is missing")


def test_a_missing_input_is_a_result_that_names_the_file(tmp_path: Path) -> None:
    folder = laid_out(tmp_path / "a", "generate", {"temperature": 0, "max_new_tokens": 2}, {"policy": tmp_path}, None, 1)
    assert failed(folder)["error"] == {"code": "bad_input", "message": "inputs/prompts.jsonl is missing", "retryable": False}
