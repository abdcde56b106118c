"""Which texts hold passages of others: runs of thirteen words in common, compared exactly and in bounded memory. Values in, values out.

A text is the set of its runs of thirteen words (Brown et al. 2020, appendix C), after case, punctuation and white space are gone. A text
holds a passage of another when they share at least half of the runs that the shorter of them has: so a short text is found inside a long
one, a long one's larger half inside a short one, and both in JSON or with other words around them. One run of a text is every word in its
place: a word changed in each dozen hides it here, and is what likeness (`annotation/near.py`) is for.

The texts asked about are held, as eight bytes for each run, so many at once; the others go by, stretch by stretch, and are never held.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WORDS = 13  # of a run
SHARE = 0.5
# Runs that are held at once: 8 bytes each, and twice 4 for whose it is, three times over while they are sorted.
AT_ONCE = 4_000_000
# Words of the others that are hashed at once.
STRETCH = 200_000
# Places that are counted at once, where a run stands in many texts.
HITS = 2_000_000

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def holders(texts: Sequence[str], others: Iterable[str], *, share: float = SHARE, at_once: int = AT_ONCE) -> set[int]:
    """Places in `texts` of those that hold a passage of one of `others`, which is gone through as often as there are batches.

    `share` is of the runs that the shorter of two texts has, 0…1; whatever it is, one run has to be shared. A text of fewer than thirteen
    words holds nothing and is held by none.
    """
    return {place for batch in _batches(texts, at_once) for place in batch.holders(others, share)}


class _Batch:
    """Some of the texts: their runs, sorted, with whose each is."""

    def __init__(self, places: Sequence[int], runs: Sequence[Hashes]) -> None:
        self.places = places
        self.sizes = np.array([len(each) for each in runs], dtype=np.int64)
        every = np.concatenate(runs)
        order = np.argsort(every, kind="stable")
        self.runs = every[order]
        self.owners = np.repeat(np.arange(len(runs), dtype=np.int32), self.sizes)[order]

    def holders(self, others: Iterable[str], share: float) -> Iterator[int]:
        found = np.zeros(len(self.places), dtype=bool)
        for stretch in _stretches(others):
            every = np.concatenate(stretch)
            starts, ends = np.searchsorted(self.runs, every, side="left"), np.searchsorted(self.runs, every, side="right")
            at = 0
            for theirs in stretch:
                low, high = starts[at : at + len(theirs)], ends[at : at + len(theirs)]
                at += len(theirs)
                if (met := high > low).any():
                    enough = np.maximum(1, share * np.minimum(self.sizes, len(theirs)))
                    found |= self._shared(low[met], high[met]) >= enough
        return (self.places[row] for row in np.flatnonzero(found).tolist())

    def _shared(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
        """(texts,): how many of the runs that stand from `low` to `high` each text has."""
        shared = np.zeros(len(self.places), dtype=np.int64)
        ends = np.cumsum(high - low)
        first = 0
        while first < len(low):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + HITS, side="right")))
            counts = (high - low)[first:last]
            rows = np.repeat(low[first:last] - (ends[first:last] - counts - before), counts) + np.arange(counts.sum())
            shared += np.bincount(self.owners[rows], minlength=len(self.places))
            first = last
        return shared


def _batches(texts: Sequence[str], at_once: int) -> Iterator[_Batch]:
    places: list[int] = []
    held: list[Hashes] = []
    size = 0
    for place, text in enumerate(texts):
        if not len(runs := _runs(text)):
            continue
        places.append(place)
        held.append(runs)
        size += len(runs)
        if size >= at_once:
            yield _Batch(places, held)
            places, held, size = [], [], 0
    if places:
        yield _Batch(places, held)


def _stretches(texts: Iterable[str]) -> Iterator[list[Hashes]]:
    held: list[Hashes] = []
    size = 0
    for text in texts:
        if len(runs := _runs(text)):
            held.append(runs)
            size += len(runs)
        if size >= STRETCH:
            yield held
            held, size = [], 0
    if held:
        yield held


def _runs(text: str) -> Hashes:
    """The sorted set of a text's runs, hashed."""
    words = np.array([_word(word) for word in _WORD.findall(text.casefold())], dtype=np.uint64)
    if len(words) < WORDS:
        return words[:0]
    made = np.zeros(len(words) - WORDS + 1, dtype=np.uint64)
    for place in range(WORDS):
        made = (made ^ (made >> np.uint64(29))) * _FACTOR + words[place : place + len(made)]
    return np.unique(made)


@lru_cache(maxsize=1 << 17)
def _word(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
