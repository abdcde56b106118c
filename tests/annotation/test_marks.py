"""Marked texts: cut where marks begin and end, numbered, and still the same text."""

from hypothesis import given
from hypothesis import strategies as st

from annotation.marks import Mark, Marked, Piece, cut


def test_marks_that_overlap_are_told_apart() -> None:
    assert cut("aspirin 750 mg", [Mark(8, 14, "two"), Mark(0, 11, "one")]) == Marked(
        [Piece("aspirin ", (1,)), Piece("750", (1, 2), (1,)), Piece(" mg", (2,), (2,))], ["one", "two"]
    )


def test_something_missing_is_a_place() -> None:
    assert cut("Stop. Go.", [Mark(5, 5, "dose")]).pieces == [Piece("Stop.", (), (1,)), Piece(" Go.")]
    assert cut("Stop.", [Mark(5, 5, "dose")]).pieces == [Piece("Stop.", (), (1,))]
    assert cut("Stop.", [Mark(0, 0, "name")]).pieces == [Piece("", (), (1,)), Piece("Stop.")]
    assert cut("", [Mark(0, 0, "all of it")]).pieces == [Piece("", (), (1,))]


def test_a_text_without_marks_is_one_piece() -> None:
    assert cut("Nothing.", []) == Marked([Piece("Nothing.")], [])
    assert cut("", []) == Marked([Piece("")], [])


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: Mark(min(ends), max(ends), f"{ends}")), max_size=6),
)
def test_the_pieces_are_the_text_and_every_mark_covers_what_it_says(text: str, marks: list[Mark]) -> None:
    found = cut(text, marks)
    assert "".join(piece.text for piece in found.pieces) == text
    assert sorted(number for piece in found.pieces for number in piece.ends) == list(range(1, len(marks) + 1))
    covered = ["".join(piece.text for piece in found.pieces if number in piece.covers) for number in range(1, len(marks) + 1)]
    assert sorted(zip(found.notes, covered, strict=True)) == sorted((mark.said, text[mark.start : mark.end]) for mark in marks)
