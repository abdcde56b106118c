"""A disk that fails: the n-th call that writes, makes, moves, links or syncs a file raises; or the kernel refuses files beyond a size.

The calls are counted where Python makes them, so the failure can fall between any two of them, as `kill -9` on a full disk does.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIRED = "fired"
COUNTED = ("fsync", "mkdir", "rename", "replace", "link", "unlink")


class Counter:
    """Raises at the n-th tick, and leaves a file to say that it did."""

    def __init__(self, call: int, number: int, mark: Path) -> None:
        self.left, self.number, self.mark = call, number, mark

    def tick(self, what: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.close(os.open(self.mark, os.O_CREAT | os.O_WRONLY, 0o600))
            raise OSError(self.number, os.strerror(self.number), what)


class Writer(io.FileIO):
    """An unbuffered file whose writes are counted."""

    counter: Counter

    def write(self, data: Any) -> int:
        self.counter.tick("write")
        return super().write(data)


class Broken:
    """{"where", "call": n, "errno": "ENOSPC"}; with "limit" as `where`, `call` is in bytes. Counts over all its blocks.

    A file `fired` in `folder` says that it has struck (a program may well survive that); with a limit the failure itself says so.
    """

    def __init__(self, wanted: dict[str, Any], folder: Path) -> None:
        self.where, self.call = wanted["where"], wanted["call"]
        self.counter = Counter(self.call, getattr(errno, wanted["errno"]), folder / FIRED)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Inside the block the disk is broken."""
        if self.where != "limit":
            with _counting(self.counter):
                yield
            return
        # Beyond the limit write(2) answers EFBIG, half-written files and all.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.call, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _counting(counter: Counter) -> Iterator[None]:
    before: dict[str, Any] = {name: getattr(os, name) for name in COUNTED}
    opened = io.open

    def counted(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            counter.tick(name)
            return before[name](*args, **kwargs)

        return call

    def open_counted(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wxa"):
            return opened(file, mode, buffering, *args, **kwargs)
        counter.tick("open")
        raw = Writer(file, mode.replace("b", "").replace("t", ""))
        raw.counter = counter
        if "b" in mode:
            return raw if buffering == 0 else io.BufferedWriter(raw)
        return io.TextIOWrapper(io.BufferedWriter(raw), *args, **kwargs)

    for name in COUNTED:
        setattr(os, name, counted(name))
    io.open = open_counted
    try:
        yield
    finally:
        io.open = opened
        for name, call in before.items():
            setattr(os, name, call)
