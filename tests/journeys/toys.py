"""The toy corpus as a file, the tiny family built by the real worker, and waiting for jobs."""

import io
import json

from accounts.models import User
from jobs.models import Job, State
from tests.workers import wait_until
from training import families
from training.engine import toysamples


def corpus(rows: int) -> io.BytesIO:
    return io.BytesIO("".join(json.dumps(row) + "\n" for row in toysamples.samples(rows, seed=3)).encode())


def done(*jobs: Job) -> bool:
    """Whether all have succeeded; a failed one ends the wait with its reason."""
    for job in jobs:
        job.refresh_from_db()
        assert job.state not in (State.FAILED, State.CANCELLED), f"{job.label}: {job.error_code} {job.error_detail}"
    return all(job.state == State.SUCCEEDED for job in jobs)


def build_family(actor: User) -> None:
    """Thirteen jobs, as `make run` submits them, with fewer steps."""
    families.start(preset="test", actor=actor)

    def built() -> bool:
        progress = families.progress()
        assert progress is not None
        assert not progress.failed
        return progress.finished

    wait_until(built, seconds=600, why="the tiny family is built", every=1.0)
