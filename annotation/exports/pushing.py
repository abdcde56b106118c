"""The push's child of the job runner: `python -m annotation.exports.pushing ATTEMPT_DIR` sends a made data set to a hub.

It reads `spec.json` ({"repository", "endpoint", "message"}) and `output/`, takes the token from ROUNDS_HUB_TOKEN, and writes
`result.json` last. The hub's own client does the sending; it is the one module here that needs `huggingface_hub`, and the network.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from annotation.exports.__main__ import OUTPUT, error, finish
from annotation.exports.sealing import CHECKSUMS
from modelhub.child import hold


def main(folder: Path) -> int:
    hold()
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    # What the library keeps goes with the attempt.
    os.environ.update(HF_HOME=str(folder / "tmp"), HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", DO_NOT_TRACK="1")
    os.environ.pop("HF_HUB_OFFLINE", None)
    try:
        from huggingface_hub import HfApi
    except ImportError:
        said = "This worker has no huggingface_hub, which sends to a hub. Install it there, or download the data set and send it by hand."
        return finish(folder, error("no_client", said, retryable=False), 1)
    try:
        done = push(HfApi(endpoint=spec["endpoint"], token=os.environ["ROUNDS_HUB_TOKEN"]), folder / OUTPUT, spec)
    except Exception as failed:
        # Whatever the client raises, by what the hub answered: its words may hold addresses, and are not repeated.
        status = getattr(getattr(failed, "response", None), "status_code", None)
        what = f"The hub answered {status}." if status else f"The hub cannot be reached ({type(failed).__name__})."
        return finish(folder, error("hub_refused" if status else "hub_unreachable", what, retryable=status is None), 1)
    return finish(folder, {"ok": True, **done}, 0)


def push(api: Any, place: Path, spec: dict[str, str]) -> dict[str, Any]:
    """Make the repository, private, if it is not there, and send everything in one commit."""
    api.create_repo(spec["repository"], repo_type="dataset", private=True, exist_ok=True)
    done = api.upload_folder(
        repo_id=spec["repository"], repo_type="dataset", folder_path=place, commit_message=spec["message"], ignore_patterns=[CHECKSUMS]
    )  # fmt: skip
    return {"commit": str(done.oid or "")}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
