"""Which entries of a task vector stay: exact ranks by magnitude without a sort, equal magnitudes told apart by index.

A float32 that is not negative has the order of its bits read as a whole number. So a histogram of the high bits finds the bin in which
a rank lies, and a histogram of that bin's low bits the magnitude itself: two passes over chunks that are made again each time, in memory
that does not grow with the tensor. ``Chunks`` is called for each pass and yields the magnitudes in order of index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

Chunks = Callable[[], Iterator[torch.Tensor]]
# Of a magnitude's 31 bits.
LOW = 15


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
        if cut == 0 or cut == magnitudes.numel():
            return magnitudes >= self.at if self.early == (cut > 0) else magnitudes > self.at
        first, rest = magnitudes[:cut], magnitudes[cut:]
        return torch.cat([first >= self.at, rest > self.at] if self.early else [first > self.at, rest >= self.at])


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


def largest(chunks: Chunks, n: int, count: int) -> Band:
    """The ``count`` largest of n; of equal ones the earlier go in first, as in mergekit's ties."""
    if count >= n:
        return Band()
    if count <= 0:
        return NOTHING
    ((value, below, equal),) = ranked(chunks, [n - count])
    # Of those equal to the smallest that stays, as many stay as are left when the larger ones are in.
    return Band(low=Edge(value, nth_equal(chunks, value, count - (n - below - equal), equal), early=True))


def middle(chunks: Chunks, n: int, bottom: int, top: int) -> Band:
    """Without the ``bottom`` smallest and the ``top`` largest of n; of equal ones the earlier is the smaller, as in mergekit's
    breadcrumbs."""
    assert bottom >= 0
    assert top >= 0
    if bottom + top >= n:
        return NOTHING
    ranks = ([bottom] if bottom else []) + ([n - top] if top else [])
    edges = [
        Edge(value, nth_equal(chunks, value, rank - below, equal))
        for rank, (value, below, equal) in zip(ranks, ranked(chunks, ranks), strict=True)
    ]
    return Band(low=edges[0] if bottom else None, high=edges[-1] if top else None)


def ranked(chunks: Chunks, ranks: Sequence[int]) -> list[tuple[float, int, int]]:
    """For each rank (0: the smallest) the magnitude there, how many are smaller and how many equal."""
    if not ranks:
        return []
    high = torch.zeros(1 << (31 - LOW), dtype=torch.int64)
    for chunk in chunks():
        high += high_bits(chunk, LOW)
    bins = [find(high, rank) for rank in ranks]
    low = {bin_: torch.zeros(1 << LOW, dtype=torch.int64) for bin_, _ in bins}
    for chunk in chunks():
        for bin_, counts in low.items():
            counts += low_bits(chunk, bin_, LOW)
    found = []
    for rank, (bin_, below) in zip(ranks, bins, strict=True):
        place, within = find(low[bin_], rank - below)
        found.append((magnitude(bin_, place, LOW), below + within, int(low[bin_][place])))
    return found


def high_bits(chunk: torch.Tensor, low: int) -> torch.Tensor:
    """How many of (n,) magnitudes have each of the 2**(31 − ``low``) values of the high bits."""
    return torch.bincount(chunk.view(torch.int32) >> low, minlength=1 << (31 - low))


def low_bits(chunk: torch.Tensor, bin_: int, low: int) -> torch.Tensor:
    """Of those whose high bits are ``bin_``, how many have each of the 2**``low`` values of the low bits."""
    bits = chunk.view(torch.int32)
    inside = (bits >> low == bin_).nonzero().view(-1)
    return torch.bincount(bits[inside] & ((1 << low) - 1), minlength=1 << low)


def find(counts: torch.Tensor, rank: int) -> tuple[int, int]:
    """The bin in which the entry of that rank lies, and how many lie in the bins before it."""
    upto = counts.cumsum(0)
    bin_ = int(torch.searchsorted(upto, rank, right=True))
    return bin_, int(upto[bin_] - counts[bin_])


def magnitude(high: int, low_place: int, low: int) -> float:
    """The float32 whose bits these are."""
    return float(torch.tensor((high << low) | low_place, dtype=torch.int32).view(torch.float32))


def nth_equal(chunks: Chunks, value: float, count: int, equal: int) -> int:
    """The index before which exactly ``count`` of the ``equal`` entries of that magnitude lie."""
    if count <= 0:
        return 0
    start = 0
    for chunk in chunks():
        # All of them: after the last entry, which need not be looked for.
        if count < equal:
            places = (chunk == value).nonzero().view(-1)
            if count <= places.numel():
                return start + int(places[count - 1]) + 1
            count -= places.numel()
            equal -= places.numel()
        start += chunk.numel()
    return start
