"""Near-duplicates: which texts say almost the same, found by MinHash signatures and a banded index. Values in, values out.

A text is the set of its runs of five characters, after case and white space are made plain; two texts are as alike as the share of runs
they have in common (Jaccard, 0…1). A changed word in a text of 300 characters leaves about 0.94, a changed sentence in five about 0.7.
At the usual threshold of 0.9 a copy with a word or a figure changed is found, and another patient's note on the same template is not.

Signatures are one-permutation MinHash (Li, Owen & Zhang 2012) with optimal densification (Shrivastava 2017): one hash for each run,
whatever the signature's length. Two signatures agree in about as many of their 128 places as the texts are alike, with a standard error
of at most 0.045 (0.027 at 0.9). Eight places make a band; texts that agree in a whole band are compared. What that finds and misses is
measured in `tests/annotation/test_near.py`.

Memory: 512 bytes a text for signatures, 16 times 12 for an index; texts are hashed in stretches of a million characters.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Signatures: TypeAlias = NDArray[np.uint32]
Key = TypeVar("Key", bound=Hashable)

THRESHOLD = 0.9
RUN = 5  # characters
PLACES = 128  # of a signature
# Characters that are hashed at once: about 40 bytes each while it lasts.
STRETCH = 1_000_000
# A text is compared with so many others of each bucket at most: where thousands share a band, they are copies of each other.
NEIGHBOURS = 32
# Four standard errors below the threshold, a pair's signatures rule it out; the others are compared run by run.
DOUBT = 0.11
# Rows that an index keeps loose before it sorts them in.
LOOSE = 4096

_EMPTY = np.uint32(0xFFFFFFFF)
_FACTOR = 0x9E3779B97F4A7C15


def plain(text: str) -> str:
    """The text as it is compared: case folded, every run of white space one blank."""
    return " ".join(text.casefold().split())


def signatures(texts: Sequence[str]) -> Signatures:
    """(texts, 128) uint32. The same text has the same signature on every machine; empty texts have one of their own."""
    made = np.empty((len(texts), PLACES), dtype=np.uint32)
    first = 0
    for stretch in _stretches(texts):
        made[first : first + len(stretch)] = _signed(stretch)
        first += len(stretch)
    return made


def likeness(a: Signatures, b: Signatures) -> NDArray[np.float64]:
    """How alike two texts are, 0…1, as their signatures tell: share of equal places along the last axis."""
    share: NDArray[np.float64] = np.asarray(np.mean(a == b, axis=-1), dtype=np.float64)
    return share


def jaccard(a: str, b: str) -> float:
    """How alike two texts are, 0…1, exactly: shared runs of characters by all. Two empty texts are alike."""
    return _alike(_runs(plain(a)), _runs(plain(b)))


def groups(ids: Sequence[Key], texts: Sequence[str], *, threshold: float = THRESHOLD) -> list[list[Key]]:
    """The ids of texts that are alike, group by group, each in the order given; texts without a likeness are in none.

    A group holds whoever is at least `threshold` alike to one of its members, so its ends may differ more. Equal texts are always
    found; others with the recall that the module's test measures; no pair is joined that is less alike (every candidate is compared
    run by run). Raises ValueError for a threshold outside 0.5…1, or ids and texts of different numbers.
    """
    if len(ids) != len(texts):
        raise ValueError(f"{len(ids)} ids for {len(texts)} texts.")
    same: dict[bytes, int] = {}
    leader = list(range(len(texts)))
    kept: list[int] = []
    for place, text in enumerate(texts):
        first = same.setdefault(_digest(plain(text)), place)
        if first == place:
            kept.append(place)
        else:
            leader[place] = first
    signed = signatures([texts[place] for place in kept])
    cached: dict[int, NDArray[np.uint64]] = {}
    for one, other in _candidates(signed, threshold):
        a, b = kept[one], kept[other]
        if _root(leader, a) == _root(leader, b):
            continue
        if _alike(_remembered(cached, a, texts), _remembered(cached, b, texts)) >= threshold:
            low, high = sorted((_root(leader, a), _root(leader, b)))
            leader[high] = low
    found: dict[int, list[Key]] = {}
    for place, name in enumerate(ids):
        found.setdefault(_root(leader, place), []).append(name)
    return [members for members in found.values() if len(members) > 1]


class Index(Generic[Key]):
    """Texts of a stream, added and asked for one by one or many at once. It keeps signatures, not texts: likeness is estimated.

    An answer is right within the signatures' standard error: of texts exactly at the threshold, half are found.
    """

    def __init__(self, *, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._rows = _rows_for(threshold)
        self._names: list[Key] = []
        self._signed: Signatures = np.empty((LOOSE, PLACES), dtype=np.uint32)
        self._loose: dict[int, list[int]] = {}
        self._loose_from = 0
        # Runs of (sorted band keys, the row of each), each less than half as long as the one before it.
        self._sorted: list[tuple[NDArray[np.uint64], NDArray[np.int32]]] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: Key, text: str) -> None:
        self.add_many([name], [text])

    def add_many(self, names: Sequence[Key], texts: Sequence[str]) -> None:
        for start in range(0, len(texts), LOOSE):
            signed = signatures(texts[start : start + LOOSE])
            rows = zip(names[start : start + LOOSE], signed, _band_keys(signed, self._rows).tolist(), strict=True)
            for name, places, keys in rows:
                self._put(name, places, keys)

    def ask(self, text: str) -> list[tuple[Key, float]]:
        """Who is alike to `text`, with how much, the likest first and the earliest among equals; empty when nobody is."""
        return self.ask_many([text])[0]

    def ask_many(self, texts: Sequence[str]) -> list[list[tuple[Key, float]]]:
        signed = signatures(texts)
        return [self._answer(places, keys) for places, keys in zip(signed, _band_keys(signed, self._rows), strict=True)]

    def admit(self, name: Key, text: str) -> Key | None:
        """Add the text unless somebody alike is there; then who that is."""
        signed = signatures([text])
        keys = _band_keys(signed, self._rows)[0]
        if found := self._answer(signed[0], keys):
            return found[0][0]
        self._put(name, signed[0], keys.tolist())
        return None

    def _answer(self, signed: Signatures, keys: NDArray[np.uint64]) -> list[tuple[Key, float]]:
        rows: set[int] = set()
        for key in keys.tolist():
            rows.update(self._loose.get(key, ())[-NEIGHBOURS:])
        for run, owners in self._sorted:
            starts, ends = np.searchsorted(run, keys, side="left"), np.searchsorted(run, keys, side="right")
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                rows.update(owners[start : min(end, start + NEIGHBOURS)].tolist())
        if not rows:
            return []
        order = sorted(rows)
        alike = likeness(self._signed[order], signed[None, :])
        found = [(row, share) for row, share in zip(order, alike.tolist(), strict=True) if share >= self.threshold]
        return [(self._names[row], share) for row, share in sorted(found, key=lambda one: -one[1])]

    def _put(self, name: Key, signed: Signatures, keys: list[int]) -> None:
        row = len(self._names)
        if row == len(self._signed):
            grown = np.empty((len(self._signed) * 3 // 2, PLACES), dtype=np.uint32)
            grown[:row] = self._signed
            self._signed = grown
        self._signed[row] = signed
        self._names.append(name)
        for key in keys:
            self._loose.setdefault(key, []).append(row)
        if row + 1 - self._loose_from >= LOOSE:
            self._settle()

    def _settle(self) -> None:
        """Sort the loose rows in, and merge runs until each is less than half as long as the one before it."""
        fresh = np.arange(self._loose_from, len(self._names), dtype=np.int32)
        keys = _band_keys(self._signed[fresh], self._rows)
        run, owners = keys.ravel(), np.repeat(fresh, keys.shape[1])
        while True:
            order = np.argsort(run, kind="stable")
            run, owners = run[order], owners[order]
            if not self._sorted or len(self._sorted[-1][0]) >= 2 * len(run):
                break
            older, their = self._sorted.pop()
            run, owners = np.concatenate([older, run]), np.concatenate([their, owners])
        self._sorted.append((run, owners))
        self._loose, self._loose_from = {}, len(self._names)


# --- hashing -------------------------------------------------------------------------------------------------------------------------


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stretches(texts: Iterable[str]) -> Iterator[list[str]]:
    stretch: list[str] = []
    size = 0
    for text in texts:
        made = plain(text)
        stretch.append(made)
        size += len(made) + RUN
        if size >= STRETCH:
            yield stretch
            stretch, size = [], 0
    if stretch:
        yield stretch


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the result hangs on every bit of the value."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _hashed(padded: str) -> NDArray[np.uint64]:
    """(characters − 4,): a hash of every run of five characters."""
    points = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    size = len(points) - RUN + 1
    made = np.zeros(size, dtype=np.uint64)
    for place in range(RUN):
        made = made * np.uint64(_FACTOR) + points[place : place + size] + np.uint64(1)
    return _mixed(made)


def _padded(text: str) -> str:
    # A text shorter than a run is one run.
    return text.ljust(RUN, "\x00")


def _runs(text: str) -> NDArray[np.uint64]:
    """The sorted set of a text's hashed runs. ``text`` is plain."""
    return np.unique(_hashed(_padded(text)))


