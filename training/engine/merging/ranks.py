"""Exact order statistics of more numbers than one wants to hold: they come by in chunks, what is kept is the few near the wanted rank.

A sample says where the wanted value must lie, one pass counts what is smaller and collects what lies there. If the sample misled, or too
many equal values lie there to be collected, two passes over the numbers' bits (a radix selection) find it whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from training.engine.merging.masks import NOTHING, Band, Edge

# Entries looked at beforehand, in blocks laid evenly over the tensor; the bracket is that many standard deviations wide on either side.
SAMPLE, BLOCKS, WIDTH = 1 << 16, 64, 8.0
# Collected for one rank at most; beyond that the radix passes need less.
MOST = 1 << 23
# Of a magnitude's 31 bits those that the second of two radix passes tells apart.
LOW = 15

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
    """``value`` at the rank, how many are ``less``, and where those ``equal`` to it lie, as far as that is known: (start and stop of a
    chunk, how many in it)."""

    def __init__(self, value: float, less: int, equal: int, places: list[tuple[int, int, int]] | None) -> None:
        self.value, self.less, self.equal, self._places = value, less, equal, places

    def index(self, skip: int, chunks: Chunks, between: Callable[[int, int], np.ndarray]) -> int:
        """The index before which exactly ``skip`` entries equal the value; ``between`` reads the chunk from start to stop."""
        if self._places is None or skip <= 0:
            return after_equal(chunks, self.value, skip)
        for start, stop, count in self._places:
            if skip <= count:
                return start + int(np.flatnonzero(between(start, stop) == np.float32(self.value))[skip - 1]) + 1
            skip -= count
        return stop


class _Wanted:
    def __init__(self, rank: int, low: float, high: float) -> None:
        self.rank, self.low, self.high = rank, np.float32(low), np.float32(high)
        self.less, self.collected = 0, 0
        self._near: list[tuple[int, int, np.ndarray]] = []
        self._equal: list[tuple[int, int, int]] = []

    def feed(self, start: int, chunk: np.ndarray) -> None:
        below = chunk < self.low
        self.less += int(np.count_nonzero(below))
        near = chunk <= self.high
        np.not_equal(near, below, out=near)  # from low to high; below implies near
        count = int(np.count_nonzero(near))
        self.collected += 0 if self.low == self.high else count
        if self.low == self.high:
            self._equal.append((start, start + len(chunk), count))
        elif self.collected <= MOST:
            self._near.append((start, start + len(chunk), chunk[np.flatnonzero(near)]))
        else:
            self._near.clear()

    def found(self) -> Found | None:
        place = self.rank - self.less
        if self.low == self.high:
            equal = sum(count for _, _, count in self._equal)
            return Found(float(self.low), self.less, equal, self._equal) if 0 <= place < equal else None
        if self.collected > MOST or not 0 <= place < self.collected:
            return None
        near = np.concatenate([values for _, _, values in self._near])
        near.partition(place)
        value = near[place]
        places = [(start, stop, int(np.count_nonzero(values == value))) for start, stop, values in self._near]
        less = self.less + int(np.count_nonzero(near < value))
        return Found(float(value), less, sum(count for _, _, count in places), places)


def after_equal(chunks: Chunks, value: float, skip: int) -> int:
    """The index before which exactly ``skip`` entries of that magnitude lie. What is not a number equals nothing: then after the last."""
    stop = 0
    for start, chunk in chunks() if skip > 0 else ():
        places, stop = np.flatnonzero(chunk == np.float32(value)), start + len(chunk)
        if skip <= len(places):
            return start + int(places[skip - 1]) + 1
        skip -= len(places)
    return stop


# --- a float32 that is not negative has the order of its bits read as a whole number ------------------------------------------------


def _radix(rank: int, chunks: Chunks) -> Found:
    """A histogram of the high bits finds the bin in which the rank lies, one of that bin's low bits the value."""
    counts = torch.zeros(1 << (31 - LOW), dtype=torch.int64)
    for _, chunk in chunks():
        counts += high_bits(chunk, LOW)
    bin_, below = find(counts, rank)
    counts = torch.zeros(1 << LOW, dtype=torch.int64)
    for _, chunk in chunks():
        counts += low_bits(chunk, bin_, LOW)
    place, within = find(counts, rank - below)
    return Found(magnitude(bin_, place, LOW), below + within, int(counts[place]), None)


def high_bits(chunk: np.ndarray, low: int) -> torch.Tensor:
    """How many of (n,) magnitudes have each of the 2**(31 − ``low``) values of the high bits."""
    return torch.bincount(torch.from_numpy(chunk).view(torch.int32) >> low, minlength=1 << (31 - low))


def low_bits(chunk: np.ndarray, bin_: int, low: int) -> torch.Tensor:
    """Of those whose high bits are ``bin_``, how many have each of the 2**``low`` values of the low bits."""
    bits = torch.from_numpy(chunk).view(torch.int32)
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


# --- bands of a task vector --------------------------------------------------------------------------------------------------------


class Wish:
    """A band still to be found: the ``count`` largest of ``n`` with the earlier of equals first, as in mergekit's ties; or all but
    ``bottom`` smallest and ``top`` largest with the earlier of equals the smaller, as in its breadcrumbs."""

    def __init__(self, n: int, *, largest: int | None = None, bottom: int = 0, top: int = 0) -> None:
        assert bottom >= 0
        assert top >= 0
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

    def band(self, chunks: Chunks, between: Callable[[int, int], np.ndarray]) -> Band:
        """After all has been fed."""
        assert self._ranks is not None
        found = self._ranks.found(chunks)
        if self._largest is not None:
            # Of those equal to the smallest that stays, as many stay as are left when the larger ones are in.
            stay = self._largest - (self.n - found[0].less - found[0].equal)
            return Band(low=Edge(found[0].value, found[0].index(stay, chunks, between), early=True))
        edges = iter(found)
        low = high = None
        if self._bottom:
            one = next(edges)
            low = Edge(one.value, one.index(self._bottom - one.less, chunks, between))
        if self._top:
            one = next(edges)
            high = Edge(one.value, one.index(self.n - self._top - one.less, chunks, between))
        return Band(low=low, high=high)


Look = Callable[[int, int, Iterable[int]], Iterator[tuple[int, np.ndarray]]]
"""(start, stop, which of several vectors) to each one's number and magnitudes, float32 of shape (stop − start,)."""
Spans = Callable[[], Iterator[tuple[int, int]]]


def bands(wishes: Sequence[Wish], look: Look, spans: Spans) -> list[Band]:
    """The band of each of several vectors of one length: one pass over all of them together, and seldom another."""
    asked = [index for index, wish in enumerate(wishes) if wish.known is None]
    if asked:
        samples: dict[int, list[np.ndarray]] = {index: [] for index in asked}
        # What can be collected whole needs no sample: nothing is smaller than 0.
        for start, stop in sample_spans(wishes[0].n) if wishes[0].n > 2 * SAMPLE else ():
            for index, chunk in look(start, stop, asked):
                samples[index].append(chunk.copy())
        for index in asked:
            wishes[index].begin(np.concatenate(samples[index] or [np.empty(0, dtype=np.float32)]))
        for start, stop in spans():
            for index, chunk in look(start, stop, asked):
                wishes[index].feed(start, chunk)

    def found(index: int, wish: Wish) -> Band:
        def between(start: int, stop: int) -> np.ndarray:
            return next(look(start, stop, (index,)))[1]

        return wish.known or wish.band(lambda: ((start, between(start, stop)) for start, stop in spans()), between)

    return [found(index, wish) for index, wish in enumerate(wishes)]
