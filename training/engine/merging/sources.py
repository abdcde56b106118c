"""Where the numbers of a merge come from, a stretch at a time in float32: stored weights, and weights with an adapter on top.

A source knows its tensors' names and shapes (``layout``) and opens one by name; what it opens reads any stretch of the tensor taken as
one vector. Merges of merges (training.engine.merging.stream) are sources too, which is how a chain is never rounded in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import torch

from training.engine.errors import BadModel
from training.engine.merging.plan import FLOATS, Entry, Layout, read_layout

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "U64": torch.uint64,
    "I32": torch.int32, "U32": torch.uint32, "I16": torch.int16, "U16": torch.uint16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class Reader(Protocol):
    """One tensor, taken as one vector. Used by one thread."""

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Entries ``start`` to ``stop``, shape (stop − start,), float32. The caller may change it; the next read overwrites it."""


class Source(Protocol):
    @property
    def layout(self) -> Layout: ...

    def open(self, name: str) -> Reader: ...

    def expect(self, name: str) -> None:
        """This tensor is wanted next: ask the system to have it read."""


class Weights:
    """A model folder. Read with ``pread`` and not mapped: a mapped page counts as ours for as long as the system likes."""

    def __init__(self, folder: Path, stack: ExitStack, model: str = "the model") -> None:
        self.model, self._layout = model, read_layout(folder, model)
        self._files: dict[Path, int] = {}
        for file in {entry.file for entry in self._layout.values()}:
            self._files[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._files[file])

    @property
    def layout(self) -> Layout:
        return self._layout

    def open(self, name: str) -> Reader:
        entry = self._layout[name]
        return Stored(entry, self._files[entry.file], self.model)

    def expect(self, name: str) -> None:
        if hasattr(os, "posix_fadvise"):
            entry = self._layout[name]
            os.posix_fadvise(self._files[entry.file], entry.begin, entry.bytes, os.POSIX_FADV_WILLNEED)

    def raw(self, name: str, start: int = 0, count: int | None = None) -> bytes:
        """The stored bytes of a small tensor, or some of a large one's."""
        entry = self._layout[name]
        left = entry.bytes - start
        return os.pread(self._files[entry.file], left if count is None else min(left, count), entry.begin + start)


class Stored:
    """A stored tensor. The buffers grow to the longest stretch asked for, and serve all that follow."""

    def __init__(self, entry: Entry, file: int, model: str) -> None:
        assert entry.dtype in FLOATS
        self._entry, self._file, self._model = entry, file, model
        self._dtype, self._size = DTYPES[entry.dtype], FLOATS[entry.dtype]
        self._buffer = torch.empty(0, dtype=self._dtype)
        self._wide = self._buffer if self._dtype == torch.float32 else torch.empty(0)
        self._cut(0)

    def _cut(self, count: int) -> None:
        """Views of that length: most stretches are as long as the one before, and making them takes as long as reading does."""
        if self._buffer.numel() < count:
            self._buffer = torch.empty(count, dtype=self._dtype)
            self._wide = self._buffer if self._dtype == torch.float32 else torch.empty(count)
        self._raw, self._made = self._buffer[:count], self._wide[:count]
        self._bytes = memoryview(self._raw.view(torch.uint8).numpy())
        self._count = count

    def read(self, start: int, stop: int) -> torch.Tensor:
        if stop - start != self._count:
            self._cut(stop - start)
        view, offset = self._bytes, self._entry.begin + start * self._size
        while len(view):
            done = os.preadv(self._file, [view], offset)
            if done == 0:
                raise BadModel(f"{self._model}: {self._entry.file.name} became shorter while it was read")
            view, offset = view[done:], offset + done
        return self._made if self._wide is self._buffer else self._made.copy_(self._raw)


class Held:
    """A tensor in memory, of any shape and float type, read as a stored one is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._flat, self._made = tensor.reshape(-1), torch.empty(0)

    def read(self, start: int, stop: int) -> torch.Tensor:
        if self._made.numel() < stop - start:
            self._made = torch.empty(stop - start)
        return self._made[: stop - start].copy_(self._flat[start:stop])


class Changed:
    """A source with additions to some of its tensors: ``added(name)`` gives a reader of what to add, or None."""

    def __init__(self, base: Source, added: Callable[[str], Reader | None]) -> None:
        self.base, self.added = base, added

    @property
    def layout(self) -> Layout:
        return self.base.layout

    def open(self, name: str) -> Reader:
        base, added = self.base.open(name), self.added(name)
        return base if added is None else _Sum(base, added)

    def expect(self, name: str) -> None:
        self.base.expect(name)


class _Sum:
    def __init__(self, base: Reader, added: Reader) -> None:
        self._base, self._added = base, added

    def read(self, start: int, stop: int) -> torch.Tensor:
        # A stored float32 tensor's buffer is refilled at every read, so it may be added to.
        return self._base.read(start, stop).add_(self._added.read(start, stop))
