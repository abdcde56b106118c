"""Two processes train one model: as one would, stopping together, and ending with whoever started them. Real torchrun, gloo, CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the engine's packages are not installed")

from jobs import confinement
from tests.engine import tiny
from tests.engine.conftest import PROJECT, Done, environment
from tests.engine.test_child import gone
from training import launch
from training.engine import rundir, spec
from training.engine.errors import SpecError

pytestmark = pytest.mark.engine
PARAMS = {
    "learning_rate": 5e-3, "epochs": 2, "batch_size": 2, "lora": {"r": 4, "alpha": 8}, "targets": "soft", "checkpoint_steps": 2,
    "watch_tokens": 4, "schedule": "cosine", "warmup_steps": 1,
}  # fmt: skip
STEPS = 6  # twelve pairs, two rounds, two processes with two pairs each a step


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("untrained"))


def laid_out(folder: Path, model: Path, *, processes: int, **changes: Any) -> Path:
    inputs = {"train.jsonl": tiny.pairs(12), "validation.jsonl": tiny.pairs(4, seed=5), "watch.jsonl": tiny.watch()}
    tiny.lay_out(folder, PARAMS | changes, model, inputs)
    raw = json.loads((folder / rundir.SPEC).read_text()) | {"processes": processes}
    rundir.write_atomic(folder / rundir.SPEC, spec.dumps(spec.parse(raw)))
    return folder


def waited_for(folder: Path) -> Done:
    """In a network of their own, as the runner starts them: the processes find each other on its loopback."""
    command = confinement.command(launch.command(folder, rundir.read_spec(folder).processes), folder=folder, network=False)
    (folder / "tmp").mkdir(exist_ok=True)
    surroundings = environment() | {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "tmp")}
    child = subprocess.run(command, cwd=PROJECT, env=surroundings, capture_output=True, text=True, timeout=240, check=False)
    return Done(folder, child.returncode, child.stderr)


def figures(run: Done, name: str) -> dict[int, float]:
    return {event["step"]: event["value"] for event in run.events if event["type"] == "metric" and event["name"] == name}


def visited(run: Done) -> list[list[str]]:
    return [json.loads(line)["ids"] for line in (run.folder / "order.jsonl").read_text().splitlines()]


def weights(run: Done) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(run.model / "model.safetensors")


@pytest.fixture(scope="module")
def together(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return waited_for(laid_out(tmp_path_factory.mktemp("together") / "a", model, processes=2))


def test_two_processes_learn_what_one_learns_from_the_same_pairs_a_step(together: Done, model: Path, tmp_path: Path) -> None:
    import torch

    alone = tiny.in_fork(laid_out(tmp_path / "alone", model, processes=1, gradient_accumulation=2))
    assert (together.returncode, together.metrics["steps"], alone.metrics["steps"]) == (0, STEPS, STEPS)
    assert visited(together) == visited(alone)
    assert sorted(name for step in visited(together)[:3] for name in step) == sorted(row["id"] for row in tiny.pairs(12))
    for name in ("loss", "rewards/margins", "grad_norm", "eval_loss"):
        assert figures(together, name) == pytest.approx(figures(alone, name), abs=1e-5), name
    assert together.metrics["reference_forwards"] == alone.metrics["reference_forwards"]
    ours, theirs = weights(together), weights(alone)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-5
    assert not all(torch.equal(ours[name], tensor) for name, tensor in _load(model).items())


def _load(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_only_one_process_writes(together: Done) -> None:
    progress = [event["done"] for event in together.events if event.get("phase") == "training"]
    assert progress == list(range(1, STEPS + 1))
    assert [event["step"] for event in together.events if event["type"] == "checkpoint"] == [2, 4, 6]
    assert [(event["step"], event["index"]) for event in together.events if event["type"] == "sample"] == [
        (step, index) for step in (0, 2, 4, 6) for index in (0, 1)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")
def test_a_killed_supervisor_takes_all_along_and_the_next_attempt_goes_on_and_stops_together(
    together: Done, model: Path, tmp_path: Path
) -> None:
    """The second attempt is asked, by a file, to stop and keep: both processes do so at the same step."""
    first = laid_out(tmp_path / "1", model, processes=2)
    pids = _killed_after_a_checkpoint(first, step=2)
    assert len(pids) == 3, "an agent and two ranks"
    assert all(gone(pid) for pid in pids)
    assert rundir.read_result(first) is None
    again = tiny.go_on(first, tmp_path / "2")
    (again / rundir.STOP).write_text(rundir.KEEP)
    second = waited_for(again)
    assert second.returncode == 0
    resumed = second.metrics["resumed_from"]
    assert resumed in (2, 4)
    assert (second.metrics["stopped_early"], second.metrics["stopped_at"]) == (True, resumed + 1)
    assert figures(second, "loss") == {resumed + 1: figures(together, "loss")[resumed + 1]}
    assert visited(second) == visited(together)[: resumed + 1]


def _killed_after_a_checkpoint(folder: Path, *, step: int) -> list[int]:
    """Run the attempt under a supervisor that is killed for good once a checkpoint was made; the processes there were."""
    supervisor = (
        "import os, subprocess, sys, time\n"
        "env = {**os.environ, 'ROUNDS_PARENT_PID': str(os.getpid())}\n"
        "child = subprocess.Popen(sys.argv[1:], env=env, start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", supervisor, *launch.command(folder, 2)], cwd=PROJECT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        agent = int(parent.stdout.readline())
        deadline = time.monotonic() + 200
        while not any(event["type"] == "checkpoint" and event["step"] >= step for event in rundir.read_events(folder)[0]):
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.02)
        pids = [agent, *_children(agent)]
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
    return pids


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def test_the_launcher_starts_follows_and_cancels_all_of_them(model: Path, tmp_path: Path) -> None:
    """SIGTERM to the one process the launcher knows reaches both, and they stop at the same step."""
    folder = laid_out(tmp_path / "long", model, processes=2, epochs=500, checkpoint_steps=100_000)
    launcher = launch.Local()
    handle = launcher.submit(folder)
    try:
        deadline = time.monotonic() + 200
        while not any(event.get("phase") == "training" for event in rundir.read_events(folder)[0]):
            assert launcher.poll(handle) is None, launcher.logs(handle)
            assert time.monotonic() < deadline, "no training step in time"
            time.sleep(0.05)
        launcher.cancel(handle)
        while launcher.poll(handle) is None:
            assert time.monotonic() < deadline, "still there"
            time.sleep(0.05)
    finally:
        launcher.cancel(handle)
    result = rundir.read_result(folder)
    assert result is not None
    assert result["error"]["code"] == "cancelled"
    assert "SignalException" in launcher.logs(handle)
    steps = [event["done"] for event in rundir.read_events(folder)[0] if event.get("phase") == "training"]
    assert visited(Done(folder, 143, ""))[-1], "the last step was taken by both"
    assert len(visited(Done(folder, 143, ""))) == steps[-1]
    assert all(len(step) == 4 for step in visited(Done(folder, 143, "")))


def test_a_kind_that_trains_alone_refuses_company(model: Path, tmp_path: Path) -> None:
    raw = {
        "schema": 1, "kind": "merge", "job": "j", "seed": 1, "threads": 1, "processes": 2, "models": {"base": "/a", "expert": "/b"},
        "params": {"method": "slerp", "t": 0.5},
    }  # fmt: skip
    with pytest.raises(SpecError, match="processes: must be 1 for merge"):
        spec.parse(raw)
    with pytest.raises(SpecError, match="processes: must be above 0"):
        spec.parse(raw | {"processes": 0})
