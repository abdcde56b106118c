"""One attempt from spec to result: what every kind gets to work with, and what becomes of its failure."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from training.engine import checkpoints, lifeline, ranks, rundir, versions
from training.engine.checkpoints import Checkpoint, LeaseOver
from training.engine.errors import Cancelled, DiskFull, EngineError, InputError
from training.engine.spec import Spec

OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # fmt: skip
# Room asked for before a checkpoint is written, in sizes of the one before: itself, its successor, and a little.
ROOM = 2.2
# What gloo and NCCL say when the process at the other end is gone.
PEER_LOST = ("closed by peer", "Connection reset", "Connection refused", "Broken pipe", "Timed out", "NCCL")
FULL = (errno.ENOSPC, errno.EDQUOT)
# A disk or a network's file system that answers wrongly now may answer later, and the checkpoints before it are whole.
FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
# What safetensors says of EFBIG: its errors carry no number.
TOO_LARGE = "File too large"


@dataclass(frozen=True)
class Outcome:
    """What a kind hands back. ``items`` names a file in ``output/``; ``model`` says that ``output/`` is a model."""

    metrics: dict[str, Any] = field(default_factory=dict)
    items: str | None = None
    model: bool = False


class Attempt:
    """The folder, the spec, the events and the stop flag of the running attempt."""

    def __init__(self, folder: Path, spec: Spec, events: rundir.Events) -> None:
        self.folder, self.spec, self.events = folder, spec, events
        self.inputs, self.output = folder / rundir.INPUTS, folder / rundir.OUTPUT
        self.stopping = False
        self.key = checkpoints.key_from_environment()
        self.checkpoints = folder / checkpoints.FOLDER
        self._last_bytes: int | None = None

    def check(self) -> None:
        """Raises ``Cancelled`` once SIGTERM has come; called between steps, where nothing is half done."""
        if self.stopping:
            raise Cancelled("stopped on request")

    @property
    def asked_to_keep(self) -> bool:
        """Whether to end the training at this step and save the model as usual; one look at a file, made once a step."""
        return rundir.asked_to_keep(self.folder)

    @cached_property
    def resume(self) -> Checkpoint | None:
        """What an earlier attempt left to go on from, verified again; its files are read by this path and no other."""
        return checkpoints.newest(self.folder / checkpoints.RESUME, self.key)

    def checkpoint(self, *, step: int, fill: Callable[[Path], object], state: Mapping[str, Any], keep: int = 2) -> Checkpoint:
        """Save all that going on from ``step`` needs: ``fill(folder)`` writes files, ``state`` is small and JSON. The newest ``keep`` stay.

        Raises ``DiskFull`` before anything is written when there is no room, and ends the process when the lease has run out.
        """
        self.events.progress("checkpointing", step, step)
        self._make_room()
        try:
            made = checkpoints.write(
                self.checkpoints, step=step, fill=fill, state=state, key=self.key, live=lambda: lifeline.lease_is_live(self.folder)
            )
        except LeaseOver:
            os._exit(lifeline.EXIT)
        self._last_bytes = made.bytes
        self.events.checkpoint(step)
        checkpoints.prune(self.checkpoints, self.key, keep=keep)
        return made

    def _make_room(self) -> None:
        """2.2 times the last one's size must be free; without it all but the newest go first."""
        if self._last_bytes is None:
            self._last_bytes = self.resume.bytes if self.resume else 0
        need = round(ROOM * self._last_bytes)
        if shutil.disk_usage(self.folder).free < need:
            checkpoints.prune(self.checkpoints, self.key, keep=1)
            if (free := shutil.disk_usage(self.folder).free) < need:
                raise DiskFull(need, free, self.folder)

    def rows(self, name: str, **fields: type) -> list[dict[str, Any]]:
        """The rows of one input file. Raises ``InputError`` when it is missing, empty or malformed."""
        rows = list(rundir.read_jsonl(self.inputs / name, fields))
        if not rows:
            raise InputError(f"inputs/{name} has no rows")
        return rows

    def source(self, name: str) -> Path:
        """The folder of one of the spec's models."""
        return Path(self.spec.models[name])

    def write_items(self, rows: Iterable[Mapping[str, Any]]) -> str:
        self.output.mkdir(exist_ok=True)
        rundir.write_jsonl(self.output / "items.jsonl", rows)
        return "items.jsonl"


