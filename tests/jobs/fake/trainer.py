"""A trainer that obeys the contract of an attempt folder and learns nothing: it adds up the steps it has seen. Standard library only.

Started as a script. spec.json: {"behaviour": see below, "steps": n, "pause": seconds a step, "every": steps between checkpoints or 0,
"phase": what it says it is doing}.

succeed, fail, fail_once, crash (when all steps are done), crash_at_once, silent (no result), hang (no more events), deaf (to SIGTERM),
bad_exit, disk_full and disk_full_once (its result says so), no_room (not even for a result), hungry (a third of what it takes is a
child's of its own), large_file, curious (tries what it may not, and notes in tried.json what came of it).
"""

import errno
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.engine import attempt, checkpoints, lifeline


def write_model(folder: Path, value: float) -> None:
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + struct.pack("<6f", *[value] * 6))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}))


def curious(folder: Path, spec: dict[str, Any]) -> dict[str, str]:
    """What each attempt to leave the cage ends with: "done", or the name of the error."""

    def tried(act: Callable[[], object]) -> str:
        try:
            act()
        except OSError as problem:
            return errno.errorcode.get(problem.errno or 0, type(problem).__name__)
        return "done"

    def talk_to_oneself() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5):
            server.accept()[0].close()

    return {
        "network": tried(lambda: socket.create_connection(tuple(spec["address"]), 5).close()),
        "loopback": tried(talk_to_oneself),
        "database": tried(Path(spec["services"], "cluster").read_bytes),
        "other_folder": tried((folder.parent / "mine").touch),
        "own_folder": tried((folder / "mine").touch),
        "core": str(resource.getrlimit(resource.RLIMIT_CORE)[1]),
    }


def main() -> int:
    folder = Path(sys.argv[1])
    spec = json.loads((folder / "spec.json").read_text())
    behaviour, steps, pause, every = spec["behaviour"], spec.get("steps", 3), spec.get("pause", 0.02), spec.get("every", 0)
    first = folder.name == "1"
    lifeline.hold()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else lambda number, frame: stopped.set())
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
    (folder / "pid").write_text(str(os.getpid()))
    if behaviour == "crash_at_once":
        os.kill(os.getpid(), signal.SIGKILL)
    key = checkpoints.key_from_environment()
    found = checkpoints.newest(folder / "resume", key)
    step, seen = (found.step, found.state["seen"]) if found else (0, 0)

    def result(content: dict[str, object]) -> None:
        lifeline.leave_unless_live(folder)
        temporary = folder / ".result.json.tmp"
        temporary.write_text(json.dumps(content))
        temporary.rename(folder / "result.json")

    def fail(code: str, message: str, *, retryable: bool = False, **more: object) -> int:
        result({"schema": 1, "ok": False, "error": {"code": code, "message": message, "retryable": retryable, **more}})
        return 143 if code == "cancelled" else 1

    with (folder / "events.jsonl").open("a") as events:

        def tell(**event: object) -> None:
            events.write(json.dumps({"t": time.time(), **event}) + "\n")
            events.flush()

        while step < steps and not (folder / "stop").exists():
            tell(type="metric", step=step, name="loss", value=1 / (step + 1))
            step, seen = step + 1, seen + step
            tell(type="progress", phase=spec.get("phase", "training"), done=step, total=steps)
            sys.stdout.write(f"step {step - 1}\n")
            sys.stdout.flush()
            if every and step % every == 0:
                fill = lambda at: (at / "weights").write_bytes(b"w" * 1000)  # noqa: E731
                try:
                    checkpoints.write(
                        folder / "checkpoints", step=step, fill=fill, state={"seen": seen}, key=key,
                        live=lambda: lifeline.lease_is_live(folder),
                    )  # fmt: skip
                except checkpoints.LeaseOver:
                    os._exit(lifeline.EXIT)
                tell(type="checkpoint", step=step)
                checkpoints.prune(folder / "checkpoints", key)
            time.sleep(pause)
            if stopped.is_set():
                return fail("cancelled", "asked to stop")
    if behaviour == "hang":
        signal.pause()
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "curious":
        (folder / "tried.json").write_text(json.dumps(curious(folder, spec)))
    if behaviour == "hungry":
        taken = [bytearray(os.urandom(4096) * 256) for _ in range(20)]
        if os.fork() == 0:
            more = [bytearray(os.urandom(4096) * 256) for _ in range(10)]
            time.sleep(len(more) * len(taken))
        signal.pause()
    if behaviour == "large_file":
        try:
            with (folder / "weights").open("wb") as file:
                for _ in range(3):
                    file.write(b"w" * 2**20)
        except OSError as problem:
            told = attempt._known(problem, folder)
            return fail(told.code, told.message, retryable=told.retryable)
    if behaviour == "silent":
        return 0
    if behaviour == "no_room" and first:
        return lifeline.DISK_FULL
    if behaviour == "fail" or (behaviour == "fail_once" and first):
        return fail("out_of_memory", "The batch does not fit.", retryable=behaviour == "fail_once")
    if behaviour == "disk_full" or (behaviour == "disk_full_once" and first):
        return fail("disk_full", "need 1.0 MB, have 0.1 MB on the volume /data", retryable=True, need_bytes=1_000_000)
    write_model(folder / "output", float(seen))
    metrics: dict[str, object] = {"loss": 0.5, "seen": seen}
    if step < steps:
        metrics |= {"stopped_early": True, "stopped_at": step}
    result({"schema": 1, "ok": True, "kind": "fake", "output": "output", "metrics": metrics})
    return 3 if behaviour == "bad_exit" else 0


if __name__ == "__main__":
    sys.exit(main())
