"""The kinds of work the hub gives the runner: bringing a folder in, and rehashing the store. Both are children without a database."""

import json
import sys
from pathlib import Path
from typing import Any

from accounts.models import User
from jobs import kinds, submissions
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job
from modelhub import artifacts, child, imports, incoming, verification
from modelhub.artifacts import Staged
from modelhub.errors import Corrupt, NameTaken, Refused
from modelhub.intake import Brought
from modelhub.models import Artifact, ModelVersion

VERIFY = "verify-models"
QUEUE = "io"
# Damage that a job's result lists; the count is of all.
MOST_LISTED = 50


def register() -> None:
    """Make both known to the runner."""
    kinds.register(kinds.Kind(name=incoming.KIND, queue=QUEUE, command=_command, prepare=_prepare_import, stage=_stage, publish=_publish))
    kinds.register(kinds.Kind(name=VERIFY, queue=QUEUE, command=_command, prepare=_prepare_verify, publish=_say))


def verify(*, actor: User | None) -> Job:
    """Have every stored file rehashed. One such job is under way at a time."""
    return submissions.submit(
        kind=VERIFY, label="Verify all models", spec={"task": "verify"}, requested_by=actor, dedupe_key=VERIFY, max_attempts=2
    )


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", "modelhub.child", str(folder)]


def _prepare_import(job: Job, folder: Path) -> None:
    """The whole path, and for an adapter what the base is made of: the child has no database to ask."""
    base = None
    if wanted := job.spec.get("base"):
        version = ModelVersion.objects.select_related("artifact").filter(pk=wanted["version"]).first()
        if version is None:
            raise Unprepared("model.base_mismatch", "The adapter's base is not here any more.")
        try:
            found = imports.base_of(version)
        except (Refused, Corrupt) as error:
            raise Unprepared("model.base_mismatch", str(error)) from error
        base = {"names": list(found.names), "shapes": {name: list(shape) for name, shape in found.shapes.items()}}
    path = incoming.place() / job.spec["folder"]
    _write(folder, {"task": "import", "folder": str(path), "base": base, "same_base": job.spec["same_base"]})


def _stage(job: Job, result: dict[str, Any], folder: Path) -> Staged:
    try:
        return artifacts.stage(folder=folder / child.OUTPUT)
    except Refused as refused:
        raise EngineFailed(refused.code, str(refused)) from refused


def _publish(job: Job, result: dict[str, Any], staged: Staged) -> dict[str, Any]:
    wanted = job.spec.get("base")
    brought = Brought(tuple(result["names"]), tuple(result["left_out"]), result["removed"], result["licence"])
    try:
        done = imports.register(
            brought=brought, staged=staged, source_name=job.spec["folder"], name=job.spec["name"], kind=job.spec["kind"],
            licence=job.spec["licence"] or None, base=ModelVersion.objects.get(pk=wanted["version"]) if wanted else None,
            origin=str(job.public_id), actor=job.requested_by,
        )  # fmt: skip
    except NameTaken as taken:
        raise EngineFailed("name_taken", str(taken)) from taken
    said = {"version": str(done.version.public_id), "name": done.version.name, "left_out": list(done.left_out)[:MOST_LISTED]}
    return said | ({"removed": done.removed} if done.removed else {}) | ({"already": True} if done.already else {})


def _prepare_verify(job: Job, folder: Path) -> None:
    _write(folder, {"task": "verify", "blobs": verification.blobs(Artifact.objects.all())})


def _say(job: Job, result: dict[str, Any], staged: None) -> dict[str, Any]:
    damaged = verification.name(result["damaged"])
    listed = [{"file": one.file, "what": one.what, "versions": list(one.versions)[:10]} for one in damaged[:MOST_LISTED]]
    return {"files": result["files"], "bytes": result["bytes"], "damaged": len(damaged), "list": listed}


def _write(folder: Path, spec: dict[str, Any]) -> None:
    aside = folder / ".spec.json.tmp"
    aside.write_text(json.dumps(spec), encoding="utf-8")
    aside.rename(folder / "spec.json")
