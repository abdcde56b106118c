"""One attempt of one job: a child process without database, broker or secrets, watched from a worker slot.

The child dies with us: it reads a pipe whose only writer we are, asks the kernel for a parent-death signal, and compares its parent
with `ROUNDS_PARENT_PID`. We stop it when the lease is lost, when someone cancels, and when this worker is told to stop. A child that
was frozen with us finds in the `lease` file that its time is over. Checkpoints it announces are verified and kept while we hold the job.
"""

import errno
import json
import logging
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from uuid import uuid4

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from jobs import cage, claims, confinement, devices, disk, keeping, kinds
from jobs.claims import Claim
from jobs.errors import Cancelled, EngineFailed, LeaseLost, NoRoom, Unprepared, WorkerStops
from jobs.kinds import Kind
from jobs.models import ENDED, Job
from jobs.pacemaker import Pacemaker

log = logging.getLogger(__name__)

LOG, EVENTS, RESULT = "engine.log", "events.jsonl", "result.json"
TICK_SECONDS = 0.25
# How long a child may take to stop by itself. A worker that stops has less time than a person who cancels.
CANCEL_GRACE_SECONDS = 30.0
STOP_GRACE_SECONDS = 5.0
# Finished work is worth waiting for a database that is away.
PUBLISH_SECONDS = 600.0
# What a child ends with that had no room for so much as its result.
EXIT_DISK_FULL = 74
READ_BYTES = 4 * 2**20
# What a child sees of our environment. No database address, no broker, no secret, no proxy.
PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
)  # fmt: skip


T = TypeVar("T")


def worker_name() -> str:
    """Unique to one claim: host, process and a random part, so that a claim whose answer was lost can be found again."""
    return f"{devices.here()}:{os.getpid()}:{uuid4().hex[:12]}"


def folder_of(job: Job, number: int) -> Path:
    """DATA_DIR/attempts/<job>/<number>: nothing outside it is written by the child."""
    return keeping.attempts_of(job) / str(number)


def supervise(claim: Claim) -> None:
    """Run the attempt to its end: succeeded, failed, to be tried again, paused, cancelled, given back, or lost to someone else."""
    # Our own errand boy: whatever may take long is done by it, so that we go on looking whether someone wants us to stop.
    with ThreadPoolExecutor(1, f"errands-{claim.job}") as errands, Pacemaker(claim) as pace, _stop_requests() as stopping:
        try:
            _attempt(claim, _Watch(pace, stopping, errands))
        except Exception as error:
            _let_go(claim, error)
    _clear(claim)
    close_old_connections()


@dataclass(frozen=True)
class _Watch:
    """What an attempt is watched by, and how it does what may take long."""

    pace: Pacemaker
    stopping: "StopFlag"
    errands: ThreadPoolExecutor

    def check(self) -> None:
        """Raises LeaseLost, Cancelled or WorkerStops as soon as one is known."""
        self.pace.check(self.stopping.raised)

    def tell(self, phase: str, done: int, total: int) -> None:
        """How far it is, for the next heartbeat. Raises as `check` does."""
        self.pace.say(phase, done, total)
        self.check()

    def send(self, call: Callable[..., T], *args: Any) -> "Future[T]":
        """Have `call` done in the errand thread, with a database connection of its own."""

        def errand() -> T:
            try:
                return call(*args)
            finally:
                connection.close()

        return self.errands.submit(errand)

    def wait(self, call: Callable[..., T], *args: Any) -> T:
        """What `call` returns; left alone at once when the attempt is to end. What it does then goes where nobody looks."""
        under_way = self.send(call, *args)
        while True:
            self.check()
            with suppress(FutureTimeout):
                return under_way.result(timeout=TICK_SECONDS)
            if under_way.done():
                return under_way.result()


def _attempt(claim: Claim, watch: _Watch) -> None:
    job = Job.objects.get(pk=claim.job)
    try:
        kind = kinds.get(job.kind)
    except KeyError:
        raise Unprepared("unknown_kind", f"No installed part of Rounds knows how to run “{job.kind}”.") from None
    folder = _make_folder(job, claim)
    watch.pace.serve(folder)
    watch.pace.say("preparing", 0, 0)
    watch.wait(_go_on_from_what_was_kept, claim, job, kind, folder)
    watch.wait(kind.prepare, job, folder)
    watch.wait(kind.lay_out, job, folder, watch.tell)
    result = _result(claim, job, kind, folder, watch)
    watch.pace.finish()
    claims.patiently(lambda: claims.begin_publish(claim), seconds=PUBLISH_SECONDS)
    staged = watch.wait(kind.stage, job, result, folder)
    claims.publish(claim, kind=kind, result=result, staged=staged, patience=PUBLISH_SECONDS, tell=watch.tell, still=watch.pace.stop)
    log.info("%s succeeded.", claim)


