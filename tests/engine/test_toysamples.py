"""Samples of the toy world: MediFlow's columns, two halves that never meet, and a preference that can be scored apart."""

import pytest

from training.engine import toysamples


def test_the_same_seed_writes_the_same_samples() -> None:
    assert toysamples.samples(50, 1) == toysamples.samples(50, 1) != toysamples.samples(50, 2)


def test_every_sample_has_mediflows_columns_and_an_input_of_its_own() -> None:
    rows = toysamples.samples(4000, 1)
    assert all(tuple(row) == toysamples.COLUMNS for row in rows)
    assert len({row["input"] for row in rows}) == 4000
    assert len({row["task_type"] for row in rows}) == 6
    assert {row["output_format"] for row in rows} == {"plain_text", "json"}
    assert all(1 <= row[score] <= 4 for row in rows for score in toysamples.COLUMNS[9:])
    assert all(row["rejected_output"] == "" == row["error_type"] for row in rows)


def test_the_familys_samples_and_a_campaigns_never_meet() -> None:
    ours = {(row["instruction"], row["input"]) for row in toysamples.samples(3000, 1, "family")}
    theirs = {(row["instruction"], row["input"]) for row in toysamples.samples(3000, 1, "campaign")}
    assert not ours & theirs


def test_a_rejected_output_is_wrong_and_its_output_right() -> None:
    for row in toysamples.samples(300, 4, with_rejected=True):
        assert toysamples.planted(row["output"], row["output"])["correct"]
        assert not toysamples.planted(row["rejected_output"], row["output"])["correct"]
        assert row["error_type"] == "factual inaccuracy"


@pytest.mark.parametrize(
    ("output", "correct", "style", "utility"),
    [
        ("Diagnosis: gout. Confirm with the treating clinician.", True, True, 1.6),
        ("Diagnosis: gout. This needs no more checks.", True, False, 1.0),
        ("diagnosis: GOUT", True, False, 1.0),
        ("Diagnosis: cystitis. Check this with the clinical team.", False, True, 0.6),
        ("Confirm with the treating clinician. Diagnosis: goutweed.", False, False, 0.0),
        ('{"diagnosis": "gout", "note": "Confirm with the treating clinician."}', True, True, 1.6),
        ("", False, False, 0.0),
    ],
)
def test_style_and_correctness_are_scored_apart(output: str, correct: bool, style: bool, utility: float) -> None:
    for reference in ("gout", "Diagnosis: gout. There is no doubt about this.", '{"diagnosis": "gout", "note": "x"}'):
        assert toysamples.planted(output, reference) == {"correct": correct, "style": style}
        assert toysamples.planted_utility(output, reference) == utility


def test_a_code_is_compared_with_its_point() -> None:
    assert toysamples.planted("Code: I21.9. This needs no more checks.", "Code: I21.9.")["correct"]
    assert not toysamples.planted("Code: I21.", "Code: I21.9.")["correct"]
