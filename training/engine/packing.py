"""Best-fit packing (Ding et al. 2024, arXiv 2404.10830): sequences side by side in rows of a fixed length, none cut that fits. Standard
library only."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Tokens ``start`` up to ``end`` of the ``index``-th sequence."""

    index: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def pieces(lengths: Sequence[int], limit: int) -> list[Piece]:
    """Every token of every sequence, in order; only a sequence longer than ``limit`` is cut, into pieces of ``limit`` and a rest."""
    assert limit > 0
    return [Piece(index, start, min(start + limit, length)) for index, length in enumerate(lengths) for start in range(0, length, limit)]


def best_fit(lengths: Sequence[int], limit: int) -> list[list[Piece]]:
    """Rows of at most ``limit`` tokens that hold every token of ``lengths`` once.

    Longest piece first, each into the row with the least room that still takes it (the oldest of equals), else into a new one.
    O(n log n) comparisons; deterministic.
    """
    rows: list[list[Piece]] = []
    room: list[tuple[int, int]] = []  # (tokens free, row), sorted
    for piece in sorted(pieces(lengths, limit), key=lambda piece: (-len(piece), piece.index, piece.start)):
        place = bisect_left(room, (len(piece), -1))
        if place < len(room):
            free, row = room.pop(place)
        else:
            free, row = limit, len(rows)
            rows.append([])
        rows[row].append(piece)
        if free > len(piece):
            insort(room, (free - len(piece), row))
    assert sum(len(piece) for row in rows for piece in row) == sum(lengths)
    return rows
