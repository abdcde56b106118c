"""Copies of CLUE+'s sets: read in the shapes of the real files, checked by digest, refused politely where they are not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine import clue_copies
from training.engine.clue import codes, loaders, longhealth
from training.suite import published, register


class Words:
    """A ruler whose tokens are words."""

    def __init__(self, context: int) -> None:
        self.context = context

    def count(self, text: str) -> int:
        return len(text.split())

    def cut(self, text: str, most: int) -> str:
        return " ".join(text.split()[:most])


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clue_copies.everything(tmp_path_factory.mktemp("copies"))


def read(name: str, folder: Path, **how: Any) -> loaders.Loaded:
    return loaders.load(register.SETS[name], folder, allow_other_files=True, **how)


def test_the_register_has_the_papers_sets_and_nothing_else_counts() -> None:
    assert register.CLUE_PLUS == published.DATASETS
    assert register.CHOICES == published.MCQ
    assert set(register.SETS) == {*published.DATASETS, *published.MCQ, "MedicationQA originals", "Indiana RRS", "SDOH-NLI"}
    assert {name for one in register.STAND_INS for name in register.SETS[one].stands_for} == {"MedicationQA", "RRS QA", "SDoH", "MedNLI"}
    shots = {name: one.shots for name, one in register.SETS.items() if not one.stands_for}
    assert shots == {
        "MedNLI": 3, "PLS": 3, "MeQSum": 3, "LongHealth": 0, "MeDiSumQA": 1, "MeDiSumCode": 1, "MedicationQA": 3, "RRS QA": 3, "SDoH": 4,
        "ACI-Bench": 1, "MEDEC": 2, "ICD10CM": 3, "MedQA": 0, "MedMCQA": 0, "PubMedQA": 0, "MMLU-med": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in register.SETS if name not in ("ICD10CM", "LongHealth")])
def test_every_set_is_read_and_its_shots_are_not_scored(name: str, copies: Path) -> None:
    wanted, found = register.SETS[name], read(name, copies)
    assert len(found.shots) == wanted.shots
    own_split = wanted.shot_file is not None or name == "MEDEC"
    assert len(found.rows) == 6 - (0 if own_split else wanted.shots)
    assert not {row["user"] for row in found.rows} & {row["user"] for row in found.shots} or own_split
    for row in (*found.rows, *found.shots):
        assert row.keys() == {"id", "user", "target", "gold", "choices", "answer"}
        json.loads(row["gold"])
    assert set(found.digests) == {one.path for one in (*wanted.files, *([wanted.shot_file] if wanted.shot_file else []))}


def test_the_right_answer_is_the_one_the_file_names(copies: Path) -> None:
    assert [row["answer"] for row in read("MedQA", copies).rows] == [0, 1, 2, 3, 0, 1]
    assert [row["target"] for row in read("PubMedQA", copies).rows] == ["yes", "no", "maybe"] * 2
    assert [row["target"] for row in read("MEDEC", copies).rows] == ["1", "-1"] * 3
    assert json.loads(read("MeDiSumCode", copies).rows[0]["gold"]) == ["A00.0", "I10"]
    assert read("PLS", copies).rows[0]["target"] == "sepsis, anaemia"
    assert {row["target"] for row in read("SDOH-NLI", copies).rows} == {"ENTAILMENT", "NEUTRAL"}


def test_rows_of_medicationqa_without_an_answer_and_repeated_ones_are_left_out(tmp_path: Path) -> None:
    said = [
        ["how much aspirin", "aspirin", "One a day."], ["How much aspirin?", "Aspirin", "one a day"],
        ["how much aspirin", "aspirin", "Ask first."],
        ["is it gluten free?", "losartan", "Unanswerable"], ["can i mix", "doxepin", "No Answers"], ["what name", "n/a", "n/a"],
        *([f"what is drug {i}", "drug", "A drug."] for i in range(3)),
    ]  # fmt: skip
    clue_copies.workbook(tmp_path / "medicationqa/MedInfo2019-QA-Medications.xlsx", [["Question", "Focus (Drug)", "Answer"], *said])
    found = read("MedicationQA originals", tmp_path)
    kept = sorted(row["user"] for row in (*found.rows, *found.shots))
    assert kept == ["how much aspirin", "how much aspirin", "what is drug 0", "what is drug 1", "what is drug 2"]


def test_a_set_that_is_not_there_is_refused_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(loaders.MissingSet) as refused:
        loaders.load(register.SETS["MedNLI"], tmp_path)
    for said in ("mednli/mli_test_v1.jsonl", "physionet.org/content/mednli", "sentence1", "Rounds brings no data set"):
        assert said in refused.value.message
    assert refused.value.code == "missing_set"


def test_another_file_is_named_and_refused_unless_it_is_allowed(copies: Path) -> None:
    with pytest.raises(loaders.OtherFile, match=r"meqsum/MeQSum\.xlsx is not the published file"):
        loaders.load(register.SETS["MeQSum"], copies)
    found = read("MeQSum", copies)
    assert found.differing == ("meqsum/MeQSum.xlsx",)
    assert found.digests["meqsum/MeQSum.xlsx"] == hashlib.sha256((copies / "meqsum/MeQSum.xlsx").read_bytes()).hexdigest()


def test_a_broken_file_is_named_by_row_and_never_quoted(tmp_path: Path) -> None:
    clue_copies.lines(tmp_path / "mednli/mli_test_v1.jsonl", [{"sentence1": "secret words", "sentence2": "b"}] * 5)
    with pytest.raises(loaders.Malformed, match=r"mli_test_v1\.jsonl cannot be read after row 0 \(KeyError\)") as broken:
        read("MedNLI", tmp_path)
    assert "secret" not in broken.value.message


def test_longhealth_makes_its_three_tasks_and_keeps_the_letters_within_the_context(copies: Path) -> None:
    rows = read("LongHealth", copies, ruler=Words(200)).rows
    assert len(rows) == 2 * (5 + 10)
    gold = {task: {json.loads(row["gold"]) for row in rows if row["id"].startswith(task)} for task in ("task1", "task2", "task3")}
    assert gold == {"task1": {"B"}, "task2": {"B"}, "task3": {"F"}}
    assert [row["user"] for row in rows] == [row["user"] for row in read("LongHealth", copies, ruler=Words(200)).rows]
    assert longhealth.pack(["one two", "three four", "five six seven"], 100, Words(100)) == ["one two", "three four", "five six seven"]
    # Between letters stand four words, which leaves two of the second; nothing comes after a letter that was cut.
    assert longhealth.pack(["one two", "three four five", "six"], 8, Words(8)) == ["one two", "three four"]


ROWS = [
    ("chapter", "", "", False), ("block", "chapter", "", False), ("far block", "chapter", "", False), ("X00", "block", "root", True),
    *((f"X00.{i}", "X00", f"kind {i}", True) for i in range(5)), *((f"Y{i}", "far block", f"far {i}", True) for i in range(8)),
]  # fmt: skip


def test_hard_distractors_are_siblings_medium_ones_a_little_further_easy_ones_anywhere() -> None:
    tree = codes.tree_of(ROWS)
    hard = codes.questions(tree, level="hard", most=20, seed=1)
    assert {text for one in hard if one["code"].startswith("X00.") for text in one["options"]} <= {f"kind {i}" for i in range(5)}
    assert tree.around("X00.0", 2, 2) == ["X00.1", "X00.2", "X00.3", "X00.4"]
    assert tree.around("X00.0", 3, 5) == [f"Y{i}" for i in range(8)]
    for level in codes.LEVELS:
        made = codes.questions(tree, level=level, most=6, seed=1)
        assert made == codes.questions(tree, level=level, most=6, seed=1)
        assert made != codes.questions(tree, level=level, most=6, seed=2)
        for one in made:
            assert len(set(one["options"])) == 4
            assert one["options"][one["answer"]] == tree.meaning[one["code"]]


def test_the_full_list_makes_three_levels() -> None:
    found = read("ICD10CM", Path())
    assert len(found.rows) == 3 * loaders.ICD_QUESTIONS
    assert len(found.shots) == 3
    assert found.rows[0]["choices"] == ["A", "B", "C", "D"]
    assert "A000" in codes.known()
