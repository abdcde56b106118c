"""The kind "fake", as the real ones are written: prepare, keep, resume, stage, publish."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.faults.fake import brokendisk, warm
from benchmarks.faults.house import QUEUE
from jobs import kinds
from jobs.models import Job
from modelhub import artifacts, versions
from training.engine import checkpoints


def prepare(job: Job, folder: Path) -> None:
    if job.spec.get("hold") == "preparing":
        _hold(folder, 0.5)
    (folder / "spec.json").write_text(json.dumps(job.spec))


def command(job: Job, folder: Path) -> list[str]:
    return [warm.MARK, str(folder)]


def keep(job: Job, folder: Path, kept: Path, key: bytes) -> int | None:
    newest = checkpoints.newest(folder / checkpoints.FOLDER, key)
    if newest is None:
        return None
    checkpoints.keep(newest.path, kept, key)
    checkpoints.prune(kept, key)
    return newest.step


def resume(job: Job, kept: Path, folder: Path, key: bytes) -> int | None:
    newest = checkpoints.newest(kept, key)
    if newest is None:
        return None
    return checkpoints.keep(newest.path, folder / checkpoints.RESUME, key).step


def stage(job: Job, result: dict[str, Any], folder: Path) -> artifacts.Staged:
    if job.spec.get("hold") == "publishing":
        _hold(folder, 0.5)
    if job.spec.get("hold") == "race":
        (folder / "held").touch()
        time.sleep(job.spec["race"])
    wanted = job.spec.get("disk")
    broken = wanted is not None and wanted["where"] == "stage" and folder.name == "1"
    with brokendisk.Broken(wanted, folder).failing() if broken else nullcontext():
        return artifacts.stage(folder=folder / result["output"])


def _hold(folder: Path, seconds: float) -> None:
    (folder / "held").touch()
    time.sleep(seconds)


def publish(job: Job, result: dict[str, Any], staged: artifacts.Staged) -> dict[str, Any]:
    version = versions.register(
        name=f"fake-{job.pk}", kind="base", artifact=artifacts.save(staged), origin=str(job.public_id), metrics=result["metrics"],
        actor=job.requested_by,
    )  # fmt: skip
    return {"version": str(version.public_id)}


def register(queue: str = QUEUE) -> None:
    """ "fake", and "fake-gpu", which waits for a GPU where its worker's machine has some."""
    for name in ("fake", "fake-gpu"):
        kinds.register(
            kinds.Kind(
                name=name, queue=queue, device=name == "fake-gpu", command=command, prepare=prepare, keep=keep, resume=resume,
                stage=stage, publish=publish,
            )
        )  # fmt: skip
