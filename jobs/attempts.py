"""One attempt of one job: a child process without database, broker or secrets, watched from a worker slot.

The child dies with us: it reads a pipe whose only writer we are, asks the kernel for a parent-death signal, and compares its parent
with `ROUNDS_PARENT_PID`. We stop it when the lease is lost, when someone cancels, and when this worker is told to stop.
"""

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from uuid import uuid4

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from jobs import claims, kinds
from jobs.claims import Claim
from jobs.errors import Cancelled, EngineFailed, LeaseLost, Unprepared
from jobs.kinds import Kind
from jobs.models import Job, State

log = logging.getLogger(__name__)

LOG, EVENTS, RESULT = "engine.log", "events.jsonl", "result.json"
TICK_SECONDS = 0.25
# How long a child may take to stop by itself. A worker that stops has less time than a person who cancels.
CANCEL_GRACE_SECONDS = 30.0
STOP_GRACE_SECONDS = 5.0
READ_BYTES = 4 * 2**20
# What a child sees of our environment. No database address, no broker, no secret, no proxy.
PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
)  # fmt: skip


class WorkerStops(Exception):
    """This worker was told to stop: give the job back at once, so that another need not wait for the lease to end."""


def worker_name() -> str:
    """Unique to one claim: host, process and a random part, so that a claim whose answer was lost can be found again."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:12]}"


def folder_of(job: Job, number: int) -> Path:
    """DATA_DIR/attempts/<job>/<number>: nothing outside it is written by the child."""
    return Path(settings.DATA_DIR) / "attempts" / str(job.public_id) / str(number)


def supervise(claim: Claim) -> None:
    """Run the attempt to its end: succeeded, failed, to be tried again, cancelled, given back, or lost to someone else."""
    with Pacemaker(claim) as pace, _stop_requests() as stopping:
        try:
            _attempt(claim, pace, stopping)
        except Exception as error:
            _let_go(claim, error)
    close_old_connections()


def _attempt(claim: Claim, pace: "Pacemaker", stopping: "StopFlag") -> None:
    job = Job.objects.get(pk=claim.job)
    try:
        kind = kinds.get(job.kind)
    except KeyError:
        raise Unprepared("unknown_kind", f"No installed part of Rounds knows how to run “{job.kind}”.") from None
    folder = _make_folder(job, claim)
    pace.say("preparing", 0, 0)
    kind.prepare(job, folder)
    pace.check()
    exit_code = _run(job, kind, folder, pace, stopping)
    result = read_result(folder, exit_code)
    claims.begin_publish(claim)
    staged = kind.stage(job, result, folder)
    pace.check()
    # From here the row lock keeps others away; a heartbeat would only wait for it.
    pace.stop()
    claims.heartbeat(claim)
    claims.publish(claim, kind=kind, result=result, staged=staged)
    log.info("%s succeeded.", claim)


def _let_go(claim: Claim, error: Exception) -> None:
    """Say in the database how the attempt ended. What cannot be said is said by the sweeper when the lease ends."""
    try:
        match error:
            case LeaseLost():
                log.warning("%s is not ours any more; nothing was published.", claim)
            case Cancelled():
                claims.acknowledge_cancel(claim)
                log.info("%s was cancelled.", claim)
            case WorkerStops():
                claims.release(claim)
                log.info("%s was given back: this worker stops.", claim)
            case Unprepared():
                claims.fail(claim, code=error.code, detail=error.message)
                log.info("%s cannot be started: %s.", claim, error.code)
            case EngineFailed():
                (claims.retry if error.retryable else claims.fail)(claim, code=error.code, detail=error.message)
                log.info("%s failed: %s.", claim, error.code)
            case OSError() if error.errno == errno.ENOSPC:
                claims.retry(claim, code="disk_full", detail=f"The disk of {settings.DATA_DIR} is full. Free space; the job tries again.")
                log.error("%s stopped: the disk is full.", claim)
            case _:
                # An exception's text may repeat what it stumbled over: say its type and place, never its message.
                where = _place(error)
                claims.retry(claim, code="internal_error", detail=f"{where}. This is a fault of Rounds, or of its set-up.")
                log.error("%s stopped: %s.", claim, where)
    except Cancelled:
        claims.acknowledge_cancel(claim)
    except LeaseLost:
        log.warning("%s is not ours any more.", claim)
    except (OperationalError, InterfaceError) as lost:
        connection.close()
        log.warning("%s could not be ended (%s); its lease will.", claim, type(lost).__name__)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}" if last else type(error).__name__


# --- the child ---------------------------------------------------------------------------------------------------------------------


def _make_folder(job: Job, claim: Claim) -> Path:
    folder = folder_of(job, claim.number)
    # Clinical text lies in here: for this account only.
    for path in (folder.parent.parent, folder.parent, folder, folder / "tmp"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _environment(job: Job, kind: Kind, folder: Path, lifeline: int) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "LANG": "C.UTF-8",
        "HOME": str(folder / "tmp"),
        "TMPDIR": str(folder / "tmp"),
        # The child finds our code by this path and never in its own folder, which holds data.
        "PYTHONPATH": str(settings.PROJECT),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        **kind.environment(job),
        "ROUNDS_LIFELINE_FD": str(lifeline),
        "ROUNDS_PARENT_PID": str(os.getpid()),
    }


def _run(job: Job, kind: Kind, folder: Path, pace: "Pacemaker", stopping: "StopFlag") -> int:
    """Start the child, take in its events while it lives, and return its exit code. No process of its group outlives this call."""
    events = _Events(job, kind, folder, pace)
    lifeline, held = os.pipe()
    try:
        with (folder / LOG).open("ab") as output:
            child = subprocess.Popen(
                kind.command(job, folder), cwd=folder, env=_environment(job, kind, folder, lifeline), pass_fds=(lifeline,),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    grace = 0.0
    try:
        while child.poll() is None:
            pace.check(stopping)
            events.take()
            with suppress(subprocess.TimeoutExpired):
                child.wait(TICK_SECONDS)
        events.take()
    except Cancelled:
        grace = CANCEL_GRACE_SECONDS
        raise
    except WorkerStops:
        grace = STOP_GRACE_SECONDS
        raise
    finally:
        end_group(child, grace)
        os.close(held)
    return int(child.returncode)


def end_group(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask the child's process group to stop, wait up to `grace` seconds, then kill what is left of it."""
    if child.poll() is None and grace:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class _Events:
    """What the child appended since the last look, by byte offset; a torn last line waits for its end."""

    def __init__(self, job: Job, kind: Kind, folder: Path, pace: "Pacemaker") -> None:
        self.job, self.kind, self.path, self.pace = job, kind, folder / EVENTS, pace
        self.offset = 0

    def take(self) -> None:
        while self._take_some():
            pass

    def _take_some(self) -> bool:
        """One portion; True when there may be more."""
        found, after = read_events(self.path, self.offset)
        if after == self.offset:
            return False
        for event in found:
            if event.get("type") == "progress":
                self.pace.say(str(event.get("phase", "")), _count(event.get("done")), _count(event.get("total")))
        if found:
            try:
                self.kind.ingest(self.job, found)
            except (OperationalError, InterfaceError):
                # The database is away: training goes on, the same events are taken again at the next look.
                connection.close()
                return False
        self.offset = after
        return True


