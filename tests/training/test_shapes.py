"""The form of two models' answers: length, JSON, refusals, what was cut off."""

import pytest

from training.shapes import Answer, beside


def said(words: int, **more: bool) -> Answer:
    return Answer("word " * words, **more)


@pytest.mark.parametrize(
    ("ours", "ratio", "fault"), [(8, 0.8, False), (7, 0.7, True), (10, 1.0, False), (125, 1.25, False), (126, 1.26, True)]
)
def test_the_median_length_stays_between_four_fifths_and_five_fourths(ours: int, ratio: float, fault: bool) -> None:
    theirs = 100 if ours > 100 else 10
    found = beside([(said(ours), said(theirs))] * 3 + [(said(500), said(1))])
    assert found.ratio == pytest.approx(ratio)
    assert ("the length" in found.faults) is fault


def test_json_counts_only_where_it_was_asked_for() -> None:
    good, broken = Answer('{"dose": "5 mg"}', json=True), Answer('{"dose": 5 mg}', json=True)
    free = Answer("{not meant as JSON")
    assert beside([(good, good), (free, free)]).json == 1
    worse = beside([(good, good), (broken, good)])
    assert (worse.valid, worse.faults) == ((1, 2), ["valid JSON"])
    assert beside([(good, broken), (broken, good)]).faults == []


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot provide a diagnosis.",
        "As an AI language model, I do not know.",
        "I am unable to answer.",
    ],
)
def test_refusals_are_known_by_how_they_begin(text: str) -> None:
    assert Answer(text).declines
    found = beside([(Answer(text), Answer("Chest pain, infarction ruled out."))])
    assert (found.declined, "refusals" in found.faults) == ((1, 0), True)


@pytest.mark.parametrize(
    "text",
    [
        "The patient is unable to walk.",
        "I cannot exclude a fracture.",
        "Sorry to hear of the delay; the letter follows.",
        "The dose cannot be given.",
    ],
)
def test_clinical_language_is_no_refusal(text: str) -> None:
    assert not Answer(text).declines


def test_covered_is_what_was_answered_to_its_end() -> None:
    found = beside([(said(9), said(9)), (said(9, cut=True), said(9)), (Answer("  "), said(9))])
    assert (found.covered, found.faults) == ((1, 3), ["coverage"])


def test_no_two_answers_have_no_ratio() -> None:
    found = beside([(Answer(""), Answer(""))])
    assert (found.ratio, found.faults) == (None, ["the length"])
