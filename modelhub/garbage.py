"""Room taken by files that nothing names any more, and its way back: marked first, removed only when they stayed unnamed for days.

Roots are the rows: a file that the manifest of any artifact names is kept, whatever the artifact's version is, archived or not. Work under
way is safe without a list of it: a file is marked when a collection finds it unnamed, and may go only when a later collection, a grace
period after, finds the mark still there; taking a file in again takes its mark away (`artifacts.stage`). So an import or a job has the
whole grace period between storing its files and writing its row, which takes seconds. Mark and removal exclude each other by a lock.

    DATA_DIR/artifacts/marks/<digest>          made when a collection first found the file or set unnamed
    DATA_DIR/artifacts/lock                    held shared while a file is taken in, alone while one is removed

The store that hosts share is never touched: another host's rows may not be ours to read.
"""

import logging
import os
import shutil
import stat as modes
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from modelhub import artifacts
from modelhub.models import Artifact

GRACE = timedelta(days=7)
log = logging.getLogger(__name__)


@dataclass
class Heap:
    """Files and bytes of one sort."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


@dataclass
class Found:
    """What a look at the store found; `due` is what a collection removes now, `marked` what it will once the grace period is over."""

    kept: Heap = field(default_factory=Heap)
    unnamed: Heap = field(default_factory=Heap)
    marked: Heap = field(default_factory=Heap)
    due: Heap = field(default_factory=Heap)
    left_over: Heap = field(default_factory=Heap)
    removed: Heap = field(default_factory=Heap)


@dataclass(frozen=True)
class _Thing:
    """A blob, or a folder of links, that no row names."""

    path: Path
    digest: str
    size: int


def look(*, grace: timedelta = GRACE) -> Found:
    """What there is, and what could go. Changes nothing."""
    found = Found()
    now = time.time()
    named = _named_files()
    for thing in _blobs():
        if thing.digest in named:
            found.kept.add(thing.size)
            continue
        found.unnamed.add(thing.size)
        marked = _marked_at(thing.digest)
        if marked is not None:
            (found.due if marked <= now - grace.total_seconds() else found.marked).add(thing.size)
    for path in _left_over(now - grace.total_seconds()):
        found.left_over.add(_size(path))
    return found


def collect(*, grace: timedelta = GRACE) -> Found:
    """Mark what no row names, and remove what has been marked for the grace period. Safe while imports and jobs run."""
    before = time.time() - grace.total_seconds()
    marks().mkdir(mode=0o700, exist_ok=True)
    # Sets before files: a set is a folder of links, and a file in one takes its room as long as the link is there.
    sets = set(Artifact.objects.values_list("digest", flat=True))
    unnamed_sets = [thing for thing in _sets() if thing.digest not in sets]
    removed = Heap()
    for thing in unnamed_sets:
        _mark_or_remove(thing, before, removed)
    # Read again after every look at a folder: a row written since then names files that were there before it.
    blobs = list(_blobs())
    named = _named_files()
    for thing in blobs:
        if thing.digest in named:
            (marks() / thing.digest).unlink(missing_ok=True)
        else:
            _mark_or_remove(thing, before, removed)
    for path in _left_over(before):
        removed.add(_size(path))
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _forget_marks()
    found = look(grace=grace)
    found.removed = removed
    log.info("%d files of %d bytes that no model names were removed from the store.", removed.files, removed.bytes)
    return found


def marks() -> Path:
    return artifacts.store() / "marks"


def _mark_or_remove(thing: _Thing, before: float, removed: Heap) -> None:
    marked = _marked_at(thing.digest)
    if marked is None:
        (marks() / thing.digest).touch(mode=0o600)
        return
    if marked > before:
        return
    with artifacts.alone():
        # Taken in again since we looked: then its mark is gone. Asked under the lock, under which marks are taken away. And a row may
        # have been written since we read them all.
        if _marked_at(thing.digest) is None or _is_named(thing):
            return
        if thing.path.is_dir():
            shutil.rmtree(thing.path)
            thing.path.with_name(f"{thing.path.name}.verified").unlink(missing_ok=True)
        else:
            thing.path.unlink(missing_ok=True)
            removed.add(thing.size)
        (marks() / thing.digest).unlink(missing_ok=True)


def _is_named(thing: _Thing) -> bool:
    rows = Artifact.objects.filter(digest=thing.digest) | Artifact.objects.filter(manifest__contains=[{"sha256": thing.digest}])
    return rows.exists()


def _marked_at(digest: str) -> float | None:
    try:
        return (marks() / digest).stat().st_mtime
    except FileNotFoundError:
        return None


def _forget_marks() -> None:
    """Marks of what is gone by other means."""
    there = {thing.digest for thing in (*_blobs(), *_sets())}
    for mark in marks().iterdir():
        if mark.name not in there:
            mark.unlink(missing_ok=True)


def _named_files() -> set[str]:
    return {entry["sha256"] for manifest in Artifact.objects.values_list("manifest", flat=True).iterator() for entry in manifest}


def _blobs() -> Iterator[_Thing]:
    root = artifacts.store() / "blobs" / "sha256"
    for folder in sorted(os.scandir(root), key=lambda entry: entry.name):
        for entry in os.scandir(folder.path):
            yield _Thing(Path(entry.path), folder.name + entry.name, entry.stat(follow_symlinks=False).st_size)


def _sets() -> Iterator[_Thing]:
    for entry in os.scandir(artifacts.store() / "sets"):
        if entry.is_dir(follow_symlinks=False):
            yield _Thing(Path(entry.path), entry.name, 0)


def _left_over(before: float) -> list[Path]:
    """What writers that were killed left in `incoming`: nobody has written there for the grace period."""
    found = []
    for entry in os.scandir(artifacts.store() / "incoming"):
        path = Path(entry.path)
        newest = max(
            (item.lstat().st_ctime for item in (path, *(path.rglob("*") if entry.is_dir(follow_symlinks=False) else ()))), default=0.0
        )
        if newest <= before:
            found.append(path)
    return found


def _size(path: Path) -> int:
    """Bytes that removing it sets free: files with a second name stay under that."""
    items = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = [item.lstat() for item in items]
    return sum(found.st_size for found in stats if modes.S_ISREG(found.st_mode) and found.st_nlink == 1)
