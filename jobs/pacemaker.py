"""Keeping the lease of a job: in the database, and told to the child on a clock that both can read."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from jobs import claims
from jobs.claims import Claim
from jobs.errors import Cancelled, LeaseLost, WorkerStops
from jobs.models import State

# What we write into an attempt's folder while its child runs: until when it may save, and the wish to stop and keep.
LEASE, STOP, KEEP = "lease", "stop", "keep"


def boot_clock() -> float:
    """Seconds since this machine started, also while it slept: one clock for us and the child, and none that anybody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Pacemaker:
    """Renews the lease from a thread of its own, so that preparing and staging large files cannot let it lapse.

    Each time it tells the child in its folder until when the job is ours, and, once someone asked for it, to stop and keep.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._done = threading.Event()
        self._said: tuple[str, int, int] | None = None
        self._folder: Path | None = None
        self._finished = False
        self._thread = threading.Thread(target=self._beat, name=f"pacemaker-{claim.job}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(timeout=settings.ROUNDS_LEASE_SECONDS)

    def serve(self, folder: Path) -> None:
        """From here on the lease is told in `folder`, beginning now. Raises LeaseLost or Cancelled."""
        self._folder = folder
        self._renew()
        self.check()

    def finish(self) -> None:
        """The child has ended well. From here a database that is away is waited for, and only a job that another took is lost."""
        self._finished = True

    def say(self, phase: str, done: int, total: int) -> None:
        """What the next heartbeat carries."""
        self._said = (phase, done, total)

    def check(self, stop_asked: bool = False) -> None:
        """Raises LeaseLost or Cancelled as soon as a heartbeat has found out, and WorkerStops when this worker was asked to stop."""
        if self.lost.is_set():
            raise LeaseLost(str(self.claim))
        if self.cancelled.is_set():
            raise Cancelled(str(self.claim))
        if stop_asked:
            raise WorkerStops

    def _renew(self) -> None:
        """One heartbeat. The lease we tell the child began before we asked, so it never outlasts the database's."""
        asked = boot_clock()
        phase, done, total = self._said or (None, None, None)
        heard = claims.heartbeat(self.claim, phase=phase, done=done, total=total, finished=self._finished)
        if heard.state == State.CANCELLING:
            self.cancelled.set()
        if self._folder is not None:
            # No room for a line: the child finds its lease over before it saves another checkpoint, for which there is none either.
            with suppress(OSError):
                _write(self._folder / LEASE, f"{asked + settings.ROUNDS_LEASE_SECONDS:.3f}\n")
                if heard.keep and not (self._folder / STOP).exists():
                    _write(self._folder / STOP, f"{KEEP}\n")

    def _beat(self) -> None:
        # Local waits by a clock of this machine; only the database's clock decides who holds the job.
        renewed = boot_clock()
        try:
            while not self._done.wait(settings.ROUNDS_HEARTBEAT_SECONDS):
                asked = boot_clock()
                try:
                    self._renew()
                except LeaseLost:
                    self.lost.set()
                    return
                except (OperationalError, InterfaceError):
                    connection.close()
                    if boot_clock() - renewed > settings.ROUNDS_LEASE_SECONDS and not self._finished:
                        self.lost.set()
                        return
                    continue
                renewed = asked
        finally:
            connection.close()


def _write(path: Path, text: str) -> None:
    """Whole or not at all: the child may look at any moment."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(path)
