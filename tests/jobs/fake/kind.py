"""The kind "fake": everything a real kind does, with a trainer that needs no library. Its queue is named by the environment."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from jobs import kinds
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job
from modelhub import artifacts, versions
from modelhub.models import ModelVersion
from tests.jobs.fake import trainer
from training.engine import checkpoints

QUEUE = "ROUNDS_TEST_QUEUE"


def prepare(job: Job, folder: Path) -> None:
    if job.spec.get("unpreparable"):
        raise Unprepared("too_few_pairs", "3 pairs are too few; collect at least 16.")
    if "starts_from" in job.spec:
        parent = ModelVersion.objects.select_related("artifact").get(origin=job.spec["starts_from"])
        (folder / "parent").write_text(str(artifacts.folder(parent.artifact)))
    (folder / "spec.json").write_text(json.dumps(job.spec))


def command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, trainer.__file__, str(folder)]


def stage(job: Job, result: dict[str, Any], folder: Path) -> artifacts.Staged:
    return artifacts.stage(folder=folder / result["output"])


def publish(job: Job, result: dict[str, Any], staged: artifacts.Staged) -> dict[str, Any]:
    if job.spec.get("broken_publish"):
        versions.register(name=f"half-{job.pk}", kind="base", artifact=artifacts.save(staged), origin=str(job.public_id), actor=None)
        raise EngineFailed("bad_result", "The result is not what was promised.")
    version = versions.register(
        name=f"fake-{job.pk}", kind="base", artifact=artifacts.save(staged), origin=str(job.public_id), actor=job.requested_by
    )
    return {"version": str(version.public_id), **{name: result["metrics"][name] for name in ("stopped_at",) if name in result["metrics"]}}


def keep(job: Job, folder: Path, kept: Path, key: bytes) -> int | None:
    newest = checkpoints.newest(folder / "checkpoints", key)
    return checkpoints.keep(newest.path, kept, key).step if newest else None


def resume(job: Job, kept: Path, folder: Path, key: bytes) -> int | None:
    newest = checkpoints.newest(kept, key)
    return checkpoints.keep(newest.path, folder / "resume", key).step if newest else None


def register() -> None:
    """`fake` needs no GPU, `fake-gpu` does."""
    for name in ("fake", "fake-gpu"):
        kinds.register(
            kinds.Kind(
                name=name,
                queue=os.environ.get(QUEUE, "compute"),
                command=command,
                device=name == "fake-gpu",
                can_keep=True,
                prepare=prepare,
                keep=keep,
                resume=resume,
                stage=stage,
                publish=publish,
            )
        )
