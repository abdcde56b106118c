"""Best-fit packing: every token once, no row too long, no sequence cut that fits, never more rows than first fit."""

from hypothesis import example, given
from hypothesis import strategies as st

from training.engine.packing import Piece, best_fit, pieces

lengths = st.lists(st.integers(0, 40), max_size=60)


def first_fit(sizes: list[int], limit: int) -> int:
    """How many rows first fit takes, in the order given: what a reader of documents would do by hand."""
    rooms: list[int] = []
    for piece in pieces(sizes, limit):
        place = next((index for index, room in enumerate(rooms) if room >= len(piece)), None)
        if place is None:
            rooms.append(limit - len(piece))
        else:
            rooms[place] -= len(piece)
    return len(rooms)


@given(sizes=lengths, limit=st.integers(1, 25))
@example(sizes=[0, 0], limit=1)
def test_every_token_stands_once_and_no_row_is_too_long(sizes: list[int], limit: int) -> None:
    rows = best_fit(sizes, limit)
    placed = sorted((piece.index, token) for row in rows for piece in row for token in range(piece.start, piece.end))
    assert placed == [(index, token) for index, size in enumerate(sizes) for token in range(size)]
    assert all(0 < sum(len(piece) for piece in row) <= limit for row in rows)


@given(sizes=lengths, limit=st.integers(1, 25))
def test_only_what_is_longer_than_a_row_is_cut(sizes: list[int], limit: int) -> None:
    whole = [piece for row in best_fit(sizes, limit) for piece in row if sizes[piece.index] <= limit]
    assert all((piece.start, piece.end) == (0, sizes[piece.index]) for piece in whole)


@given(sizes=st.lists(st.integers(1, 400), min_size=200, max_size=300), limit=st.integers(256, 512))
def test_it_takes_no_more_rows_than_first_fit(sizes: list[int], limit: int) -> None:
    assert len(best_fit(sizes, limit)) <= first_fit(sizes, limit)


def test_an_example_worked_by_hand() -> None:
    # Eight a row. 11 is cut in 8 and 3; then 6, 5, 3, 3 and 2 find the fullest row that takes them.
    rows = best_fit([5, 11, 2, 6, 3], 8)
    assert [[(piece.index, len(piece)) for piece in row] for row in rows] == [[(1, 8)], [(3, 6), (2, 2)], [(0, 5), (1, 3)], [(4, 3)]]
    assert rows[0] == [Piece(1, 0, 8)]
