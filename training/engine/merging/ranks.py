"""Exact order statistics of more numbers than one wants to hold: they come by in chunks, what is kept is the few near the wanted rank.

A sample says where the wanted value must lie, one pass counts what is smaller and collects what lies there. If the sample misled, or too
many equal values lie there to be collected, two passes over the numbers' bits (a radix selection) find it whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from training.engine.merging.masks import NOTHING, Band, Edge

# Entries looked at beforehand, in blocks laid evenly over the tensor; the bracket is that many standard deviations wide on either side.
SAMPLE, BLOCKS, WIDTH = 1 << 16, 64, 8.0
# Collected for one rank at most; beyond that the radix passes need less.
MOST = 1 << 23
# float32 is read as whole numbers, which for magnitudes are in the same order: first its upper half, then its lower.
HALF = 16

Chunks = Callable[[], Iterator[tuple[int, np.ndarray]]]
"""A new pass over all magnitudes: (the chunk's start, float32 of shape (count,), none negative), in order."""


def sample_spans(n: int) -> list[tuple[int, int]]:
    """Stretches that stand for a tensor of ``n`` entries."""
    length = max(1, min(n, SAMPLE) // BLOCKS)
    return [(start, start + length) for start in (round(block * (n - length) / (BLOCKS - 1)) for block in range(BLOCKS))]


class Ranks:
    """The values at some ranks (0 is the smallest) of ``n`` magnitudes, of which ``sample`` is a fair part."""

    def __init__(self, n: int, ranks: list[int], sample: np.ndarray) -> None:
        assert all(0 <= rank < n for rank in ranks)
        ordered = np.sort(sample)
        self.n = n
        self._wanted = [_Wanted(rank, *_bracket(ordered, rank / n)) for rank in ranks]

    def feed(self, start: int, chunk: np.ndarray) -> None:
        for wanted in self._wanted:
            wanted.feed(start, chunk)

    def found(self, chunks: Chunks) -> list[Found]:
        """After every chunk was fed; ``chunks`` for another look where one is needed."""
        return [wanted.found() or _radix(wanted.rank, chunks) for wanted in self._wanted]


def _bracket(ordered: np.ndarray, share: float) -> tuple[float, float]:
    size = len(ordered)
    margin = WIDTH * math.sqrt(size * share * (1 - share)) + WIDTH
    low, high = math.floor(share * size - margin), math.ceil(share * size + margin)
    return (float(ordered[low]) if low >= 0 else 0.0), (float(ordered[high]) if high < size else math.inf)


class Found:
    """``value`` at the rank, how many are ``less``, and where those equal to it lie, as far as that is known."""

    def __init__(self, value: float, less: int, equal: list[tuple[int, int]] | None) -> None:
        self.value, self.less, self._equal = value, less, equal

    def index(self, skip: int, chunks: Chunks, between: Callable[[int], np.ndarray]) -> int:
        """The index before which exactly ``skip`` entries equal the value; ``between(start)`` reads the chunk that starts there."""
        if skip == 0:
            return 0
        if self._equal is not None:
            for start, count in self._equal:
                if skip <= count:
                    return start + int(np.flatnonzero(between(start) == np.float32(self.value))[skip - 1]) + 1
                skip -= count
            raise AssertionError("more entries were to be skipped than equal the value")
        for start, chunk in chunks():
            places = np.flatnonzero(chunk == np.float32(self.value))
            if skip <= len(places):
                return start + int(places[skip - 1]) + 1
            skip -= len(places)
        raise AssertionError("more entries were to be skipped than equal the value")


class _Wanted:
    def __init__(self, rank: int, low: float, high: float) -> None:
        self.rank, self.low, self.high = rank, np.float32(low), np.float32(high)
        self.less, self.collected = 0, 0
        self._near: list[tuple[int, np.ndarray]] = []
        self._equal: list[tuple[int, int]] = []

    def feed(self, start: int, chunk: np.ndarray) -> None:
        below = chunk < self.low
        self.less += int(np.count_nonzero(below))
        near = chunk <= self.high
        np.not_equal(near, below, out=near)  # from low to high; below implies near
        count = int(np.count_nonzero(near))
        self.collected += 0 if self.low == self.high else count
        if self.low == self.high:
            self._equal.append((start, count))
        elif self.collected <= MOST:
            self._near.append((start, chunk[np.flatnonzero(near)]))
        else:
            self._near.clear()

    def found(self) -> Found | None:
        if self.low == self.high:
            inside = 0 <= self.rank - self.less < sum(count for _, count in self._equal)
            return Found(float(self.low), self.less, self._equal) if inside else None
        place = self.rank - self.less
        if self.collected > MOST or not 0 <= place < self.collected:
            return None
        near = np.concatenate([values for _, values in self._near])
        near.partition(place)
        value = near[place]
        equal = [(start, int(np.count_nonzero(values == value))) for start, values in self._near]
        return Found(float(value), self.less + int(np.count_nonzero(near < value)), equal)


def _radix(rank: int, chunks: Chunks) -> Found:
    """Upper halves of the bits first, then the lower halves of those that share the upper one."""
    counts = np.zeros(1 << (32 - HALF), dtype=np.int64)
    for _, chunk in chunks():
        counts += np.bincount(chunk.view(np.uint32) >> HALF, minlength=len(counts))
    upper = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
    less = int(counts[:upper].sum())
    counts = np.zeros(1 << HALF, dtype=np.int64)
    for _, chunk in chunks():
        bits = chunk.view(np.uint32)
        those = bits[np.flatnonzero(bits >> HALF == upper)] & ((1 << HALF) - 1)
        counts += np.bincount(those, minlength=len(counts))
    lower = int(np.searchsorted(np.cumsum(counts), rank - less, side="right"))
    value = np.array([upper << HALF | lower], dtype=np.uint32).view(np.float32)[0]
    return Found(float(value), less + int(counts[:lower].sum()), None)


# --- bands of a task vector --------------------------------------------------------------------------------------------------------


class Wish:
    """A band still to be found: the ``count`` largest with the earlier of equals first (TIES), or all but ``bottom`` and ``top`` with the
    earlier of equals the smaller (Breadcrumbs), as training.engine.merging.masks defines them."""

    def __init__(self, n: int, *, largest: int | None = None, bottom: int = 0, top: int = 0) -> None:
        self.n, self._largest, self._bottom, self._top = n, largest, bottom, top
        self._ranks: Ranks | None = None

    @property
    def known(self) -> Band | None:
        """The band, where no number has to be looked at for it."""
        if self._largest is not None:
            return Band() if self._largest >= self.n else NOTHING if self._largest <= 0 else None
        if self._bottom + self._top >= self.n:
            return NOTHING
        return None if self._bottom or self._top else Band()

    def begin(self, sample: np.ndarray) -> None:
        if self._largest is not None:
            ranks = [self.n - self._largest]
        else:
            ranks = [rank for rank, wanted in ((self._bottom, self._bottom), (self.n - self._top, self._top)) if wanted]
        self._ranks = Ranks(self.n, ranks, sample)

    def feed(self, start: int, chunk: np.ndarray) -> None:
        assert self._ranks is not None
        self._ranks.feed(start, chunk)

    def band(self, chunks: Chunks, between: Callable[[int], np.ndarray]) -> Band:
        assert self._ranks is not None
        found = self._ranks.found(chunks)
        if self._largest is not None:
            # In ascending order the equal ones that stay are the last of their kind, and by index the first.
            equal_kept = self._largest - (self.n - found[0].less - _equal(found[0], chunks))
            return Band(low=Edge(found[0].value, found[0].index(equal_kept, chunks, between), early=True))
        edges = iter(found)
        low = high = None
        if self._bottom:
            one = next(edges)
            low = Edge(one.value, one.index(self._bottom - one.less, chunks, between))
        if self._top:
            one = next(edges)
            high = Edge(one.value, one.index(self.n - self._top - one.less, chunks, between))
        return Band(low=low, high=high)


def _equal(found: Found, chunks: Chunks) -> int:
    if found._equal is not None:
        return sum(count for _, count in found._equal)
    return sum(int(np.count_nonzero(chunk == np.float32(found.value))) for _, chunk in chunks())


def thin(delta: torch.Tensor, band: Band, start: int, spare: torch.Tensor) -> None:
    """Set to 0, in place, what lies outside ``band``: entries number ``start`` and on, (n,) float32. ``spare`` is scratch of that shape.

    By hard shrinkage, one vectorised pass a bound: x where |x| > λ. What is not a number stays so.
    """
    if band.high is not None:
        _shrink(delta, band.high, start, spare)
        # Above the upper bound spare is delta itself, elsewhere 0: exact.
        if band.low is not None:
            _shrink(delta, band.low, start, delta)
        delta.sub_(spare)
    elif band.low is not None:
        _shrink(delta, band.low, start, delta)


def _shrink(delta: torch.Tensor, edge: Edge, start: int, out: torch.Tensor) -> None:
    cut = min(max(edge.split - start, 0), delta.numel())
    # "At least the value" is "more than the float just below it"; for 0 both leave what is 0 at 0.
    below = max(0.0, float(np.nextafter(np.float32(edge.at), np.float32(-1.0))))
    before, after = (below, edge.at) if edge.early else (edge.at, below)
    for piece, bound in ((slice(0, cut), before), (slice(cut, None), after)):
        if delta[piece].numel():
            torch.hardshrink(delta[piece], bound, out=out[piece])
