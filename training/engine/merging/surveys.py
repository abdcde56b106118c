"""What a method has to see of all tensors before it can merge one: TIES' largest changes of the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from training.engine.merging import ranks
from training.engine.merging.masks import Band, Edge

if TYPE_CHECKING:
    from training.engine.merging.work import Parts

# 20 high bits and 11 low ones: what is kept for every tensor is small, and two passes are enough.
LOW = 11
# Entries at a time: a histogram of so many bins costs as much as several hundred thousand entries do.
CHUNK = 1 << 22


class WholeVector:
    """The ``density`` share of each expert's changes that is largest over all tensors together (Yadav et al. 2023, as the authors'
    code takes it; the count is max(1, int(density N))). Equal ones go in by tensor name and then by index.

    Two passes over all tensors, each in any order: ``look`` at every one that it ``wants``, then ``turn``; ``open`` while a pass is still
    wanted. Where some of several equal changes at the edge stay and some go, a third looks at the tensor in which that happens. Held: 8 MB
    an expert, and 8 kB an expert and tensor.
    """

    def __init__(self, densities: Sequence[float]) -> None:
        self._densities = list(densities)
        self._sizes: dict[str, int] = {}
        self._high = [torch.zeros(1 << (31 - LOW), dtype=torch.int64) for _ in densities]
        self._low: list[dict[str, torch.Tensor]] = [{} for _ in densities]
        self._bins: list[tuple[int, int] | None] = []
        self._values: list[float | None] = []
        # (tensor, expert): how many of the entries at the edge stay where not all do; then the index where those that stay end.
        self._split: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._passes = 0
        self.open = any(density < 1 for density in densities)

    def wants(self, name: str) -> bool:
        """Whether this pass has to see that tensor."""
        return self.open and (self._passes < 2 or any(split[0] == name for split in self._split))

    def look(self, name: str, parts: Parts) -> None:
        """One tensor of the base and of every expert, in the recipe's order."""
        if not self.wants(name):
            return
        self._sizes[name] = parts.n
        if self._passes == 0:
            for start, stop in parts.spans(CHUNK):
                for index, chunk in parts.magnitudes(start, stop, range(len(self._densities))):
                    self._high[index] += ranks.high_bits(chunk, LOW)
        elif self._passes == 1:
            counts = {index: torch.zeros(1 << LOW, dtype=torch.int64) for index, found in enumerate(self._bins) if found is not None}
            for start, stop in parts.spans(CHUNK):
                for index, chunk in parts.magnitudes(start, stop, counts):
                    found = self._bins[index]
                    assert found is not None
                    counts[index] += ranks.low_bits(chunk, found[0], LOW)
            for index, those in counts.items():
                self._low[index][name] = those.to(torch.int32)
        else:
            for index, value in enumerate(self._values):
                if (name, index) in self._split and value is not None:
                    self._ends[name, index] = ranks.after_equal(parts.passes(index, CHUNK), value, self._split[name, index])

    def turn(self) -> None:
        """The pass is over."""
        assert self.open
        self._passes += 1
        if self._passes == 1:
            self._bins = [self._bin(index) for index in range(len(self._densities))]
        elif self._passes == 2:
            self._values = [self._edge(index) for index in range(len(self._densities))]
            self._high, self._low = [], []
        self.open = self._passes == 1 or (self._passes == 2 and bool(self._split))

    def _count(self, index: int) -> tuple[int, int]:
        total = sum(self._sizes.values())
        return max(1, int(self._densities[index] * total)), total

    def _bin(self, index: int) -> tuple[int, int] | None:
        count, total = self._count(index)
        return None if self._densities[index] >= 1 or count >= total else ranks.find(self._high[index], total - count)

    def _edge(self, index: int) -> float | None:
        if (found := self._bins[index]) is None:
            return None
        count, total = self._count(index)
        bin_, below = found
        low = torch.stack(list(self._low[index].values())).sum(0)
        place, within = ranks.find(low, total - count - below)
        room = count - (total - below - within - int(low[place]))
        for name in sorted(self._low[index]):
            equal = int(self._low[index][name][place])
            stay = min(room, equal)
            room -= stay
            if 0 < stay < equal:
                self._split[name, index] = stay
            else:
                self._ends[name, index] = self._sizes[name] if stay else 0
        return ranks.magnitude(bin_, place, LOW)

    def band(self, name: str, index: int) -> Band:
        """What stays of one expert's tensor."""
        assert not self.open
        value = self._values[index] if self._values else None
        return Band() if value is None else Band(low=Edge(value, self._ends[name, index], early=True))
