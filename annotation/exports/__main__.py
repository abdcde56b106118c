"""The export's child of the job runner: `python -m annotation.exports ATTEMPT_DIR` makes files of laid-out rows. No database, no Django.

It reads `spec.json` ({"form": a key of FORMS}) and `laid/`, appends `events.jsonl`, writes `output/`, and last of all `result.json`.
"""

import errno
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from annotation import forks
from annotation.exports.forms import FORMS
from annotation.exports.laid import Say
from modelhub.child import hold

OUTPUT, LAID, RESULT = "output", "laid", "result.json"


def main(folder: Path) -> int:
    hold()
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    began = time.monotonic()
    (folder / OUTPUT).mkdir(mode=0o700)
    try:
        with (folder / "events.jsonl").open("a", encoding="utf-8") as events:
            manifest = FORMS[spec["form"]].write(folder / LAID, folder / OUTPUT, _teller(events))
    except OSError as failed:
        full = failed.errno in (errno.ENOSPC, errno.EDQUOT)
        return finish(
            folder, error("disk_full" if full else "unwritable", f"{type(failed).__name__}: {failed.strerror}.", retryable=full), 1
        )
    except forks.Failed as failed:
        return finish(folder, error("helper_ended", f"{failed} It is tried again.", retryable=True), 1)
    except ValueError as failed:
        # Our own words: counts and ids, never a text.
        return finish(folder, error("not_what_was_frozen", f"{failed}.", retryable=False), 1)
    size = sum(told["bytes"] for told in manifest["files"].values())
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cost = {
        "peak_rss_mb": round(max(one.ru_maxrss for one in used) / 1024, 1),
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used), 3),
    }
    seconds = round(time.monotonic() - began, 3)
    rows = {name: sum(told["rows"].values()) for name, told in manifest["configs"].items()}
    return finish(folder, {"ok": True, "bytes": size, "rows": rows, "seconds": seconds, **cost}, 0)


def _teller(events: Any) -> Say:
    def say(done: int, total: int) -> None:
        events.write(json.dumps({"type": "progress", "phase": "writing", "done": done, "total": total}) + "\n")
        events.flush()

    return say


def error(code: str, message: str, *, retryable: bool) -> dict[str, Any]:
    """A result that says what went wrong, and whether another try may go better."""
    return {"ok": False, "error": {"code": code, "message": message, "retryable": retryable}}


def finish(folder: Path, result: dict[str, Any], code: int) -> int:
    """Write the result, last of all and whole or not; the exit code."""
    aside = folder / ".result.json.tmp"
    with aside.open("w", encoding="utf-8") as stream:
        json.dump({"schema": 1, **result}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(folder / RESULT)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
