"""A hub that the operator named, to which a snapshot's data set can be pushed. There is none until the settings say so."""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import export_files, export_rights
from annotation.exports import card
from annotation.models import Snapshot
from jobs import kinds, submissions
from jobs.errors import Unprepared
from jobs.models import Job

KIND, QUEUE = "push", "io"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


class PushRefused(Exception):
    """Nothing is sent; the message says why and what can be done."""


@dataclass(frozen=True)
class Hub:
    """`endpoint` is its address, `space` the account or organisation that data sets go to; the token stays in the settings."""

    endpoint: str
    space: str


def configured() -> Hub | None:
    """The operator's hub, or None."""
    said = settings.ROUNDS_HUB
    if not said.get("endpoint") or not said.get("space") or not settings.ROUNDS_HUB_TOKEN:
        return None
    return Hub(said["endpoint"].rstrip("/"), said["space"])


def name_of(snapshot: Snapshot) -> str:
    """What its repository is called when nobody says otherwise."""
    return card.filename(snapshot.digest)


@transaction.atomic
def push(*, snapshot: Snapshot, level: str, name: str, actor: User) -> Job:
    """Have the data set of `snapshot` sent to the hub, into a private repository. Pushed twice, it is one job and the same files.

    Raises NotAllowed without the right to export at `level`, PushRefused where no hub is configured or the name is none.
    """
    export_rights.require(actor, level, snapshot)
    hub = configured()
    if hub is None:
        raise PushRefused(
            "No hub is configured, and this house sends nothing anywhere by itself. Download the data set and take it there, or ask the "
            "operator to set ROUNDS_HUB and ROUNDS_HUB_TOKEN."
        )
    if not _NAME.fullmatch(name):
        raise PushRefused("A repository's name has letters, digits, points, dashes and underscores, and begins with a letter or digit.")
    job = submissions.submit(
        kind=KIND,
        label=f"push {snapshot.digest[:12]} to {hub.space}/{name}"[:120],
        spec={"snapshot": snapshot.pk, "digest": snapshot.digest, "level": level, "repository": f"{hub.space}/{name}"},
        requested_by=actor,
        dedupe_key=f"push:{snapshot.digest[:32]}:{level}",
    )
    audit.record(actor, "snapshot.pushed", snapshot, digest=snapshot.digest, level=level, repository=f"{hub.space}/{name}")
    return job


def register() -> None:
    """Make it known to the runner. It is one of the few kinds that may use the network, for the operator's address alone."""
    kinds.register(
        kinds.Kind(name=KIND, queue=QUEUE, command=_command, prepare=_prepare, environment=_environment, publish=_publish, network=True)
    )


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", "annotation.exports.pushing", str(folder)]


def _environment(job: Job) -> dict[str, str]:
    return {"ROUNDS_HUB_TOKEN": settings.ROUNDS_HUB_TOKEN}


def _prepare(job: Job, folder: Path) -> None:
    hub, snapshot = configured(), Snapshot.objects.select_related("campaign__rubric").get(pk=job.spec["snapshot"])
    if hub is None:
        raise Unprepared("no_hub", "No hub is configured any more.")
    try:
        if job.requested_by is not None:
            export_rights.require(job.requested_by, job.spec["level"], snapshot)
    except export_rights.NotAllowed as refused:
        raise Unprepared("export_not_allowed", str(refused)) from refused
    made = export_files.folder(snapshot=snapshot, level=job.spec["level"])
    for path in (path for path in made.rglob("*") if path.is_file()):
        copy = folder / "output" / path.relative_to(made)
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.link(path, copy)
    said = {"repository": job.spec["repository"], "endpoint": hub.endpoint, "message": f"Snapshot {snapshot.digest}"}
    aside = folder / ".spec.json.tmp"
    aside.write_text(json.dumps(said), encoding="utf-8")
    aside.rename(folder / "spec.json")


def _publish(job: Job, result: dict[str, Any], staged: None) -> dict[str, Any]:
    return {"repository": job.spec["repository"], "commit": result["commit"]}
