"""Where a shown text and the stored one part ways."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.templatetags.compare import anchor, shifts, steps
from web.templatetags.rounds import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fever since Monday.", []),
        ("", []),
        # Two characters stand for one line end, and one invisible character for eight shown ones.
        ("a\r\nb", [[1, 2, 1, 3]]),
        ("a\u200bb", [[1, 9, 1, 2]]),
        ("\r\n\u202e", [[0, 1, 0, 2], [1, 9, 2, 3]]),
        # Beyond 16 bits: still one code point each.
        ("🌡️\u200b", [[2, 10, 2, 3]]),
    ],
)
def test_it_lists_what_is_shown_otherwise(text: str, expected: list[list[int]]) -> None:
    assert json.loads(shifts(text)) == expected


@given(st.text(alphabet="ab \r\n\u200b\u202e\x07🌡é"))
def test_every_place_that_is_shown_as_it_is_stored_is_found_again(text: str) -> None:
    shown = visible(text)
    moved = json.loads(shifts(text))
    place = 0
    stored = 0
    for start, end, begins, ends in [*moved, [len(shown), len(shown), len(text), len(text)]]:
        # Between two shifts both texts run side by side, character by character.
        assert shown[place:start] == text[stored:begins]
        assert start - place == begins - stored
        place, stored = end, ends


def test_steps_run_from_a_to_b_and_have_their_anchors() -> None:
    assert [value for value, _, _ in steps("comparative")] == ["2", "1", "0", "-1", "-2"]
    assert [value for value, _, _ in steps("which")] == ["1", "0", "-1"]
    assert anchor({"-1": "B is loose with a detail."}, "-1") == "B is loose with a detail."
    assert anchor(None, "2") == ""
