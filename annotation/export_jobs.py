"""Long exports as jobs. The worker lets the database lay rows out as files; a child without database, confined, makes the export of them.

So the transaction is short, the hours of writing can be watched and cancelled, and what parses clinical text for so long holds neither
secrets nor a connection. A child with a database would have been one process less and one address more to guard.
"""

import json
import sys
from pathlib import Path
from typing import Any

from django.db import transaction

from accounts.models import User
from annotation import export_files, export_rights
from annotation.exports import levels
from annotation.exports.forms import FORMS
from annotation.models import Snapshot
from jobs import kinds, submissions
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job

QUEUE = "io"
LAID, OUTPUT = "laid", "output"
# Rows and answers together; so many are written while somebody waits, in a second or two.
AT_ONCE = 20_000


def is_long(snapshot: Snapshot) -> bool:
    counts = snapshot.counts
    return bool(sum(counts["used"].values()) + counts["judgements"] > AT_ONCE)


def under_way(snapshot: Snapshot, form: str, level: str) -> Job | None:
    return Job.objects.unended().filter(dedupe_key=_key(snapshot, form, level)).first()


@transaction.atomic
def start(*, snapshot: Snapshot, form: str, level: str, actor: User) -> Job:
    """Have the export made in the background; asked for twice it is one job. Raises NotAllowed without the right to it."""
    export_rights.require(actor, level, snapshot)
    return submissions.submit(
        kind=export_rights.KIND,
        label=f"export {snapshot.digest[:12]} as {form}, {levels.LABELS[level].lower()}",
        spec={"snapshot": snapshot.pk, "digest": snapshot.digest, "form": form, "level": level},
        requested_by=actor,
        dedupe_key=_key(snapshot, form, level),
    )


def _key(snapshot: Snapshot, form: str, level: str) -> str:
    return f"export:{snapshot.digest[:32]}:{form}:{level}"


def register() -> None:
    """Make it known to the runner."""
    kinds.register(
        kinds.Kind(
            name=export_rights.KIND, queue=QUEUE, command=_command, lay_out=_lay_out, stage=_stage, publish=_publish, leaves=(LAID, OUTPUT)
        )
    )


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", "annotation.exports", str(folder)]


def _lay_out(job: Job, folder: Path, tell: kinds.Tell) -> None:
    snapshot = _snapshot(job)
    _still_allowed(job, snapshot)
    laid = folder / LAID
    laid.mkdir(mode=0o700, exist_ok=True)
    export_files.lay_out(snapshot, job.spec["level"], laid, tell)
    aside = folder / ".spec.json.tmp"
    aside.write_text(json.dumps({"form": job.spec["form"], "digest": snapshot.digest}), encoding="utf-8")
    aside.rename(folder / "spec.json")


def _snapshot(job: Job) -> Snapshot:
    found = Snapshot.objects.select_related("campaign__rubric").filter(pk=job.spec["snapshot"]).first()
    if found is None or job.spec["form"] not in FORMS:
        raise Unprepared("no_snapshot", "The snapshot of this export is not there.")
    return found


def _still_allowed(job: Job, snapshot: Snapshot) -> None:
    """A job may have waited, or is tried anew, and the right was taken back meanwhile."""
    if job.requested_by is None:
        raise Unprepared("export_not_allowed", "Nobody asks for this export.")
    try:
        export_rights.require(job.requested_by, job.spec["level"], snapshot)
    except export_rights.NotAllowed as refused:
        raise Unprepared("export_not_allowed", str(refused)) from refused


def _stage(job: Job, result: dict[str, Any], folder: Path) -> Path:
    """Into its place; the rows it was made of go at once."""
    for path in (folder / LAID).iterdir():
        path.unlink()
    snapshot = _snapshot(job)
    try:
        return export_files.keep(snapshot, job.spec["form"], job.spec["level"], folder / OUTPUT)
    except FileNotFoundError as gone:
        raise EngineFailed("no_files", "The files that were promised are not there.", retryable=True) from gone


def _publish(job: Job, result: dict[str, Any], staged: Path) -> dict[str, Any]:
    return {name: result[name] for name in ("bytes", "rows", "seconds", "peak_rss_mb") if name in result}
