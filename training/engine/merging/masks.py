"""Which entries of a task vector stay: exact ranks by magnitude without a sort, equal magnitudes told apart by index."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Edge:
    """A place in the order of all entries by magnitude. Entries of magnitude ``at`` lie below it up to index ``split`` and above it
    from there on (``early`` false), or the other way round (``early`` true)."""

    at: float
    split: int
    early: bool = False

    def above(self, magnitudes: torch.Tensor, start: int) -> torch.Tensor:
        """The mask of those above, of entries number ``start`` and on. Shape (n,) float32, not negative, to (n,) bool."""
        cut = min(max(self.split - start, 0), magnitudes.numel())
        first, rest = magnitudes[:cut], magnitudes[cut:]
        if self.early:
            return torch.cat([first >= self.at, rest > self.at]) if cut else rest > self.at
        return torch.cat([first > self.at, rest >= self.at]) if cut else rest >= self.at


@dataclass(frozen=True)
class Band:
    """Entries above ``low`` and not above ``high``; null is no bound."""

    low: Edge | None = None
    high: Edge | None = None

    def mask(self, magnitudes: torch.Tensor, start: int = 0) -> torch.Tensor:
        """Of entries number ``start`` and on; (n,) float32 to (n,) bool."""
        kept = torch.ones_like(magnitudes, dtype=torch.bool) if self.low is None else self.low.above(magnitudes, start)
        return kept if self.high is None else kept & ~self.high.above(magnitudes, start)


NOTHING = Band(high=Edge(0.0, 0))


def largest(magnitudes: torch.Tensor, count: int) -> Band:
    """The ``count`` largest of (n,) float32; of equal ones the earlier go in first, as in mergekit's ties."""
    n = magnitudes.numel()
    if count >= n:
        return Band()
    if count <= 0:
        return NOTHING
    value = _smallest(magnitudes, n - count)
    room = count - int((magnitudes > value).sum())
    return Band(low=Edge(value, _index_of(magnitudes, value, room), early=True))


def middle(magnitudes: torch.Tensor, bottom: int, top: int) -> Band:
    """Without the ``bottom`` smallest and the ``top`` largest of (n,) float32; of equal ones the earlier is the smaller, as in
    mergekit's breadcrumbs."""
    n = magnitudes.numel()
    assert bottom >= 0
    assert top >= 0
    if bottom + top >= n:
        return NOTHING
    return Band(low=_edge(magnitudes, bottom) if bottom else None, high=_edge(magnitudes, n - top) if top else None)


def _edge(magnitudes: torch.Tensor, rank: int) -> Edge:
    """So that ``rank`` entries lie below."""
    value = _smallest(magnitudes, rank)
    return Edge(value, _index_of(magnitudes, value, rank - int((magnitudes < value).sum())))


def _smallest(magnitudes: torch.Tensor, rank: int) -> float:
    """The entry with ``rank`` entries before it in ascending order."""
    return float(magnitudes.kthvalue(rank + 1).values)


def _index_of(magnitudes: torch.Tensor, value: float, skip: int) -> int:
    """The index before which exactly ``skip`` entries equal ``value``."""
    if skip == 0:
        return 0
    return int((magnitudes == value).nonzero()[skip - 1]) + 1
