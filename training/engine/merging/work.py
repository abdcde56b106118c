"""One tensor of every model, and how an operator reads it: in float32, a chunk at a time, from wherever it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.engine.merging.randomness import Stream
from training.engine.merging.ranks import Chunks
from training.engine.merging.sources import Held, Reader
from training.engine.merging.surveys import WholeVector
from training.engine.recipes import Resolved

# Entries at a time, a multiple of randomness.BLOCK. Larger ones leave the cache, smaller ones cost more calls than arithmetic.
CHUNK = 1 << 17

Combined = Callable[[int, int], torch.Tensor]
"""(start, stop) to the merged entries, float32; the caller may change them, and the next call overwrites them."""


@dataclass(frozen=True)
class Parts:
    """Readers of one tensor of every model: ``experts`` in the order of the recipe's inputs, ``keys`` what identifies each one's weights
    (their digest; only random methods read them). All of one ``shape``; ``base`` null where the method has none."""

    name: str
    shape: tuple[int, ...]
    base: Reader | None
    experts: Sequence[Reader]
    keys: Sequence[str] = ()

    @property
    def n(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    def spans(self, step: int | None = None) -> Iterator[tuple[int, int]]:
        """All entries, ``step`` at a time."""
        step = step or CHUNK
        return ((start, min(start + step, self.n)) for start in range(0, self.n, step))

    def base_at(self, start: int, stop: int) -> torch.Tensor:
        assert self.base is not None, "this method needs a base"
        return self.base.read(start, stop)

    def changes(self, start: int, stop: int, those: Iterable[int] | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Each expert's number and changes (or of ``those`` only), which the caller may change in turn; the base is read once for all."""
        base = self.base_at(start, stop)
        for index in range(len(self.experts)) if those is None else those:
            yield index, self.experts[index].read(start, stop).sub_(base)

    def magnitudes(self, start: int, stop: int, those: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """As ``changes``, their absolute values."""
        return ((index, delta.abs_().numpy()) for index, delta in self.changes(start, stop, those))

    def passes(self, index: int, step: int | None = None) -> Chunks:
        """One expert's magnitudes, to be gone through as often as one likes."""
        return lambda: ((start, found) for start, stop in self.spans(step) for _, found in self.magnitudes(start, stop, (index,)))


def held(name: str, base: torch.Tensor | None, experts: Sequence[torch.Tensor], keys: Sequence[str] = ()) -> Parts:
    """Tensors in memory, of any float type."""
    shape = experts[0].shape
    assert all(tensor.shape == shape for tensor in (*experts, *([] if base is None else [base])))
    return Parts(name, tuple(shape), None if base is None else Held(base), [Held(expert) for expert in experts], keys)


class Work:
    """Parts with the numbers that are for them."""

    def __init__(self, resolved: Resolved, parts: Parts, seed: int = 0, survey: WholeVector | None = None) -> None:
        assert len(parts.experts) == len(resolved.inputs)
        self.resolved, self.parts, self.seed, self.survey = resolved, parts, seed, survey
        self.n, self.shape, self.count = parts.n, parts.shape, len(parts.experts)
        # A row is what the last dimension spans; a vector is one row.
        self.width = int(self.shape[-1]) if self.shape else 1

    def shared(self, name: str) -> float:
        return self.resolved.shared[name]

    def own(self, name: str) -> list[float]:
        return [values[name] for values in self.resolved.inputs]

    @property
    def has_base(self) -> bool:
        return self.parts.base is not None

    def base(self, start: int, stop: int) -> torch.Tensor:
        return self.parts.base_at(start, stop)

    def expert(self, index: int, start: int, stop: int) -> torch.Tensor:
        return self.parts.experts[index].read(start, stop)

    def experts(self, start: int, stop: int) -> Iterator[torch.Tensor]:
        return (reader.read(start, stop) for reader in self.parts.experts)

    def changes(self, start: int, stop: int) -> Iterator[torch.Tensor]:
        return (delta for _, delta in self.parts.changes(start, stop))

    def spans(self, *, width: int = 1) -> Iterator[tuple[int, int]]:
        """All entries, chunk by chunk; no chunk ends within a row of ``width``."""
        return self.parts.spans(max(1, CHUNK // max(1, width)) * max(1, width))

    def stream(self, index: int) -> Stream:
        return Stream(self.seed, self.parts.keys[index], self.parts.name)


class Scratch:
    """``count`` float32 buffers that grow to the longest chunk asked for, and serve all that follow."""

    def __init__(self, count: int = 1) -> None:
        self._held = torch.empty(count, 0)

    def __call__(self, size: int) -> torch.Tensor:
        """Shape (count, size), of any content."""
        if self._held.shape[1] < size:
            self._held = torch.empty(len(self._held), size)
        return self._held[:, :size]


def by_rows(combined: Combined, width: int) -> Combined:
    """Any chunk of what can be computed for whole rows only: those that it touches."""
    width = max(1, width)

    def at(start: int, stop: int) -> torch.Tensor:
        first = start // width * width
        return combined(first, -(-stop // width) * width)[start - first : stop - first]

    return at
