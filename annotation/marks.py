"""A text with the places that raters marked, cut where marks begin and end, the marks numbered like footnotes: pure, and never markup."""

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
    """A stretch of the text, the numbers of the marks that cover it, and of those that end behind it."""

    text: str
    covers: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Marked:
    """The text in pieces, in order: joined, they are the text again. `notes` are what the marks say, from number 1."""

    pieces: list[Piece]
    notes: list[str]


def cut(text: str, marks: Iterable[Mark]) -> Marked:
    """Number the marks by where they begin, and cut the text at their ends. A mark beyond the text's end is cut off there."""
    known = sorted(
        (Mark(min(mark.start, len(text)), min(mark.end, len(text)), mark.said) for mark in marks),
        key=lambda mark: (mark.start, mark.end, mark.said),
    )
    numbered = list(enumerate(known, start=1))
    places = sorted({0, len(text), *(mark.start for mark in known), *(mark.end for mark in known)})
    pieces = [
        Piece(
            text[start:end],
            tuple(number for number, mark in numbered if mark.start <= start and end <= mark.end),
            tuple(number for number, mark in numbered if mark.end == end),
        )
        for start, end in pairwise(places)
    ]
    # Something missing before the first word, or in a text without any.
    if at_once := tuple(number for number, mark in numbered if mark.end == 0):
        pieces.insert(0, Piece("", (), at_once))
    return Marked(pieces or [Piece("")], [mark.said for mark in known])
