"""Making a study's evidence pack is a job: a long lineage takes seconds, and nobody waits for a page that long. What was made is kept."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from accounts.models import User
from jobs import kinds, submissions
from jobs.errors import Unprepared
from jobs.models import Job, State
from modelhub import zipping
from training.evidence import pack
from training.models import Study, StudyState

KIND, QUEUE = "evidence", "io"


@dataclass(frozen=True)
class Made:
    """A pack that lies on the disk: its digest and name, bytes of the whole, (name, bytes) of every file, since when and for whom."""

    digest: str
    name: str
    bytes: int
    files: list[tuple[str, int]]
    at: datetime
    actor: User | None

    @property
    def archive(self) -> zipping.Member:
        return zipping.Member(f"{self.name}.zip", self.bytes, place_of(self.digest))


def place_of(digest: str) -> Path:
    """Where a pack lies: the same pack made twice is one file."""
    return Path(settings.DATA_DIR) / "evidence" / f"{digest}.zip"


def start(*, study: Study, actor: User | None) -> Job:
    """Have the pack made as things stand; asked for twice it is one job. Raises NotPacked before the study's end."""
    if study.state != StudyState.DECIDED:
        raise pack.NotPacked(pack.NO_VERDICT)
    return submissions.submit(
        kind=KIND, label=f"Evidence pack of study {study.pk}", spec={"study": str(study.public_id)}, requested_by=actor,
        dedupe_key=f"{KIND}:{study.public_id}",
    )  # fmt: skip


def newest_job(study: Study) -> Job | None:
    """The newest that was asked for, however it ended."""
    return _jobs(study).first()


def made(study: Study, digest: str = "") -> Made | None:
    """The newest pack that was made and lies there still, or the one of this digest."""
    found = _jobs(study).filter(state=State.SUCCEEDED).select_related("requested_by")
    for job in found.filter(result__digest=digest) if digest else found[:5]:
        told = job.result
        if place_of(told["digest"]).is_file():
            files = [(name, size) for name, size in told["files"]]
            assert job.ended_at is not None
            return Made(told["digest"], told["name"], told["bytes"], files, job.ended_at, job.requested_by)
    return None


def _jobs(study: Study) -> QuerySet[Job]:
    return Job.objects.filter(kind=KIND, spec__study=str(study.public_id)).order_by("-pk")


def register() -> None:
    """Make it known to the runner."""
    kinds.register(kinds.Kind(name=KIND, queue=QUEUE, work=_work, stage=_stage, publish=_publish))


def _work(job: Job, folder: Path, tell: kinds.Tell) -> dict[str, Any]:
    study = Study.objects.filter(public_id=job.spec["study"]).first()
    if study is None:
        raise Unprepared("no_study", "The study of this pack is not there.")
    tell("gathering votes, figures and lineage", 0, 0)
    try:
        return {"pack": pack.assemble(study)}
    except pack.NotPacked as problem:
        raise Unprepared("no_verdict", str(problem)) from problem


def _stage(job: Job, result: dict[str, Any], folder: Path) -> pack.Pack:
    """Into its place, written aside first: a file that is there is whole."""
    found: pack.Pack = result["pack"]
    place = place_of(found.digest)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = place.with_name(f".{job.public_id}.writing")
    with aside.open("wb") as out:
        for block in found.archive.blocks():
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(place)
    return found


def _publish(job: Job, result: dict[str, Any], staged: pack.Pack) -> dict[str, Any]:
    files = [[name, len(content)] for name, content in staged.files.items()]
    return {"digest": staged.digest, "name": staged.name, "bytes": staged.archive.size, "files": files}
