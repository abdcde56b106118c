"""What an answer is worth: by hand, and for ROUGE by its definition."""

from __future__ import annotations

import json

import pytest

from training.engine.clue import scorers


def test_rouge_counts_shared_words_pairs_and_sequences() -> None:
    found = scorers.rouge("the cat sat", "the cat sat down here")
    assert found == pytest.approx({"rouge1": 2 * 1.0 * 0.6 / 1.6, "rouge2": 2 * 1.0 * 0.5 / 1.5, "rougeL": 2 * 1.0 * 0.6 / 1.6})
    assert scorers.rouge("", "words") == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    # No stemming, as CLUE has it.
    assert scorers.rouge("infections", "infection")["rouge1"] == 0.0


@pytest.mark.parametrize(
    ("answer", "right"),
    [("Entailment.", 1.0), ("ENTAILMENT, not neutral", 1.0), ("entailment entailment", 0.0), ("neutral", 0.0), ("", 0.0)],
)
def test_a_label_must_stand_there_exactly_once(answer: str, right: float) -> None:
    assert scorers.label_once(answer, "ENTAILMENT") == {"accuracy": right}


@pytest.mark.parametrize(
    ("answer", "right"),
    [("The correct answer is B: A stone.", 1.0), ("The correct answer is C: x", 0.0), ("B", 0.0), ("the correct answer is B:", 0.0)],
)
def test_longhealths_letter_stands_in_its_sentence(answer: str, right: float) -> None:
    assert scorers.lettered(answer, "B") == {"accuracy": right}


def test_icd_codes_are_found_with_and_without_dots_and_scored_whole_by_category_and_by_whether_they_exist() -> None:
    assert scorers.codes_of("ICD-10 Codes: A00.0, I10 and E119; not U071, x99") == ["A000", "I10", "E119"]
    found = scorers.icd_codes("A00.1, I10, Z99.999", ["A00.0", "I10"], known={"A000", "A001", "I10"})
    assert found == pytest.approx({"f1": 2 * 1 / 5, "f1_3": 2 * 2 / 5, "valid": 2 / 3})
    assert scorers.icd_codes("none", ["I10"], known={"I10"}) == {"f1": 0.0, "f1_3": 0.0, "valid": 0.0}


@pytest.mark.parametrize(
    ("answer", "sentence", "flag", "correction"),
    [
        ("3", 1.0, 1.0, 0.0), ("3 He is given codeine", 1.0, 1.0, 1.0), (" 2", 0.0, 1.0, 0.0), ("-1", 0.0, 0.0, 0.0),
        ("three", 0.0, 0.0, 0.0),
    ],
)  # fmt: skip
def test_medec_asks_for_flag_sentence_and_correction(answer: str, sentence: float, flag: float, correction: float) -> None:
    found = scorers.medec(answer, {"sentence": 3, "corrected": "He is given codeine"})
    assert found == pytest.approx({"sentence": sentence, "flag": flag, "correction": correction})


def test_where_medec_has_no_error_saying_so_is_the_whole_answer() -> None:
    gold = {"sentence": -1, "corrected": ""}
    assert scorers.medec("-1", gold) == {"sentence": 1.0, "flag": 1.0, "correction": 1.0}
    assert scorers.medec("0", gold) == {"sentence": 0.0, "flag": 0.0, "correction": 0.0}


TEXT = "She smokes one pack a day and lives alone."


@pytest.mark.parametrize(
    ("found", "gold", "value"),
    [
        ([], [], 1.0),
        ([], [("t", "smokes")], 0.0),
        ([("t", "smokes")], [], 0.0),
        ([("t", "smokes")], [("t", "smokes")], 1.0),
        ([("t", "She smokes")], [("t", "smokes")], 1.0),  # in mode "type" an overlap will do
        ([("u", "smokes")], [("t", "smokes")], 0.0),  # incorrect counts for both sides
        ([("t", "smokes"), ("t", "alone")], [("t", "smokes")], 2 / 3),  # spurious
        ([("t", "smokes")], [("t", "smokes"), ("l", "alone")], 2 / 3),  # missed
        ([("t", "smokes"), ("t", "smokes")], [("t", "smokes")], 2 / 3),  # said twice, there once
        ([("t", "drinks")], [("t", "smokes")], 0.0),  # what does not stand in the text overlaps nothing
    ],
)
def test_entities_are_matched_by_type_with_overlapping_spans(
    found: list[tuple[str, str]], gold: list[tuple[str, str]], value: float
) -> None:
    assert scorers.type_f1(found, gold, TEXT) == pytest.approx(value)


def test_sdoh_reads_the_first_list_and_leaves_out_what_is_not_an_entity() -> None:
    gold = {"text": TEXT, "entities": [{"entity": "Tobacco", "label": "StatusTime", "value": "smokes"}]}
    said = "Here: " + json.dumps([{"entity": "Tobacco", "label": "StatusTime", "value": "smokes"}, 7, {"entity": 1}]) + " done"
    assert scorers.sdoh(said, gold) == {"type_f1": 1.0}
    for nothing in ("", "no list", "[broken", "[" * 5_000):
        assert scorers.sdoh(nothing, gold) == {"type_f1": 0.0}