def _result(claim: Claim, job: Job, kind: Kind, folder: Path, watch: _Watch) -> dict[str, Any]:
    """What the child promised to write, or what the kind's own work told."""
    if kind.work is not None:
        return watch.wait(kind.work, job, folder, watch.tell)
    return read_result(folder, _run(claim, job, kind, folder, watch))


def _go_on_from_what_was_kept(claim: Claim, job: Job, kind: Kind, folder: Path) -> None:
    """Give the attempt the newest checkpoint there is, and look whether there is room for the next."""
    kept, key = keeping.folder_of(job), keeping.key_of(job)
    previous = keeping.attempts_of(job) / str(claim.number - 1)
    if previous.is_dir():
        step = kind.keep(job, previous, kept, key)
        if step is not None:
            claims.kept(claim, step=step, by_us=False)
    keeping.make_way(job, before=claim.number)
    step = kind.resume(job, kept, folder, key)
    try:
        disk.require(kept)
    except NoRoom:
        # The one it goes on from has verified just now; the ones before it are all that can make room.
        keeping.forget_others(job, step)
        disk.require(kept)
    if step is not None:
        claims.resumed(claim, step=step)
        log.info("%s goes on from step %d.", claim, step)


def _let_go(claim: Claim, error: Exception) -> None:
    """Say in the database how the attempt ended. What cannot be said is said by the sweeper when the lease ends."""
    try:
        try:
            claims.patiently(lambda: _say_how_it_ended(claim, error), seconds=settings.ROUNDS_LEASE_SECONDS)
        except Cancelled:
            # Between our last look and now.
            claims.patiently(lambda: claims.acknowledge_cancel(claim), seconds=settings.ROUNDS_LEASE_SECONDS)
    except LeaseLost:
        log.warning("%s is not ours any more.", claim)
    except (OperationalError, InterfaceError) as lost:
        log.warning("%s could not be ended (%s); its lease will.", claim, type(lost).__name__)


def _say_how_it_ended(claim: Claim, error: Exception) -> None:
    exit_code = getattr(error, "exit_code", None)
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
        case EngineFailed() if error.code in claims.PAUSES:
            _pause(claim, error.code, error.need_bytes, error.message, exit_code)
        case EngineFailed():
            (claims.retry if error.retryable else claims.fail)(claim, code=error.code, detail=error.message, exit_code=exit_code)
            log.info("%s failed: %s.", claim, error.code)
        case NoRoom():
            _pause(claim, "disk_full", error.need)
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _pause(claim, "quota" if error.errno == errno.EDQUOT else "disk_full", 0)
        case OperationalError() | InterfaceError():
            claims.retry(
                claim, code="database_away", detail=f"The database was away while the job was being prepared ({type(error).__name__})."
            )
            log.warning("%s stopped: the database was away.", claim)
        case _:
            # An exception's text may repeat what it stumbled over: say its type and place, never its message.
            where = _place(error)
            claims.retry(claim, code="internal_error", detail=f"{where}. This is a fault of Rounds, or of its set-up.")
            log.error("%s stopped: %s.", claim, where)


def _pause(claim: Claim, code: str, need: int, said: str = "", exit_code: int | None = None) -> None:
    """`said`: the child's own words, for when there is room again by our count: it knows better what it ran into."""
    otherwise = f"The volume {disk.volume(disk.tightest()[1])} had no room left, or our share of it is used up."
    detail = disk.missing(need) or said or otherwise
    claims.pause(claim, code=code, detail=detail, needs_bytes=need, exit_code=exit_code)
    log.error("%s is paused: %s.", claim, code)


def _clear(claim: Claim) -> None:
    """Remove what only the job itself could have used, once it is done or cancelled. What we cannot do now the sweeper does later."""
    try:
        if (job := Job.objects.filter(pk=claim.job, token=claim.token, state__in=ENDED).first()) is not None:
            keeping.clear(job)
    except (OSError, OperationalError, InterfaceError) as error:
        log.warning("%s left files behind (%s).", claim, type(error).__name__)


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


def _environment(claim: Claim, job: Job, kind: Kind, folder: Path, lifeline: int) -> dict[str, str]:
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
        # Where GPUs are leased, a job that holds none sees none.
        **({"CUDA_VISIBLE_DEVICES": claim.device} if claim.device or devices.any_here() else {}),
        "ROUNDS_CHECKPOINT_KEY": keeping.key_of(job).hex(),
        "ROUNDS_LIFELINE_FD": str(lifeline),
        "ROUNDS_PARENT_PID": str(os.getpid()),
    }


