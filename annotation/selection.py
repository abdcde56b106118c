"""Which of the candidate pairs a campaign takes, and how likely each was to be taken. Pure: NumPy and the standard library.

Random and stratified draws measure; the informative one serves training only (product.md 2.10): four fifths of it maximise the
determinant of the information that a linear reward model would gain, one fifth is random, so that something representative is left.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from math import ceil
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

RANDOM_SHARE = 0.2
RIDGE = 0.1
WORD_BUCKETS, CHARACTER_BUCKETS = 160, 96
CHARACTERS = (3, 4)
_WORD = re.compile(r"\w+|[^\w\s]")
_MIX = np.uint32(2654435761)  # Knuth's multiplicative hash

Features = NDArray[np.float32]


class Draw(NamedTuple):
    """One candidate that was taken: its place among them, the probability with which it was, by which rule, and from which stratum."""

    place: int
    probability: float
    selected_by: Literal["random", "stratified", "informative"]
    stratum: str = ""


def at_random(*, strata: Sequence[str], limit: int | None, draw: random.Random) -> list[Draw]:
    """`limit` of the candidates (None: all) in random order; each with probability limit / candidates. `strata` are only noted."""
    order = list(range(len(strata)))
    draw.shuffle(order)
    kept = len(order) if limit is None else min(limit, len(order))
    return [Draw(index, kept / len(order), "random", strata[index]) for index in order[:kept]]


def stratified(*, strata: Sequence[str], limit: int | None, draw: random.Random) -> list[Draw]:
    """`limit` candidates, each stratum by its share and at least one of it; within a stratum, each with probability taken / there.

    Raises ValueError when there are more strata than the limit allows to cover.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        groups[stratum].append(index)
    limit = len(strata) if limit is None else min(limit, len(strata))
    if limit < len(groups):
        raise ValueError(f"{limit} pairs cannot cover {len(groups)} combinations of task and document.")
    taken = _shares({stratum: len(members) for stratum, members in groups.items()}, limit)
    found = [
        Draw(index, taken[stratum] / len(groups[stratum]), "stratified", stratum)
        for stratum in sorted(groups)
        for index in draw.sample(groups[stratum], taken[stratum])
    ]
    draw.shuffle(found)
    return found


