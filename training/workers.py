"""A compute worker and a sweeper for a command that finds none running, for as long as the command runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from jobs import pulses

START_SECONDS = 90


@contextmanager
def ensured(*, say: Callable[[str], None]) -> Iterator[None]:
    """Somebody runs jobs inside this block: whoever does already, else children of ours, which end with it."""
    if not pulses.missing():
        say("the running worker takes the jobs")
        yield
        return
    say("no worker is running: starting one, and a sweeper, for this command")
    children = [_start("worker", *_worker()), _start("sweeper", "manage.py", "sweep")]
    try:
        _wait_until_heard(children)
        yield
    finally:
        for child in children:
            _stop(child)


def _worker() -> tuple[str, ...]:
    slots = os.environ.get("ROUNDS_COMPUTE_SLOTS") or str(max(1, os.cpu_count() or 1))
    return (
        "-m", "celery", "-A", "config.celery", "worker", "-Q", "compute,io,default", "-n", f"loop-{os.getpid()}@%h", "-P", "prefork",
        "-c", slots, "-l", "WARNING", "--without-mingle", "--without-gossip",
    )  # fmt: skip


def _start(name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    logs = Path(settings.DATA_DIR) / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A child that inherited our connection would share its socket.
    connection.close()
    with (logs / f"loop-{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=settings.PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip


def _wait_until_heard(children: "list[subprocess.Popen[bytes]]") -> None:
    end = time.monotonic() + START_SECONDS
    while pulses.missing():
        if any(child.poll() is not None for child in children):
            raise RuntimeError(f"A worker of this command ended at once; see {settings.DATA_DIR}/logs/loop-*.log.")
        if time.monotonic() > end:
            raise RuntimeError(f"No worker was heard of within {START_SECONDS} s; see {settings.DATA_DIR}/logs/loop-*.log.")
        time.sleep(0.2)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
