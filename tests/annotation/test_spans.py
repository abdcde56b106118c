"""Places in a text: where a quotation stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import spans

TEXT = "No infarction.\nGive 5 mg  daily; no 5 mg twice. (See [1].) 😀 Ends."


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("No infarction", "No infarction"),
        ("  5 mg daily ", "5 mg  daily"),
        ("infarction. Give", "infarction.\nGive"),
        ("(See [1].)", "(See [1].)"),
        ("Ends.", "Ends."),
        ("5 mg", "5 mg"),
    ],
)
def test_a_quotation_is_found_whatever_its_white_space(quote: str, found: str) -> None:
    place = spans.find(TEXT, quote)
    assert place is not None
    assert TEXT[place[0] : place[1]] == found


def test_of_several_places_it_is_the_first() -> None:
    assert spans.find(TEXT, "5 mg") == (20, 24)


def test_offsets_are_code_points() -> None:
    assert spans.find("😀 ok", "ok") == (2, 4)


@pytest.mark.parametrize("quote", ["", "  ", "no Infarction", "5mg", ".*"])
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert spans.find(TEXT, quote) is None


@given(text=st.text(max_size=50), start=st.integers(0, 50), length=st.integers(1, 20))
def test_every_part_of_a_text_is_found_in_it(text: str, start: int, length: int) -> None:
    quote = text[start : start + length]
    if quote.split():
        place = spans.find(text, quote)
        assert place is not None
        assert text[place[0] : place[1]].split() == quote.split()