def _shares(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """How many of each stratum: one where less would be due, the rest by size with the largest remainders. Sums to `limit`.

    Giving one where less is due takes from the others, so that no share ever exceeds its stratum.
    """
    taken: dict[str, int] = {}
    while True:
        others = {stratum: size for stratum, size in sizes.items() if stratum not in taken}
        due = {stratum: (limit - len(taken)) * size / sum(others.values()) for stratum, size in others.items()}
        small = [stratum for stratum, share in due.items() if share < 1]
        if not small:
            break
        taken |= dict.fromkeys(small, 1)
    short = limit - len(taken) - sum(map(int, due.values()))
    rounded_up = sorted(due, key=lambda stratum: (int(due[stratum]) - due[stratum], stratum))[:short]
    return taken | {stratum: int(share) + (stratum in rounded_up) for stratum, share in due.items()}


def informative(*, differences: Features, strata: Sequence[str], limit: int | None, draw: random.Random) -> list[Draw]:
    """A fifth of `limit` at random from all candidates, the rest greedily D-optimal given those; in random order.

    `differences` (candidates × features): features of the first text less those of the second. The random fifth is drawn first and
    from everything, so that it alone can be weighted by its probability; the rest follows from it by rule: probability 1.
    """
    limit = len(strata) if limit is None else min(limit, len(strata))
    by_chance = at_random(strata=strata, limit=ceil(limit * RANDOM_SHARE), draw=draw)
    chosen = d_optimal(differences, limit - len(by_chance), given=[one.place for one in by_chance])
    found = [*by_chance, *(Draw(index, 1.0, "informative", strata[index]) for index in chosen)]
    draw.shuffle(found)
    return found


def d_optimal(features: Features, count: int, given: Sequence[int] = ()) -> list[int]:
    """The indices of `count` rows, each the one that raises log det(ridge·I + Σ xxᵀ) most, after the rows `given`.

    Sherman–Morrison keeps the inverse A⁻¹ and every row's xᵀA⁻¹x: with u = A⁻¹x and s = xᵀu, taking x lowers the others' by (yᵀu)²/(1+s),
    so a step costs one product with the features: linear in rows.
    """
    rows, width = features.shape
    if count >= rows - len(given):  # nothing to choose
        return [index for index in range(rows) if index not in set(given)]
    inverse = np.eye(width, dtype=np.float32) / np.float32(RIDGE)
    gains = (features**2).sum(axis=1) / np.float32(RIDGE)
    free = np.ones(rows, dtype=bool)
    chosen: list[int] = []
    for step in range(len(given) + count):
        index = given[step] if step < len(given) else int(np.argmax(np.where(free, gains, -1)))
        along = inverse @ features[index]
        scale = 1 + max(float(features[index] @ along), 0.0)
        inverse -= np.outer(along, along / np.float32(scale))
        # einsum, not @: the threads of a BLAS wait for each other in a busy web process, ten times longer than one takes alone.
        gains -= np.einsum("ij,j->i", features, along) ** 2 / np.float32(scale)
        free[index] = False
        if step >= len(given):
            chosen.append(index)
    return chosen


def log_determinant(features: Features, indices: Sequence[int]) -> float:
    """log det(ridge·I + Σ xxᵀ) of the rows `indices`: what d_optimal raises."""
    kept = features[list(indices)].astype(np.float64)
    sign, value = np.linalg.slogdet(RIDGE * np.eye(features.shape[1]) + kept.T @ kept)
    assert sign > 0
    return float(value)


def embed(texts: Sequence[str]) -> Features:
    """Hashed word uni- and bigrams and character 3- and 4-grams of each text (texts × 256), signed, each of the two parts of length 1.

    Length 1, so that a long text is not more than a short one; the same text always gives the same row, on any machine.
    """
    words: dict[str, int] = {}
    rows = np.zeros((len(texts), WORD_BUCKETS + CHARACTER_BUCKETS), dtype=np.float32)
    for number, text in enumerate(texts):
        lowered = text.lower()
        found = [words.get(word) or words.setdefault(word, crc32(word.encode())) for word in _WORD.findall(lowered)]
        single = np.array(found, dtype=np.uint32)
        double = single[:-1] * np.uint32(31) + single[1:]
        points = np.frombuffer(lowered.encode("utf-32-le", "replace"), dtype=np.uint32)
        rows[number, :WORD_BUCKETS] = _counted([single, double], WORD_BUCKETS)
        rows[number, WORD_BUCKETS:] = _counted([_grams(points, size) for size in CHARACTERS], CHARACTER_BUCKETS)
    return rows


def _grams(points: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    """One hash for every run of `size` code points."""
    runs = np.zeros(max(len(points) - size + 1, 0), dtype=np.uint32)
    for place in range(size):
        runs = runs * np.uint32(257) + points[place : place + len(runs)]
    return runs


def _counted(hashes: Sequence[NDArray[np.uint32]], buckets: int) -> NDArray[np.float64]:
    """Signed counts by bucket, damped by the square root, of length 1 (or 0 for a text without any)."""
    mixed = np.concatenate(hashes) * _MIX
    mixed ^= mixed >> np.uint32(15)
    signs = (mixed & np.uint32(1)).astype(np.float64) * 2 - 1
    counts = np.bincount((mixed >> np.uint32(1)) % np.uint32(buckets), weights=signs, minlength=buckets)
    damped = np.sign(counts) * np.sqrt(np.abs(counts))
    length = float(np.linalg.norm(damped))
    return damped / length if length else damped