def prepare_environment(threads: int | None) -> None:
    """Offline and quiet unless the parent decided otherwise; before anything heavy is imported."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads or 1))


def main(folder: Path) -> int:
    """Run the attempt in ``folder``. Returns the exit code: 0 done, 1 failed, 143 cancelled; 75 without a result when the lease ran out."""
    started = time.monotonic()
    result: dict[str, Any]
    try:
        spec = rundir.read_spec(folder)
    except EngineError as problem:
        prepare_environment(None)
        _write_result(folder, _failure(problem, kind=None, started=started))
        return 1
    prepare_environment(spec.threads)
    with rundir.Events(folder) if ranks.first() else rundir.Unheard() as events:
        attempt = Attempt(folder, spec, events)
        _stop_on_sigterm(attempt)
        events.progress("preparing", 0, 1)
        try:
            outcome = _run(attempt)
            attempt.check()
            result = {
                "schema": 1, "ok": True, "kind": spec.kind, "output": rundir.OUTPUT if outcome.model else None,
                "items": outcome.items, "metrics": outcome.metrics, **_measures(started),
            }  # fmt: skip
            _write_result(folder, result)
        except EngineError as problem:
            result = _failure(problem, kind=spec.kind, started=started)
            _write_result(folder, result)
        except Exception as problem:
            result = _failure(_known(problem, folder), kind=spec.kind, started=started)
            _write_result(folder, result)
    if result["ok"]:
        return 0
    return 143 if result["error"]["code"] == Cancelled.code else 1


def _write_result(folder: Path, result: dict[str, Any]) -> None:
    """Last of all, and only while the job is still ours. A disk too full even for this has an exit code of its own."""
    lifeline.leave_unless_live(folder)
    if not ranks.first():
        return
    try:
        rundir.write_result(folder, result)
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        os._exit(lifeline.DISK_FULL)


def _run(attempt: Attempt) -> Outcome:
    # Each kind is a module that imports only what it needs: merging must not wait for transformers.
    gc.disable()  # importing makes a million objects and hardly any garbage (8 MB): looking for it is a seventh of the time to a first step
    try:
        module = importlib.import_module(f"training.engine.kinds.{attempt.spec.kind.replace('-', '_')}")
    finally:
        gc.enable()
    attempt.check()
    gc.freeze()  # a million library objects that never die; collecting around them slows every step
    outcome: Outcome = module.run(attempt)
    return outcome


def _stop_on_sigterm(attempt: Attempt) -> None:
    def stop(signum: int, frame: FrameType | None) -> None:
        attempt.stopping = True

    signal.signal(signal.SIGTERM, stop)


def _known(problem: Exception, folder: Path) -> EngineError:
    """An unexpected exception as a result. Its own message stays out: it may quote a text."""
    where = traceback.extract_tb(problem.__traceback__)
    for frame in where:
        sys.stderr.write(f"  {frame.filename}:{frame.lineno} in {frame.name}\n")
    sys.stderr.write(f"{type(problem).__name__}\n")
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return EngineError("out of memory", code="out_of_memory", retryable=True)
    if isinstance(problem, OSError) and problem.errno in FULL:
        return DiskFull(0, shutil.disk_usage(folder).free, folder)
    if (isinstance(problem, OSError) and problem.errno == errno.EFBIG) or TOO_LARGE in str(problem):
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return EngineError(f"a file would be larger than the {most / 1e9:g} GB that one may have here", code="file_too_large")
    if ranks.world() > 1 and isinstance(problem, RuntimeError) and any(words in str(problem) for words in PEER_LOST):
        return EngineError("another process of this training ended", code="rank_lost", retryable=True)
    last = where[-1] if where else None
    place = f" at {Path(last.filename).name}:{last.lineno}" if last else ""
    if isinstance(problem, OSError) and problem.errno in FAILING:
        return EngineError(f"{os.strerror(problem.errno)}{place}", code="io_error", retryable=True)
    return EngineError(f"{type(problem).__name__}{place}", code="internal")


def _failure(problem: EngineError, *, kind: str | None, started: float) -> dict[str, Any]:
    error: dict[str, Any] = {"code": problem.code, "message": problem.message, "retryable": problem.retryable}
    if isinstance(problem, DiskFull):
        error["need_bytes"] = problem.need
    return {"schema": 1, "ok": False, "kind": kind, "error": error, **_measures(started)}


def _measures(started: float) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "environment": versions.environment(),
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(spent.ru_utime + spent.ru_stime, 3),
        "peak_rss_mb": round(peak / (1024 if sys.platform == "linux" else 1024 * 1024), 1),
    }
