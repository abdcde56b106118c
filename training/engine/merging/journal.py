"""Half a merge that outlives its process: output files written in any order, and a journal of the tensors that lie in them whole.

    merge-<plan>/journal.jsonl            the plan's digest, then a line a tensor: its file, place and SHA-256
    merge-<plan>/model*.safetensors       at full size from the start; what no line names is not there yet

A line is written after its bytes are on the disk (fdatasync, then the line, then fsync), and is signed with the job's key. After a crash
the lines up to the first torn one count; each is checked against the bytes again before it is believed. Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PREFIX, JOURNAL = "merge-", "journal.jsonl"
READ_BYTES = 2**22
# What link(2) says where there are no links between these two places.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Line:
    """A tensor whose bytes, from ``begin`` to ``end`` of ``file``, are on the disk. ``note`` is what its report said, as JSON."""

    name: str
    file: str
    begin: int
    end: int
    sha256: str
    note: Any = None


def signed(told: dict[str, Any], key: bytes) -> bytes:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    mac = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return json.dumps([told, mac], separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _verified(raw: bytes, key: bytes) -> dict[str, Any] | None:
    """What a line says; None when it is torn or somebody else's."""
    with suppress(ValueError, TypeError):
        told, mac = json.loads(raw)
        if isinstance(told, dict) and hmac.compare_digest(signed(told, key), raw) and isinstance(mac, str):
            return told
    return None


def read(folder: Path, key: bytes, plan: str) -> tuple[list[Line], int]:
    """(lines up to the first torn one, bytes that they take). Nothing where the journal is another plan's or another key's."""
    try:
        raw = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return [], 0
    lines: list[Line] = []
    good = 0
    for number, text in enumerate(raw.splitlines(keepends=True)):
        told = _verified(text, key)
        if told is None or (number == 0 and told != {"plan": plan}):
            break
        if number:
            lines.append(Line(**told))
        good += len(text)
    return lines, good


def whole(folder: Path, lines: Iterable[Line]) -> Iterator[Line]:
    """Those whose bytes are what was written. A file that is missing, short or altered costs its tensors and nothing else."""
    for line in lines:
        with suppress(OSError):
            if digest_of(folder / line.file, line.begin, line.end) == line.sha256:
                yield line


def digest_of(path: Path, begin: int, end: int) -> str:
    """SHA-256 of a span of a file; of less where the file is shorter."""
    hashed = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(begin)
        while begin < end and (block := stream.read(min(READ_BYTES, end - begin))):
            hashed.update(block)
            begin += len(block)
    return hashed.hexdigest()


class Journal:
    """The writer. Lines of an earlier attempt stay; a torn tail is cut off."""

    def __init__(self, folder: Path, key: bytes, plan: str, *, good: int) -> None:
        self._key = key
        self._file = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, good)
        os.lseek(self._file, 0, os.SEEK_END)
        if good == 0:
            self._append(signed({"plan": plan}, key))
        sync_folder(folder)

    def add(self, lines: Iterable[Line]) -> None:
        """After fdatasync of what they name."""
        self._append(b"".join(signed(asdict(line), self._key) for line in lines))

    def _append(self, text: bytes) -> None:
        write_all(self._file, text, os.lseek(self._file, 0, os.SEEK_CUR))
        os.lseek(self._file, 0, os.SEEK_END)
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def write_all(file: int, data: Any, offset: int) -> None:
    """``pwrite`` until all is written: a disk that is nearly full takes a part first, and says so at the next call."""
    view = memoryview(data).cast("B")
    while len(view):
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- from one attempt to the next --------------------------------------------------------------------------------------------------


def hand_over(source: Path, target: Path, key: bytes) -> int | None:
    """Put every half merge in ``source`` under ``target`` too; the most tensors that one of them has finished, or None without any.

    Files are linked: what their writer adds later is there as well, and a writer that wakes up too late can only write what is there
    already. Where links cannot be (hosts share a folder of another file system) finished tensors are copied, each once. May be repeated.
    """
    most: int | None = None
    for folder in _named(source):
        plan = folder.name.removeprefix(PREFIX)
        lines, _ = read(folder, key, plan)
        if not lines:
            continue
        into = target / folder.name
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            for file in [*sorted({line.file for line in lines}), JOURNAL]:
                _link(folder / file, into / file)
        except FileNotFoundError:
            continue  # finished: its files have gone into the model
        except OSError as problem:
            if problem.errno not in _NO_LINK:
                raise
            _copy(folder, into, lines, key, plan)
        sync_folder(into)
        most = max(most or 0, len(lines))
    return most


def _link(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    # Whatever is there stays until the link is made: it may be a copy, from a place that no link leads to.
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    os.link(source, fresh)
    fresh.replace(target)


def _copy(source: Path, target: Path, lines: list[Line], key: bytes, plan: str) -> None:
    kept, good = read(target, key, plan)
    have = {line.name for line in kept}
    fresh = [line for line in lines if line.name not in have]
    sizes = {file: (source / file).stat().st_size for file in {line.file for line in lines}}
    handles = {file: os.open(target / file, os.O_RDWR | os.O_CREAT, 0o600) for file in sizes}
    journal = Journal(target, key, plan, good=good)
    try:
        for file, handle in handles.items():
            os.ftruncate(handle, sizes[file])
            with (source / file).open("rb") as stream:
                _copy_span(stream, handle, 0, min(line.begin for line in lines if line.file == file))
                for line in fresh:
                    if line.file == file:
                        _copy_span(stream, handle, line.begin, line.end)
            os.fdatasync(handle)
        journal.add(fresh)
    finally:
        journal.close()
        for handle in handles.values():
            os.close(handle)


def _copy_span(stream: Any, target: int, begin: int, end: int) -> None:
    stream.seek(begin)
    while begin < end and (block := stream.read(min(READ_BYTES, end - begin))):
        write_all(target, block, begin)
        begin += len(block)


def _named(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return []
