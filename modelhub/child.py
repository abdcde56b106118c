"""The hub's own children of the job runner: `python -m modelhub.child ATTEMPT_DIR` brings a foreign folder in, or rehashes the store.

Like the engine it knows no Django and no database: it reads `spec.json`, appends `events.jsonl` and writes `result.json` last. Standard
library, and NumPy for the bits of weights.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from modelhub import intake
from modelhub.adapters import Base
from modelhub.refusals import Refused

OUTPUT = "output"
BLOCK = 2**20
GONE = 75
_PR_SET_PDEATHSIG = 1
# Two events a second say enough.
PAUSE = 0.5

Tell = Callable[[str, int, int], None]


def main(folder: Path) -> int:
    hold()
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    with (folder / "events.jsonl").open("a", encoding="utf-8") as events:
        tell = _teller(events)
        try:
            done = {"import": bring, "verify": verify}[spec["task"]](folder, spec, tell)
        except Refused as refused:
            return _end(folder, {"ok": False, "error": {"code": refused.code, "message": str(refused), "retryable": False}}, 1)
        except OSError as error:
            full = error.errno in (28, 122)
            code = "disk_full" if full else "unreadable"
            said = f"{type(error).__name__}: {error.strerror}."
            return _end(folder, {"ok": False, "error": {"code": code, "message": said, "retryable": full}}, 1)
    return _end(folder, {"ok": True, **done}, 0)


def bring(folder: Path, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    wanted = spec.get("base")
    base = Base(tuple(wanted["names"]), {name: tuple(shape) for name, shape in wanted["shapes"].items()}) if wanted else None
    brought = intake.bring(
        Path(spec["folder"]), folder / OUTPUT, adapter=base is not None, base=base, same_base=bool(spec.get("same_base")), tell=tell
    )
    return {
        "output": OUTPUT, "names": list(brought.names), "left_out": list(brought.left_out), "removed": brought.removed,
        "licence": brought.licence,
    }  # fmt: skip


def verify(folder: Path, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    return {"files": len(spec["blobs"]), "bytes": sum(entry["size"] for entry in spec["blobs"]), "damaged": rehash(spec["blobs"], tell)}


def rehash(blobs: list[dict[str, Any]], tell: Tell) -> list[dict[str, Any]]:
    """Those of the files {"path", "sha256", "size"} that are not what they were, with "what" is wrong; none is changed."""
    total, done, damaged = sum(entry["size"] for entry in blobs), 0, []
    for entry in blobs:
        path, hashed, read = Path(entry["path"]), sha256(), 0
        try:
            with path.open("rb") as stream:
                while block := stream.read(BLOCK):
                    hashed.update(block)
                    read += len(block)
                    tell("checking", done + read, total)
            what = "" if hashed.hexdigest() == entry["sha256"] else "is damaged: its digest has changed"
            if read != entry["size"]:
                what = f"has {read} bytes, not {entry['size']}"
        except FileNotFoundError:
            what = "is missing from the store"
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
        if what:
            damaged.append({**entry, "what": what})
        done += entry["size"]
    return damaged


def _teller(events: Any) -> Tell:
    last = [0.0]

    def tell(phase: str, done: int, total: int) -> None:
        """Progress in kilobytes: the runner counts in 32 bits."""
        now = time.monotonic()
        if now - last[0] >= PAUSE or done == total:
            last[0] = now
            event = {"t": round(time.time(), 3), "type": "progress", "phase": phase, "done": done // 1024, "total": total // 1024}
            events.write(json.dumps(event) + "\n")
            events.flush()

    return tell


def _end(folder: Path, result: dict[str, Any], code: int) -> int:
    aside = folder / ".result.json.tmp"
    with aside.open("w", encoding="utf-8") as stream:
        json.dump({"schema": 1, **result}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(folder / "result.json")
    return code


def hold() -> None:
    """Die with the supervisor: by the kernel's signal, by comparing parents once, and by the pipe that only the supervisor holds open."""
    if parent := os.environ.get("ROUNDS_PARENT_PID"):
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):
            os._exit(GONE)
    if descriptor := os.environ.get("ROUNDS_LIFELINE_FD"):
        threading.Thread(target=_watch, args=(int(descriptor),), daemon=True).start()


def _watch(descriptor: int) -> None:
    try:
        while os.read(descriptor, 64):
            pass
    finally:
        os._exit(GONE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
