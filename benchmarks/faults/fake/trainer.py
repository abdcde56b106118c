"""A trainer that obeys the whole contract of an attempt folder and learns a chain of hashes, so that a wrong resume gives a wrong model.

Step n turns the value v into sha256(v, n); the value after the last step is the model. A checkpoint holds the value and some bulk that
can be recomputed from it. `expected(seed, steps)` is what an unbroken run would give.

spec.json: {"seed", "steps", "pause": seconds a step, "every": steps a checkpoint, "bytes": of bulk a checkpoint,
"behaviour": cooperative | deaf (ignores SIGTERM) | abrupt (dies of it at once), "hold": a phase to stay in until stopped,
"die": the step at which the first attempt is killed,
"disk": {"call": n, "errno": name, "where": checkpoint | saving | limit}: the n-th system call on files from there on fails, once a job}
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import struct
import threading
import time
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.faults.fake import brokendisk
from training.engine import checkpoints, lifeline, rundir
from training.engine.errors import DiskFull, EngineError

PHASES = ("tokenizing", "training", "checkpointing", "evaluating", "merging", "saving")
HOLD_SECONDS = 30
BULK = "bulk.bin"
CHUNK = 65_536


def begin(seed: int) -> str:
    return sha256(f"seed {seed}".encode()).hexdigest()


def advance(value: str, step: int) -> str:
    return sha256(f"{value} {step}".encode()).hexdigest()


def expected(seed: int, steps: int) -> str:
    """The value after `steps` steps without any interruption."""
    value = begin(seed)
    for step in range(1, steps + 1):
        value = advance(value, step)
    return value


def bulk(value: str, size: int) -> bytes:
    return random.Random(value).randbytes(size)


def write_model(folder: Path, value: str) -> None:
    """A model folder whose eight weights are the value."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "I32", "shape": [2, 4], "data_offsets": [0, 32]}}).encode()
    with (folder / "model.safetensors").open("wb") as out:
        for part in (len(header).to_bytes(8, "little"), header, bytes.fromhex(value)):
            out.write(part)
            out.flush()
    (folder / "config.json").write_text(json.dumps({"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}))


def value_of_model(path: Path) -> str:
    """The value that a model.safetensors of ours holds."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 + length :].hex()


class Trainer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
        self.key = checkpoints.key_from_environment()
        self.stopped = threading.Event()
        self.events = (folder / "events.jsonl").open("a")
        # One byte a step that was really done, for the count of what was done twice.
        self.steps = (folder / "steps").open("ab", buffering=0)
        wanted = self.spec.get("disk") if folder.name == "1" else None
        self.broken = brokendisk.Broken(wanted, folder) if wanted else None

    def stop(self, number: int, frame: FrameType | None) -> None:
        if self.spec["behaviour"] == "abrupt":
            os._exit(1)
        if self.spec["behaviour"] == "cooperative":
            self.stopped.set()

    def say(self, kind: str, **what: Any) -> None:
        self.events.write(json.dumps({"t": time.time(), "type": kind, **what}) + "\n")
        self.events.flush()

    def enter(self, phase: str, step: int) -> None:
        """Say it, and stay there when the spec asks for it. Raises `Stopped` when asked to stop."""
        self.say("progress", phase=phase, done=step, total=self.spec["steps"])
        if self.spec.get("hold") == phase:
            (self.folder / "held").touch()
            self.stopped.wait(HOLD_SECONDS)
            while self.spec["behaviour"] == "deaf" and not self.stopped.wait(HOLD_SECONDS):
                pass
        if self.stopped.is_set():
            raise Stopped

    def live(self) -> bool:
        return lifeline.lease_is_live(self.folder)

    def resume(self) -> tuple[int, str]:
        """Step and value to go on from. What was resumed, and whether it was whole, is left in `resumed.json` for the checker."""
        found = checkpoints.newest(self.folder / checkpoints.RESUME, self.key)
        if found is None:
            return 0, begin(self.spec["seed"])
        value = str(found.state["value"])
        whole = value == expected(self.spec["seed"], found.step) and (found.path / BULK).read_bytes() == bulk(value, self.spec["bytes"])
        (self.folder / "resumed.json").write_text(json.dumps({"step": found.step, "whole": whole}))
        return found.step, value

    def checkpoint(self, step: int, value: str) -> None:
        self.enter("checkpointing", step)

        def fill(folder: Path) -> None:
            with (folder / BULK).open("wb") as out:
                data = bulk(value, self.spec["bytes"])
                for start in range(0, len(data), CHUNK):
                    # Flushed each time: every one is a system call that may fail.
                    out.write(data[start : start + CHUNK])
                    out.flush()

        root = self.folder / checkpoints.FOLDER
        checkpoints.write(root, step=step, fill=fill, state={"value": value}, key=self.key, live=self.live)
        self.say("checkpoint", step=step)
        checkpoints.prune(root, self.key)
        self.enter("training", step)

    def train(self) -> str:
        step, value = self.resume()
        self.enter("tokenizing", step)
        self.enter("training", step)
        while step < self.spec["steps"]:
            step += 1
            value = advance(value, step)
            self.steps.write(b".")
            time.sleep(self.spec["pause"])
            if self.stopped.is_set():
                raise Stopped
            if step == self.spec.get("die") and self.folder.name == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            if step % self.spec["every"] == 0 and step < self.spec["steps"]:
                with self.disk("checkpoint"):
                    self.checkpoint(step, value)
        return value

    def disk(self, where: str) -> Any:
        """A disk that fails, when the spec has it fail here and this is the first attempt."""
        return self.broken.failing() if self.broken and self.broken.where in (where, "limit") else nullcontext()

    def run(self) -> dict[str, Any]:
        value = self.train()
        for phase in ("evaluating", "merging", "saving"):
            self.enter(phase, self.spec["steps"])
        with self.disk("saving"):
            write_model(self.folder / "output", value)
        return {"schema": 1, "ok": True, "kind": "fake", "output": "output", "metrics": {"attempt": int(self.folder.name)}}

    def result(self, content: dict[str, Any]) -> None:
        lifeline.leave_unless_live(self.folder)
        try:
            rundir.write_result(self.folder, content)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                os._exit(lifeline.DISK_FULL)
            raise


class Stopped(Exception):
    """Asked to stop."""


def _of_the_disk(error: OSError, folder: Path) -> dict[str, Any]:
    """What `training.engine.attempt` makes of it, the file-size limit counted as a full disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        full = DiskFull(0, shutil.disk_usage(folder).free, folder)
        return {"code": full.code, "message": full.message, "retryable": True, "need_bytes": 0}
    return {"code": "io_error", "message": f"{error.strerror} in {folder}.", "retryable": True}


def main(name: str) -> int:
    lifeline.hold()
    trainer = Trainer(Path(name))
    signal.signal(signal.SIGTERM, trainer.stop)
    (trainer.folder / "pid").write_text(str(os.getpid()))
    code, problem = 0, None
    try:
        trainer.result(trainer.run())
    except Stopped:
        code, problem = 143, {"code": "cancelled", "message": "asked to stop", "retryable": False}
    except checkpoints.LeaseOver:
        os._exit(lifeline.EXIT)
    except EngineError as error:
        code, problem = 1, {"code": error.code, "message": error.message, "retryable": error.retryable}
    except OSError as error:
        code, problem = 1, _of_the_disk(error, trainer.folder)
    if problem is not None:
        trainer.result({"schema": 1, "ok": False, "error": problem})
    return code
