"""What outlives an attempt: kept checkpoints, signed with a key of the job's own, and what is cleared away when the job has ended."""

import hmac
import json
import logging
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from django.conf import settings

from jobs import kinds
from jobs.clock import after
from jobs.models import ENDED, Job, State

log = logging.getLogger(__name__)

# What stays of an ended job's attempts: what happened, and nothing anybody wrote or a model answered.
STAYS = {"engine.log", "spec.json", "events.jsonl", "result.json"}
# What goes first, and without waiting: it is large, and only the job itself could have used it.
LARGE = ("checkpoints", "resume", "trainer")


def attempts_of(job: Job) -> Path:
    return Path(settings.DATA_DIR) / "attempts" / str(job.public_id)


def folder_of(job: Job) -> Path:
    """checkpoints/<job>, in DATA_DIR or the folder that hosts share: what the next attempt may go on from."""
    return _kept_root() / str(job.public_id)


def _kept_root() -> Path:
    return Path(settings.ROUNDS_SHARED_DIR or settings.DATA_DIR) / "checkpoints"


def key_of(job: Job) -> bytes:
    """The key this job's checkpoints are signed with. Another job's, or one of a stolen folder, do not verify."""
    return hmac.new(settings.SECRET_KEY.encode(), f"rounds checkpoint {job.public_id}".encode(), sha256).digest()


def salvage(job: Job) -> int | None:
    """Promote what the newest attempt left and its supervisor did not live to take; the step, or None.

    Safe for whoever holds the job, or takes it from a holder that is gone: only what this job signed verifies.
    """
    folder = attempts_of(job) / str(job.attempts)
    try:
        kind = kinds.get(job.kind)
        return kind.keep(job, folder, folder_of(job), key_of(job)) if folder.is_dir() else None
    except (KeyError, OSError) as error:
        log.warning("Nothing was salvaged of job %d (%s).", job.pk, type(error).__name__)
        return None


def make_way(job: Job, *, before: int) -> None:
    """Remove what attempts older than `before` saved: what was worth keeping is linked elsewhere."""
    for folder in _folders(attempts_of(job)):
        if folder.name.isdigit() and int(folder.name) < before:
            for name in (*LARGE, "output"):
                shutil.rmtree(folder / name, ignore_errors=True)


def forget_others(job: Job, step: int | None) -> None:
    """Remove every kept checkpoint but that of `step`; none at all when it is not known which one is whole."""
    for folder in _folders(folder_of(job)) if step is not None else []:
        if folder.name != f"ckpt-{step}":
            shutil.rmtree(folder, ignore_errors=True)


def clear(job: Job) -> None:
    """The job has ended. Kept checkpoints go at once when it is done or cancelled; a failed one's stay as long as its inputs. What its kind
    leaves behind goes however it ended: what an attempt that was killed left is clinical text that nobody will read again.
    """
    for folder in _folders(attempts_of(job)):
        for name in _left_by(job.kind):
            shutil.rmtree(folder / name, ignore_errors=True)
    if job.state in (State.SUCCEEDED, State.CANCELLED):
        shutil.rmtree(folder_of(job), ignore_errors=True)
        for folder in _folders(attempts_of(job)):
            for name in LARGE:
                shutil.rmtree(folder / name, ignore_errors=True)


def _left_by(kind: str) -> tuple[str, ...]:
    """Nothing, of a kind that this version does not know."""
    return kinds.get(kind).leaves if kind in kinds.names() else ()


def clear_ended(*, within: float) -> None:
    """Clear what jobs left that ended in the last `within` seconds, whoever ended them: nobody may have held them any more."""
    leaving = [name for name in kinds.names() if kinds.get(name).leaves]
    for job in Job.objects.filter(kind__in=leaving, state__in=ENDED, ended_at__gt=after(-within)).only("public_id", "kind", "state"):
        clear(job)


def sweep() -> int:
    """Clear away what ended jobs left on this machine's disk; returns how many had something to clear. Safe to repeat, or to break off.

    It goes by the folders, not by the rows: each machine that keeps a data folder of its own clears its own.
    """
    cleared = 0
    root = Path(settings.DATA_DIR)
    kept = {folder.name: folder for folder in _folders(_kept_root())}
    tried = {folder.name: folder for folder in _folders(root / "attempts") if any(_leftovers(folder))}
    names = [name for name in kept.keys() | tried.keys() if _is_uuid(name)]
    expired = after(-3600 * settings.ROUNDS_KEEP_ATTEMPT_HOURS)
    for start in range(0, len(names), 500):
        ended = Job.objects.filter(public_id__in=names[start : start + 500], state__in=ENDED)
        for job in ended:
            clear(job)
        for name in map(str, ended.filter(ended_at__lt=expired).values_list("public_id", flat=True)):
            if name in kept:
                shutil.rmtree(kept[name], ignore_errors=True)
            if name in tried:
                _strip(tried[name])
            cleared += 1
    return cleared


def _strip(folder: Path) -> None:
    for path in _leftovers(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for attempt in _folders(folder):
        _without_samples(attempt / "events.jsonl")


def _leftovers(folder: Path) -> list[Path]:
    """What lies in a job's attempts besides what may stay."""
    return [path for attempt in _folders(folder) for path in attempt.iterdir() if path.name not in STAYS]


def _without_samples(events: Path) -> None:
    """Answers to the fixed prompts are clinical text too; the figures beside them are not."""
    with suppress(FileNotFoundError):
        lines = events.read_bytes().split(b"\n")
        told = [line for line in lines if not _is_sample(line)]
        if len(told) < len(lines):
            fresh = events.with_name(".events.jsonl.tmp")
            fresh.write_bytes(b"\n".join(told))
            fresh.replace(events)


def _is_sample(line: bytes) -> bool:
    if b'"sample"' not in line:
        return False
    try:
        event = json.loads(line)
    except ValueError:
        return True  # torn: nobody will read it again
    return not isinstance(event, dict) or event.get("type") == "sample"


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