def _run(claim: Claim, job: Job, kind: Kind, folder: Path, watch: _Watch) -> int:
    """Start the child, take in its events while it lives, and return its exit code. No process of its group outlives this call."""
    keeper = _Keeper(claim, job, kind, folder, watch)
    events = _Events(job, kind, folder, watch.pace, keeper)
    assert kind.command is not None
    program = confinement.command(kind.command(job, folder), folder=folder, network=kind.network)
    lifeline, held = os.pipe()
    try:
        with (folder / LOG).open("ab") as output:
            child = subprocess.Popen(
                program, cwd=folder, env=_environment(claim, job, kind, folder, lifeline), pass_fds=(lifeline,),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    grace = 0.0
    memory = confinement.Memory(child.pid)
    try:
        while child.poll() is None:
            watch.check()
            memory.look()
            events.take()
            keeper.look()
            if events.silent_for() > settings.ROUNDS_SILENT_SECONDS:
                grace = STOP_GRACE_SECONDS
                raise EngineFailed(
                    "silent", f"The child said nothing for {settings.ROUNDS_SILENT_SECONDS:.0f} s and was ended.", retryable=True
                )
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
    if child.returncode != 0:
        keeper.finish()
    return int(child.returncode)


class _Keeper:
    """Has the child's newest checkpoint verified and kept, in the errand thread: hashing gigabytes must not delay a cancel."""

    def __init__(self, claim: Claim, job: Job, kind: Kind, folder: Path, watch: _Watch) -> None:
        self.claim, self.job, self.kind, self.folder, self.watch = claim, job, kind, folder, watch
        self.wanted = False
        self.step: int | None = None
        self._under_way: Future[int | None] | None = None

    def look(self) -> None:
        """Begin what is wanted, note what is done; neither waits. Raises LeaseLost or Cancelled: only a holder may keep."""
        try:
            if self._under_way is not None and self._under_way.done():
                self.step, self._under_way = self._outcome(self._under_way), None
            if self.step is not None:
                claims.kept(self.claim, step=self.step)
                self.step = None
            if self.wanted and self._under_way is None:
                claims.check(self.claim)
                self.wanted = False
                self._under_way = self.watch.send(
                    self.kind.keep, self.job, self.folder, keeping.folder_of(self.job), keeping.key_of(self.job)
                )
        except (OperationalError, InterfaceError):
            # Whether we still hold the job is not known now: asked again at the next look.
            connection.close()

    def finish(self) -> None:
        """The child is gone and has not succeeded: whatever it saved last is kept too."""
        self.wanted = True
        while self.wanted or self._under_way is not None or self.step is not None:
            self.watch.check()
            self.look()
            time.sleep(TICK_SECONDS / 10)

    def _outcome(self, done: "Future[int | None]") -> int | None:
        try:
            return done.result()
        except OSError as error:
            log.warning("%s: a checkpoint could not be kept (%s); the one before stays.", self.claim, type(error).__name__)
            return None


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

    def __init__(self, job: Job, kind: Kind, folder: Path, pace: Pacemaker, keeper: _Keeper) -> None:
        self.job, self.kind, self.path, self.pace, self.keeper = job, kind, folder / EVENTS, pace, keeper
        self.offset = 0
        self._heard = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the child last said anything, or was started."""
        return time.monotonic() - self._heard

    def take(self) -> None:
        while self._take_some():
            pass

    def _take_some(self) -> bool:
        """One portion; True when there may be more."""
        found, after = read_events(self.path, self.offset)
        if after == self.offset:
            return False
        self._heard = time.monotonic()
        for event in found:
            if event.get("type") == "progress":
                self.pace.say(str(event.get("phase", "")), _count(event.get("done")), _count(event.get("total")))
            elif event.get("type") == "checkpoint":
                self.keeper.wanted = True
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

    def broken(code: str, message: str) -> EngineFailed:
        return EngineFailed(code, message, retryable=True, exit_code=exit_code)

    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if exit_code == EXIT_DISK_FULL:
            raise broken("disk_full", "There was no room left for so much as its result.") from None
        if exit_code == cage.REFUSED:
            raise broken("not_confined", "The child could not be confined and was not begun; its log says what was refused.") from None
        raise broken("no_result", f"The child ended with {how} and left no result.{hint}") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise broken("bad_result", f"The child ended with {how} and its result is not JSON.") from None
    if not isinstance(result, dict) or not isinstance(result.get("ok"), bool):
        raise broken("bad_result", f"The child ended with {how} and its result does not say whether it succeeded.")
    if not result["ok"]:
        raise _told(result.get("error"), how, exit_code)
    if exit_code != 0:
        raise broken("bad_exit", f"The child reported success but ended with {how}.{hint}")
    return result


def _told(error: Any, how: str, exit_code: int) -> EngineFailed:
    """The child's own account of its failure, whatever it looks like."""
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "engine_error")
    need = error.get("need_bytes")
    return EngineFailed(
        code,
        str(error.get("message") or f"The child ended with {how}."),
        # Nobody of ours asked it to stop, or we would not read its result: someone else's signal, worth another try.
        retryable=bool(error.get("retryable")) or code == "cancelled",
        need_bytes=need if isinstance(need, int) and 0 <= need < 2**62 else 0,
        exit_code=exit_code,
    )


# --- being told to stop ------------------------------------------------------------------------------------------------------------


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
