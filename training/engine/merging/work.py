"""One tensor of every model, flat, and how an operator reads it: in float32, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from training.engine.merging.masks import Chunks
from training.engine.merging.randomness import Stream
from training.engine.merging.surveys import WholeVector
from training.engine.recipes import Resolved

# Entries at a time: a few such float32 chunks fit a core's cache.
CHUNK = 1 << 18


@dataclass(frozen=True)
class Parts:
    """One tensor of every model: ``experts`` in the order of the recipe's inputs, ``keys`` what identifies each one's weights (their
    digest; only random methods read them). All of one shape; ``base`` null where the method has none."""

    name: str
    base: torch.Tensor | None
    experts: Sequence[torch.Tensor]
    keys: Sequence[str] = ()


class Work:
    """Flat views of the parts, with the numbers that are for them. Any float dtype; nothing is changed."""

    def __init__(self, resolved: Resolved, parts: Parts, seed: int, survey: WholeVector | None) -> None:
        self.resolved, self.parts, self.seed, self.survey = resolved, parts, seed, survey
        self.shape = parts.experts[0].shape
        self.n = parts.experts[0].numel()
        self.count = len(parts.experts)
        # A row is what the last dimension spans; a vector is one row.
        self.width = int(self.shape[-1]) if len(self.shape) else 1
        self._experts = [expert.reshape(-1) for expert in parts.experts]
        self._base = None if parts.base is None else parts.base.reshape(-1)

    def shared(self, name: str) -> float:
        return self.resolved.shared[name]

    def own(self, name: str) -> list[float]:
        return [values[name] for values in self.resolved.inputs]

    @property
    def has_base(self) -> bool:
        return self._base is not None

    def base(self, piece: slice) -> torch.Tensor:
        assert self._base is not None, f"{self.resolved.method} needs a base"
        return self._base[piece].float()

    def expert(self, index: int, piece: slice) -> torch.Tensor:
        return self._experts[index][piece].float()

    def delta(self, index: int, piece: slice) -> torch.Tensor:
        """A tensor of its own, which may be written to."""
        return self.expert(index, piece) - self.base(piece)

    def pieces(self, *, rows: bool = False) -> Iterator[slice]:
        """All entries, chunk by chunk; with ``rows`` no chunk ends within a row."""
        step = max(1, CHUNK // max(1, self.width)) * self.width if rows else CHUNK
        return (slice(start, min(start + step, self.n)) for start in range(0, self.n, max(1, step)))

    def magnitudes(self, index: int) -> Chunks:
        return lambda: (self.delta(index, piece).abs_() for piece in self.pieces())

    def stream(self, index: int) -> Stream:
        return Stream(self.seed, self.parts.keys[index], self.parts.name)
