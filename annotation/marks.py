"""A text with the places that raters marked, cut where marks begin and end: pure, and never markup."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Mark:
    """Code points `start` ≤ i < `end` of a text, and what is said of them. Where both are equal, something is missing there."""

    start: int
    end: int
    said: str


@dataclass(frozen=True)
class Piece:
    """A stretch of the text and what is said of all of it; `here` is what is said of the place before it."""

    text: str
    said: tuple[str, ...]
    here: tuple[str, ...] = ()


def cut(text: str, marks: Iterable[Mark]) -> list[Piece]:
    """The whole text in pieces, in order: joined, they are the text again. A mark beyond its end is cut off there."""
    known = [Mark(min(mark.start, len(text)), min(mark.end, len(text)), mark.said) for mark in marks]
    places = sorted({0, len(text), *(mark.start for mark in known), *(mark.end for mark in known)})
    pieces = [
        Piece(
            text[start:end],
            tuple(mark.said for mark in known if mark.start <= start and end <= mark.end),
            tuple(mark.said for mark in known if mark.start == mark.end == start),
        )
        for start, end in pairwise(places)
    ]
    last = tuple(mark.said for mark in known if mark.start == mark.end == len(text))
    return [*pieces, Piece("", (), last)] if last or not pieces else pieces
