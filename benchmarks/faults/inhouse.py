"""Attempts supervised in the harness's own process, one after the other: for lanes that are about files and not about workers."""

from __future__ import annotations

import time
from pathlib import Path

from jobs import attempts, claims, sweeper
from jobs.models import ENDED, Job, State


def attempt(job: Job) -> Job:
    """One attempt, from claim to end."""
    held = claims.claim(job_id=job.pk, worker=attempts.worker_name())
    assert held is not None, f"job {job.pk} is {Job.objects.get(pk=job.pk).state}"
    attempts.supervise(held)
    job.refresh_from_db()
    return job


def come_back(job: Job, seconds: float = 20) -> Job:
    """Sweep until the job may be claimed again, or has ended."""
    end = time.monotonic() + seconds
    while job.state not in (State.QUEUED, *ENDED) and time.monotonic() < end:
        sweeper.sweep()
        time.sleep(0.05)
        job.refresh_from_db()
    return job


def folder(job: Job, number: int = 1) -> Path:
    return attempts.folder_of(job, number)