def _alike(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _signed(stretch: list[str]) -> Signatures:
    """(texts, 128): the least hash of each text in each of 128 bins; an empty bin borrows from another, the same for all texts."""
    texts = [_padded(text) for text in stretch]
    hashes = _hashed("".join(texts))
    sizes = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    owner = np.repeat(np.arange(len(texts)), sizes)[: len(hashes)]
    ends = np.cumsum(sizes)
    # Runs that reach into the next text are nobody's.
    own = np.arange(len(hashes)) + RUN <= ends[owner]
    hashes, owner = hashes[own], owner[own]
    cell = owner * PLACES + (hashes & np.uint64(PLACES - 1)).astype(np.int64)
    made = np.full(len(texts) * PLACES, _EMPTY, dtype=np.uint32)
    # No hash may look like an empty bin.
    np.minimum.at(made, cell, np.minimum((hashes >> np.uint64(32)).astype(np.uint32), np.uint32(_EMPTY - 1)))
    return _densified(made.reshape(len(texts), PLACES))


def _densified(made: Signatures) -> Signatures:
    filled = made != _EMPTY
    places = np.arange(PLACES, dtype=np.uint64)
    attempt = 0
    rows, bins = np.nonzero(~filled)
    while len(rows):
        attempt += 1
        lender = (_mixed(places * np.uint64(_FACTOR) + np.uint64(attempt)) % np.uint64(PLACES)).astype(np.int64)
        lent = filled[rows, lender[bins]]
        made[rows[lent], bins[lent]] = made[rows[lent], lender[bins[lent]]]
        rows, bins = rows[~lent], bins[~lent]
    return made


# --- bands ---------------------------------------------------------------------------------------------------------------------------


def _rows_for(threshold: float) -> int:
    """Places a band has: as many as still find 99.5 % of pairs at the threshold. 8 at 0.9."""
    if not 0.5 <= threshold <= 1:
        raise ValueError("A threshold lies between 0.5 and 1.")
    for rows in (16, 8, 4):
        if 1 - (1 - threshold**rows) ** (PLACES // rows) >= 0.995:
            return rows
    return 2


def _band_keys(signed: Signatures, rows: int, first: int = 0) -> NDArray[np.uint64]:
    """(texts, bands) uint64: equal where all places of a band are. `first` is the number of the first band in `signed`."""
    cut = signed.reshape(len(signed), signed.shape[1] // rows, rows)
    keys = np.broadcast_to(np.arange(first, first + cut.shape[1], dtype=np.uint64), cut.shape[:2]).copy()
    for place in range(rows):
        keys = _mixed(keys * np.uint64(_FACTOR) + cut[:, :, place].astype(np.uint64) + np.uint64(1))
    return keys


def _candidates(signed: Signatures, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a band and whose signatures do not rule them out; band by band, so that memory stays flat."""
    rows = _rows_for(threshold)
    for band in range(PLACES // rows):
        keys = _band_keys(signed[:, band * rows : (band + 1) * rows], rows, band)[:, 0]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for apart in range(1, NEIGHBOURS + 1):
            close = np.nonzero(ordered[apart:] == ordered[:-apart])[0]
            if not len(close):
                break
            for start in range(0, len(close), LOOSE):
                one, other = order[close[start : start + LOOSE]], order[close[start : start + LOOSE] + apart]
                likely = likeness(signed[one], signed[other]) >= threshold - DOUBT
                yield from zip(one[likely].tolist(), other[likely].tolist(), strict=True)


def _remembered(cached: dict[int, NDArray[np.uint64]], place: int, texts: Sequence[str]) -> NDArray[np.uint64]:
    if (found := cached.get(place)) is None:
        if len(cached) >= LOOSE:
            cached.clear()
        found = cached[place] = _runs(plain(texts[place]))
    return found


def _root(leader: list[int], place: int) -> int:
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = leader[place]
    return place
