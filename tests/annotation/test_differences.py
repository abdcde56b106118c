"""Word differences: they can always be put together again, they mark what differs, and no text makes them slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import differences
from annotation.differences import ADDED, REMOVED, SAME

some_words = st.lists(st.sampled_from(["no", "infarction", "5", "mg", "daily", ".", ",", "\n", "  ", "é", "漢", "字"]), max_size=40)
some_text = st.one_of(some_words.map(" ".join), st.text(max_size=60))


def marked(segments: tuple[differences.Segment, ...], mark: str) -> list[str]:
    return [segment.text.strip() for segment in segments if segment.mark == mark]


@given(a=some_text, b=some_text)
def test_both_texts_can_be_put_together_again(a: str, b: str) -> None:
    found = differences.difference(a, b)
    assert "".join(segment.text for segment in found.left) == a
    assert "".join(segment.text for segment in found.right) == b
    same = ["".join(words.split()) for words in ("".join(marked(found.left, SAME)), "".join(marked(found.right, SAME)))]
    assert same[0] == same[1]
    assert 0 <= found.share <= 1


@given(before=some_text, after=some_text)
def test_an_edit_holds_both_texts(before: str, after: str) -> None:
    found = differences.changes(before, after)
    assert "".join(segment.text for segment in found.segments if segment.mark != REMOVED) == after
    kept_and_removed = "".join(segment.text for segment in found.segments if segment.mark != ADDED)
    assert "".join(kept_and_removed.split()) == "".join(before.split())
    assert found.words == found.removed + found.added


def test_it_marks_the_words_that_differ() -> None:
    found = differences.difference("Troponin normal, 5 mg daily.", "Troponin raised, 50 mg daily.")
    assert marked(found.left, REMOVED) == ["normal", "5"]
    assert marked(found.right, ADDED) == ["raised", "50"]
    assert marked(found.left, SAME) == ["Troponin", ",", "mg daily."]
    assert found.share == pytest.approx(5 / 7)


def test_numbers_and_hyphened_words_stay_whole() -> None:
    assert [word.strip() for word in differences.words("BP 130/80, 1.5 mg co-amoxiclav (i.v.)")] == [
        "BP", "130/80", ",", "1.5", "mg", "co-amoxiclav", "(", "i.v", ".", ")",
    ]  # fmt: skip


def test_equal_texts_differ_nowhere_and_a_new_line_end_is_no_difference() -> None:
    assert differences.difference("No infarction.", "No infarction.").share == 1
    found = differences.difference("No infarction. Home.", "No infarction.\nHome.")
    assert found.share == 1
    assert found.right[0].text == "No infarction.\nHome."
    assert differences.difference("", "").share == 1


def test_an_edit_counts_what_was_taken_out_and_put_in() -> None:
    found = differences.changes("Give 5 mg daily.", "Give 50 mg twice daily.")
    assert (found.removed, found.added, found.words) == (1, 2, 3)
    assert [(segment.text, segment.mark) for segment in found.segments] == [
        ("Give ", SAME), ("5 ", REMOVED), ("50 ", ADDED), ("mg ", SAME), ("twice ", ADDED), ("daily.", SAME),
    ]  # fmt: skip


def test_white_space_after_a_change_need_not_be_marked() -> None:
    segment = differences.changes("Give 5 mg.", "Give 50  \nmg.").segments[2]
    assert (segment.text, segment.words, segment.gap) == ("50  \n", "50", "  \n")


def test_json_is_compared_mark_by_mark() -> None:
    found = differences.difference('"dose": "75 mg"}],\n', '"dose": 750}],\n')
    assert marked(found.left, REMOVED) == ['"75 mg"']
    assert marked(found.right, ADDED) == ["750"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    found = differences.difference("心筋梗塞なし", "心筋梗塞あり")
    assert marked(found.left, REMOVED) == ["なし"]
    assert marked(found.right, ADDED) == ["あり"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("pain " * 60_000, "pain " * 59_000 + "none "),
        ("pain\n" * 60_000, "ache\n" * 60_000),
        (" ".join(str(n) for n in range(60_000)), " ".join(str(n + 7) for n in range(60_000))),
        ("\n".join(f"Day {n}: no pain, walks." for n in range(9_000)), "\n".join(f"Day {n}: some pain, walks." for n in range(9_000))),
        ("a" * 1_000_000, "b" * 1_000_000),
        (" " * 500_000, "x"),
        (". " * 100_000, ", " * 100_000),
    ],
    ids=["one word", "one line", "shifted numbers", "long notes", "no spaces", "only spaces", "punctuation"],
)
def test_no_text_makes_it_slow(a: str, b: str) -> None:
    started = time.process_time()
    found = differences.difference(a, b)
    assert time.process_time() - started < 6
    assert "".join(segment.text for segment in found.left) == a
    assert "".join(segment.text for segment in found.right) == b


def test_long_notes_are_still_compared_word_by_word_within_lines() -> None:
    a = [f"Day {n}: no pain, walks." for n in range(2_000)]
    b = [*a[:1_000], "Day 1000: some pain, walks.", *a[1_001:]]
    found = differences.difference("\n".join(a), "\n".join(b))
    assert found.coarse
    assert marked(found.left, REMOVED) == ["no"]
    assert marked(found.right, ADDED) == ["some"]
