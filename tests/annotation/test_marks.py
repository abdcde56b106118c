"""Marked texts: cut where marks begin and end, and still the same text."""

from hypothesis import given
from hypothesis import strategies as st

from annotation.marks import Mark, Piece, cut


def test_marks_that_overlap_are_told_apart() -> None:
    assert cut("aspirin 750 mg", [Mark(0, 11, "one"), Mark(8, 14, "two")]) == [
        Piece("aspirin ", ("one",)),
        Piece("750", ("one", "two")),
        Piece(" mg", ("two",)),
    ]


def test_something_missing_is_a_place() -> None:
    assert cut("Stop. Go.", [Mark(5, 5, "dose")]) == [Piece("Stop.", ()), Piece(" Go.", (), ("dose",))]
    assert cut("Stop.", [Mark(5, 5, "dose")]) == [Piece("Stop.", ()), Piece("", (), ("dose",))]
    assert cut("", [Mark(0, 0, "all of it")]) == [Piece("", (), ("all of it",))]


def test_a_text_without_marks_is_one_piece() -> None:
    assert cut("Nothing.", []) == [Piece("Nothing.", ())]
    assert cut("", []) == [Piece("", ())]


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: Mark(min(ends), max(ends), f"{ends}")), max_size=6),
)
def test_the_pieces_are_the_text_and_every_mark_covers_what_it_says(text: str, marks: list[Mark]) -> None:
    pieces = cut(text, marks)
    assert "".join(piece.text for piece in pieces) == text
    for mark in marks:
        wanted = text[mark.start : mark.end]
        if wanted:
            assert "".join(piece.text for piece in pieces if mark.said in piece.said).count(wanted) >= 1
        elif mark.start == mark.end:
            assert any(mark.said in piece.here for piece in pieces)
