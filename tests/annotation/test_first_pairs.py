"""The first campaign's prose, read from its file: what can be counted is counted here, what can only be read was read by eye."""

import json
import re
from collections import Counter
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "annotation" / "demo"

# arXiv 2505.10717, appendix A.4 (task and document types) and A.7 (error types).
TASK_TYPES = {
    "summarization", "question-answering", "multiple-choice question-answering", "named entity recognition", "relation extraction",
    "classification", "reasoning & diagnosis", "textual entailment", "text simplification", "text expansion", "abbreviation expansion",
    "aspect-oriented keyword extraction", "error detection & correction", "note scoring",
}  # fmt: skip
DOCUMENT_TYPES = {
    "Discharge Summary", "SOAP Clinical Note", "Clinical Note", "Progress Note", "Admission Note", "Scientific Article", "Clinical Case",
    "Nursing Note", "Monitoring Data of Vital Signs", "Referral Letter", "Emergency Department Note", "Laboratory Report",
    "Radiology Report", "Doctor-Patient Conversation", "Nurse-Patient Dialog", "Operative Note", "Consultation Note", "Pathology Report",
    "Prescription Note", "Preoperative Assessment", "Postoperative Note", "Therapy Notes", "Immunization Record", "Screening Report",
    "Consent Form", "Care Plan", "Dietary Notes", "Psychiatric Evaluation", "Social Work Note", "End-of-Life Care Documentation",
    "Triage Note", "Dental Record", "Home Health Care Report", "Genetic Testing Report", "Incident Report", "Patient Education Material",
}  # fmt: skip
ERROR_TYPES = {
    "ambiguity", "partial correctness", "over-verbosity", "brevity", "unbalanced detail", "stylistic issues", "factual inaccuracy",
    "logical flaws", "misinterpretation", "simplistic reasoning", "grammatical errors", "spelling errors",
}  # fmt: skip
SAMPLE_COLUMNS = [
    "instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level", "rejected_output", "error_type",
    "quality", "alignment", "coherence", "realism", "difficulty",
]  # fmt: skip
LEVELS = {"low", "moderate", "moderate-hard", "hard", "very hard", "extreme"}
# Where the flaw is the length, or the lack of it, length must differ.
LENGTH_ERRORS = {"over-verbosity", "brevity"}


def words(text: str) -> int:
    """Words as a reader counts them: JSON's brackets are none."""
    return len(re.findall(r"\w[\w'’/.,%-]*", text))


def texts(pair: dict[str, Any]) -> tuple[str, str]:
    """(the sound text, the flawed text)."""
    by_system = {completion["system"]: completion["text"] for completion in pair["completions"]}
    flawed = by_system.pop(pair["flawed"])
    (sound,) = by_system.values()
    return sound, flawed


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "first_pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_there_are_24_pairs_in_24_settings(pairs):
    assert len(pairs) == 24
    assert len({pair["sample"]["input"] for pair in pairs}) == 24
    assert len({pair["sample"]["instruction"] for pair in pairs}) == 24
    assert len({pair["sample"]["input_data"] for pair in pairs}) == 24


def test_every_line_has_mediflows_columns_and_two_named_systems(pairs):
    for pair in pairs:
        assert list(pair) == ["sample", "completions", "flawed", "error_type", "where"]
        assert list(pair["sample"]) == SAMPLE_COLUMNS
        assert [completion["system"] for completion in pair["completions"]] == ["demo-a", "demo-b"]
        assert pair["flawed"] in {"demo-a", "demo-b"}
        assert pair["where"].startswith(f"Side {pair['flawed'][-1].upper()} ")


def test_every_task_type_and_only_known_labels_are_used(pairs):
    samples = [pair["sample"] for pair in pairs]
    assert {sample["task_type"] for sample in samples} == TASK_TYPES
    assert {sample["input_data"] for sample in samples} <= DOCUMENT_TYPES
    assert {sample["output_format"] for sample in samples} == {"plain_text", "json"}
    assert {sample["difficulty_level"] for sample in samples} <= LEVELS


def test_judge_scores_lie_on_mediflows_scale_and_dpo_columns_are_empty(pairs):
    for pair in pairs:
        sample = pair["sample"]
        assert all(1.0 <= sample[name] <= 4.0 for name in ("quality", "alignment", "coherence", "realism", "difficulty"))
        assert (sample["rejected_output"], sample["error_type"]) == ("", "")


def test_each_of_the_twelve_errors_comes_twice_once_on_each_side(pairs):
    assert Counter((pair["error_type"], pair["flawed"]) for pair in pairs) == {
        (error, side): 1 for error in ERROR_TYPES for side in ("demo-a", "demo-b")
    }


def test_texts_are_of_a_length_that_can_be_read_in_minutes(pairs):
    for pair in pairs:
        assert 40 <= words(pair["sample"]["instruction"]) <= 120
        assert 60 <= words(pair["sample"]["input"]) <= 250
        for text in texts(pair):
            assert 60 <= words(text) <= 250


def test_the_reference_output_is_the_sound_text(pairs):
    for pair in pairs:
        sound, flawed = texts(pair)
        assert pair["sample"]["output"] == sound
        assert sound != flawed


def test_the_two_sides_never_share_a_text_with_another_pair(pairs):
    everything = [text for pair in pairs for text in texts(pair)]
    assert len(set(everything)) == 48


def test_length_does_not_betray_the_flawed_side(pairs):
    longer = sum(words(flawed) > words(sound) for sound, flawed in map(texts, pairs))
    assert 9 <= longer <= 15
    ratios = [words(flawed) / words(sound) for sound, flawed in (texts(pair) for pair in pairs if pair["error_type"] not in LENGTH_ERRORS)]
    assert all(0.8 <= ratio <= 1.25 for ratio in ratios)
    assert 0.95 <= exp(mean(log(ratio) for ratio in ratios)) <= 1.05


def test_length_errors_differ_in_length_as_they_should(pairs):
    for pair in pairs:
        sound, flawed = map(words, texts(pair))
        if pair["error_type"] == "over-verbosity":
            assert flawed >= 1.5 * sound
        if pair["error_type"] == "brevity":
            assert flawed <= 0.5 * sound


def test_json_answers_parse_and_have_the_same_keys(pairs):
    answers = [texts(pair) for pair in pairs if pair["sample"]["output_format"] == "json"]
    assert answers
    for sound, flawed in answers:
        assert list(json.loads(sound)) == list(json.loads(flawed))


def test_plain_answers_have_no_markup(pairs):
    for pair in pairs:
        if pair["sample"]["output_format"] == "plain_text":
            assert not re.search(r"[<>*#`|]|^\s*-\s", "".join(texts(pair)), re.MULTILINE)


def test_nothing_a_clinician_reads_names_a_side_as_flawed(pairs):
    for pair in pairs:
        shown = " ".join([pair["sample"]["instruction"], pair["sample"]["input"], *texts(pair)])
        assert not re.search(r"demo-[ab]|\bflawed\b|\bSide [AB]\b", shown)


def test_the_guideline_fits_one_screen_and_names_every_verdict():
    guideline = (FOLDER / "guideline.md").read_text(encoding="utf-8")
    assert words(guideline) <= 180
    for verdict in ("A much better", "A slightly better", "both acceptable", "B slightly better", "B much better", "both unacceptable"):
        assert verdict in guideline
    assert "Cannot judge" in guideline
