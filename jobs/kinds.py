"""What the runner runs. It knows nothing of it: apps register their kinds in `AppConfig.ready`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.models import Job


# (phase, done, total) to whoever watches; raises when the work is to end.
Tell = Callable[[str, int, int], None]


def _nothing(*args: Any) -> None:
    """For the steps a kind does not have."""


def _empty_environment(job: Job) -> dict[str, str]:
    return {}


def _no_checkpoint(job: Job, one: Path, other: Path, key: bytes) -> int | None:
    return None


def _no_result(job: Job, result: dict[str, Any], staged: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Kind:
    """One kind of work, as a story in order.

    - `prepare(job, attempt_dir)` writes `spec.json` and inputs; raises `Unprepared` when it cannot.
    - `lay_out(job, attempt_dir, tell)` does what of that takes minutes; it calls `tell(phase, done, total)`, which raises when the job is
      to end.
    - `command(job, attempt_dir)` is the child's argument list; `environment(job)` what it sees beside a clean minimum.
    - `work(job, attempt_dir, tell)` stands in place of a child where all there is to do is done by the database: it reads, and returns
      what a child's result would say, which stays in memory. It writes nothing; `write` and `publish` do.
    - `ingest(job, events)` takes the new events of about a second, and may see the same ones again.
    - `keep(job, attempt_dir, kept_dir, key)` verifies the attempt's newest checkpoint and promotes it into `kept_dir`; its step, or None.
      Called from a thread of its own while the child runs, and once more when it ended without success. Never needs the database.
    - `resume(job, kept_dir, attempt_dir, key)` gives a new attempt the newest kept checkpoint that verifies; its step, or None.
    - `stage(job, result, attempt_dir)` does the file work of publishing (hash, link), outside any transaction; may be repeated.
    - `write(job, result, staged, tell)` writes what takes minutes, in the same transaction as `publish` and before it. The job's row is
      not locked yet, so heartbeats go on; it calls `tell(phase, done, total)` every few seconds, which raises when the job is to end.
    - `publish(job, result, staged)` writes rows INSIDE the transaction that ends the job, and returns `job.result`.
      `stage`, `write` and `publish` may raise `EngineFailed` when the result is not what was promised.
    - `leaves` are the names in an attempt's folder that nobody needs once the job has ended, however it did.
    - `again(failed, job)` hands the rows of a job that failed over to the job that repeats it, in the transaction that makes it.

    `prepare`, `lay_out`, `work` and `stage` run in a thread of their own, with its own database connection.
    """

    name: str
    queue: str
    command: Callable[[Job, Path], list[str]] | None = None
    work: Callable[[Job, Path, Tell], dict[str, Any]] | None = None
    # Wants a GPU where there are some; can be told to stop where it is and keep what it has; asks a server that the operator named.
    device: bool = False
    can_keep: bool = False
    network: bool = False
    prepare: Callable[[Job, Path], None] = _nothing
    lay_out: Callable[[Job, Path, Tell], None] = _nothing
    environment: Callable[[Job], dict[str, str]] = _empty_environment
    ingest: Callable[[Job, list[dict[str, Any]]], None] = _nothing
    keep: Callable[[Job, Path, Path, bytes], int | None] = _no_checkpoint
    resume: Callable[[Job, Path, Path, bytes], int | None] = _no_checkpoint
    stage: Callable[[Job, dict[str, Any], Path], Any] = _nothing
    write: Callable[[Job, dict[str, Any], Any, Tell], None] | None = None
    publish: Callable[[Job, dict[str, Any], Any], dict[str, Any]] = _no_result
    again: Callable[[Job, Job], None] = _nothing
    leaves: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.command is None) == (self.work is None):
            raise ValueError(f"“{self.name}” has a child or does its work itself: one of the two.")


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind known. Registering the same name again replaces it (a reload does that)."""
    _kinds[kind.name] = kind


def get(name: str) -> Kind:
    """Raises KeyError for a kind that nobody registered."""
    return _kinds[name]


def names() -> list[str]:
    return sorted(_kinds)
