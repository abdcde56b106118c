"""A trainer that obeys the contract of an attempt folder and learns nothing. Standard library only; started as a script.

spec.json: {"behaviour": succeed | fail | fail_once | crash | silent | deaf | bad_exit, "steps": n, "pause": seconds a step}
"""

import ctypes
import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path


def hold_lifeline() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(os.environ["ROUNDS_PARENT_PID"]):
        os._exit(75)
    descriptor = int(os.environ["ROUNDS_LIFELINE_FD"])

    def watch() -> None:
        while os.read(descriptor, 64):
            pass
        os._exit(75)

    threading.Thread(target=watch, daemon=True).start()


def write_model(folder: Path, value: float) -> None:
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + struct.pack("<6f", *[value] * 6))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}))


def main() -> int:
    folder = Path(sys.argv[1])
    spec = json.loads((folder / "spec.json").read_text())
    behaviour, steps, pause = spec["behaviour"], spec.get("steps", 3), spec.get("pause", 0.02)
    hold_lifeline()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else lambda number, frame: stopped.set())
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))

    def result(content: dict[str, object]) -> None:
        temporary = folder / ".result.json.tmp"
        temporary.write_text(json.dumps(content))
        temporary.rename(folder / "result.json")

    with (folder / "events.jsonl").open("a") as events:
        for step in range(steps):
            events.write(json.dumps({"t": time.time(), "type": "progress", "phase": "training", "done": step + 1, "total": steps}) + "\n")
            events.write(json.dumps({"t": time.time(), "type": "metric", "step": step, "name": "loss", "value": 1 / (step + 1)}) + "\n")
            events.flush()
            sys.stdout.write(f"step {step}\n")
            sys.stdout.flush()
            time.sleep(pause)
            if stopped.is_set():
                result({"schema": 1, "ok": False, "error": {"code": "cancelled", "message": "asked to stop", "retryable": False}})
                return 143
    first = folder.name == "1"
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "silent":
        return 0
    if behaviour == "fail" or (behaviour == "fail_once" and first):
        error = {"code": "out_of_memory", "message": "The batch does not fit.", "retryable": behaviour == "fail_once"}
        result({"schema": 1, "ok": False, "error": error})
        return 1
    write_model(folder / "output", float(os.getpid()))
    result({"schema": 1, "ok": True, "kind": "fake", "output": "output", "metrics": {"loss": 0.5}})
    return 3 if behaviour == "bad_exit" else 0


if __name__ == "__main__":
    sys.exit(main())
