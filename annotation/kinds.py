"""The kind of work this app gives the runner: reading a file in a child without a database, and storing it in one transaction."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation import import_child, imports, incoming, staging
from annotation.models import Content, Import
from annotation.records import ImportRefused
from jobs import attempts, kinds
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job

QUEUE = "io"


def register() -> None:
    """Make it known to the runner."""
    kinds.register(
        kinds.Kind(
            name=imports.KIND, queue=QUEUE, command=_command, prepare=_prepare, ingest=_ingest, stage=_stage, write=_write,
            publish=_publish, again=_again, leaves=(import_child.OUTPUT,),
        )
    )  # fmt: skip


@dataclass
class _Staged:
    """Between `stage` and `publish`: what is held, and the counts once it is stored."""

    imported: Import
    held: imports.Held | None
    folder: Path
    counts: dict[str, Any]


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", "annotation.import_child", str(folder)]


def _prepare(job: Job, folder: Path) -> None:
    imported = imports.of_job(job)
    if not incoming.path_of(imported).exists():
        raise Unprepared("import.gone", "The file is not there any more. Send it again.")
    staging.drop(imported.public_id.hex)  # what an attempt that was killed has left
    if imported.content == Content.SAMPLES and not job.spec["dry"] and imports.compares(imported):
        staging.make(imported.public_id.hex)
    aside = folder / ".spec.json.tmp"
    aside.write_text(json.dumps(imports.spec_of(imported, dry=job.spec["dry"])), encoding="utf-8")
    aside.rename(folder / "spec.json")


def _ingest(job: Job, events: list[dict[str, Any]]) -> None:
    """Parts that have to be compared are staged while the child goes on reading; and how fast it goes, for the page: the runner itself
    keeps how far it is."""
    for event in events:
        if event.get("type") == "part" and str(event["name"]).endswith(".copy"):
            made = imports.of_job(job)
            if not staging.exists(made.public_id.hex):
                break
            part = attempts.folder_of(job, job.attempts) / import_child.OUTPUT / Path(event["name"]).name
            staging.take(staging.Staged(staging.name_of(made.public_id.hex)), part)
    told = [event for event in events if event.get("type") == "progress" and event.get("seconds")]
    if told:
        last = told[-1]
        pace = {"rows": last["rows"], "rows_per_s": round(last["rows"] / last["seconds"])}
        if last["done"]:
            pace["seconds_left"] = round(last["seconds"] * (last["total"] - last["done"]) / last["done"])
        Import.objects.filter(public_id=job.spec["import"], state="received").update(counts={"pace": pace})


def _stage(job: Job, result: dict[str, Any], folder: Path) -> _Staged:
    """Outside any transaction: the report is kept, conflicts are looked for, and what is refused is said on the import's own page."""
    imported = imports.of_job(job)
    imports.keep_report(imported, folder)
    try:
        imports.check(imported, result)
        held = None if job.spec["dry"] else imports.stage(imported, result, folder)
    except ImportRefused as refused:
        staging.drop(imported.public_id.hex)
        imports.refuse(imported, refused.problems, refused.total)
        many = "problem" if refused.total == 1 else "problems"
        raise EngineFailed("import_refused", f"{refused.total} {many}; nothing was stored. The import's page names them.") from refused
    return _Staged(imported, held, folder, {})


def _write(job: Job, result: dict[str, Any], staged: _Staged, tell: kinds.Tell) -> None:
    if staged.held is not None:
        try:
            staged.counts = imports.store(staged.imported, result, staged.held, staged.folder, job.requested_by, tell=tell)
        except ImportRefused as refused:
            raise EngineFailed("import_refused", f"Nothing was stored. First: {refused.problems[0].message}") from refused


def _publish(job: Job, result: dict[str, Any], staged: _Staged) -> dict[str, Any]:
    if staged.held is None:
        imports.note(staged.imported, result, {"dry": True})
        return {"rows": result["tally"]["rows"], "dry": True}
    imports.finish(staged.imported, result, staged.counts, job.requested_by)
    told = {"rows": result["tally"]["rows"], "seconds": result["seconds"], "peak_rss_mb": result["peak_rss_mb"]}
    return told | {name: value for name, value in staged.counts.items() if isinstance(value, int | str)}


def _again(failed: Job, job: Job) -> None:
    Import.objects.filter(job=failed).update(job=job, state="received", counts={})