def _count(value: Any) -> int:
    return max(0, min(int(value), 2**31 - 1)) if isinstance(value, int | float) and value == value else 0


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Whole events from byte `offset` on and the offset to go on from. A whole line that is no JSON object is passed over."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(READ_BYTES)
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    if not whole and len(data) == READ_BYTES:
        whole = data  # a line longer than any event of ours: pass over it
    events = []
    for line in whole.split(b"\n"):
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events, offset + len(whole)


def read_result(folder: Path, exit_code: int) -> dict[str, Any]:
    """What the child promised to write last. Raises EngineFailed when it failed, broke its word or vanished."""
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    hint = " The system kills processes so when memory runs out." if exit_code == -signal.SIGKILL else ""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineFailed("no_result", f"The child ended with {how} and left no result.{hint}", retryable=True) from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise EngineFailed("bad_result", f"The child ended with {how} and its result is not JSON.", retryable=True) from None
    if not isinstance(result, dict) or not isinstance(result.get("ok"), bool):
        raise EngineFailed("bad_result", f"The child ended with {how} and its result does not say whether it succeeded.", retryable=True)
    if not result["ok"]:
        error = result.get("error")
        error = error if isinstance(error, dict) else {}
        code = str(error.get("code") or "engine_error")
        # Nobody of ours asked it to stop, or we would not read its result: someone else's signal, worth another try.
        retryable = bool(error.get("retryable")) or code == "cancelled"
        raise EngineFailed(code, str(error.get("message") or f"The child ended with {how}."), retryable=retryable)
    if exit_code != 0:
        raise EngineFailed("bad_exit", f"The child reported success but ended with {how}.{hint}", retryable=True)
    return result


# --- keeping the lease -------------------------------------------------------------------------------------------------------------


class Pacemaker:
    """Renews the lease from a thread of its own, so that preparing and staging large files cannot let it lapse."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._done = threading.Event()
        self._said: tuple[str, int, int] | None = None
        self._thread = threading.Thread(target=self._beat, name=f"pacemaker-{claim.job}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(timeout=settings.ROUNDS_LEASE_SECONDS)

    def say(self, phase: str, done: int, total: int) -> None:
        """What the next heartbeat carries."""
        self._said = (phase, done, total)

    def check(self, stopping: "StopFlag | None" = None) -> None:
        """Raises LeaseLost or Cancelled as soon as a heartbeat has found out, and WorkerStops once `stopping` is raised."""
        if self.lost.is_set():
            raise LeaseLost(str(self.claim))
        if self.cancelled.is_set():
            raise Cancelled(str(self.claim))
        if stopping is not None and stopping.raised:
            raise WorkerStops

    def _beat(self) -> None:
        # Local waits by the monotonic clock; only the database's clock decides who holds the job.
        renewed = time.monotonic()
        try:
            while not self._done.wait(settings.ROUNDS_HEARTBEAT_SECONDS):
                phase, done, total = self._said or (None, None, None)
                try:
                    state = claims.heartbeat(self.claim, phase=phase, done=done, total=total)
                except LeaseLost:
                    self.lost.set()
                    return
                except (OperationalError, InterfaceError):
                    connection.close()
                    if time.monotonic() - renewed > settings.ROUNDS_LEASE_SECONDS:
                        self.lost.set()
                        return
                    continue
                renewed = time.monotonic()
                if state == State.CANCELLING:
                    self.cancelled.set()
        finally:
            connection.close()


@dataclass
class StopFlag:
    """Raised by a signal handler. No threading.Event: its lock could be held by the very thread that the handler interrupts."""

    raised: bool = False


@contextmanager
def _stop_requests() -> Iterator[StopFlag]:
    """SIGTERM and SIGUSR2 only raise a flag while an attempt runs: nothing is raised in the middle of a commit."""
    stopping = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def note(number: int, frame: FrameType | None) -> None:
        stopping.raised = True

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
