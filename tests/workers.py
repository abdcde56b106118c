"""Real Celery workers and the real sweeper as processes of their own, on the test's database and data folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.db import connection

from jobs import attempts, claims
from jobs.models import Job

PROJECT = Path(__file__).resolve().parent.parent


def test_database_url() -> str:
    """The address of the test database, as a child process must be told it."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path="/" + connection.settings_dict["NAME"]))


def done_here(job: Job) -> Job:
    """Take a job that waits and do its work in this process, as a worker does; the job as it is then."""
    held = claims.claim(job_id=job.pk, worker=attempts.worker_name())
    assert held is not None
    attempts.supervise(held)
    job.refresh_from_db()
    return job


class Processes:
    """Starts and stops children; `kill` is what a power cut does."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "DATABASE_URL": test_database_url(),
            "ROUNDS_DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "OMP_NUM_THREADS": "1",
        }

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.data_dir / f"{name}.log").open("ab") as log:
            command = [sys.executable, *arguments]
            child = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self.children[name] = child
        return child

    def start_worker(self, name: str = "worker", slots: int = 2) -> subprocess.Popen[bytes]:
        return self._start(
            name, "-m", "celery", "-A", "config.celery:app", "worker", "-Q", "compute,io,default", "-c", str(slots), "-P", "prefork",
            "--without-mingle", "--without-gossip", "-n", f"{name}-{os.getpid()}@%h", "-l", "INFO",
        )  # fmt: skip

    def start_sweeper(self) -> subprocess.Popen[bytes]:
        return self._start("sweeper", "manage.py", "sweep")

    def kill(self, name: str) -> None:
        """SIGKILL to the whole group: no handler runs, nothing is released."""
        child = self.children.pop(name)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=20)

    def stop_all(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(timeout=10)
        self.children.clear()

    def log(self, name: str) -> str:
        return (self.data_dir / f"{name}.log").read_text(errors="replace")


def wait_until(what: Callable[[], object], *, seconds: float, why: str, every: float = 0.25) -> None:
    """Poll until `what` is true; a readable failure otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} s: {why}")
