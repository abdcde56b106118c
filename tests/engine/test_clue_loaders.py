"""Copies of CLUE+'s sets: read in the shapes of the real files, checked by digest, refused politely where they are not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine import clue_copies
from training.engine.clue import codes, loaders, longhealth, scorers
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
    assert "A000" in scorers.known_codes()


def brat(folder: Path, name: str, text: str, annotation: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_text(annotation, encoding="utf-8")


NOTE = "SOCIAL HISTORY: Smokes 1 pack\r\n per day. Größe ok. Lives alone. No drugs."
SPANS = [
    ("T1", "Tobacco", "Smokes"), ("T2", "StatusTime", "Smokes"), ("T3", "Amount", "1 pack"), ("T4", "LivingStatus", "Lives"),
    ("T5", "TypeLiving", "alone"), ("T6", "StatusTime", "Lives"), ("T7", "Drug", "drugs"), ("T8", "StatusTime", "No"),
]  # fmt: skip


def annotated() -> str:
    lines = [
        f"{number}\t{kind} {NOTE.index(words)} {NOTE.index(words) + len(words)}\t{words}" for number, kind, words in SPANS
    ]  # fmt: skip
    over = NOTE.index("pack"), NOTE.index("pack") + 4, NOTE.index("per"), NOTE.index("per") + 7
    lines.append("T9\tFrequency {} {};{} {}\tpack per day".format(*over))
    lines += [
        "E1\tTobacco:T1 Status:T2 Amount:T3 Frequency:T9", "E2\tLivingStatus:T4 Status:T6 Type:T5", "E3\tDrug:T7 Status:T8 ",
        "A1\tStatusTimeVal T2 current", "A2\tTypeLivingVal T5 alone", "#1\tAnnotatorNotes T1\tunsure", "",
    ]  # fmt: skip
    return "\n".join(lines)


def test_n2c2s_own_notes_are_read_with_the_words_of_every_argument(tmp_path: Path) -> None:
    for number in range(6):
        brat(tmp_path / "sdoh/test" / ("uw" if number % 2 else "mimic"), f"{number:04}", NOTE, annotated())
    found = read("SDoH", tmp_path)
    assert (len(found.shots), len(found.rows)) == (4, 2)
    row = found.rows[0]
    assert row["user"] == NOTE
    gold = json.loads(row["gold"])
    assert gold["text"] == NOTE
    assert [(one["entity"], one["label"], one["value"]) for one in gold["entities"]] == [
        ("Tobacco", "StatusTime", "Smokes"), ("Tobacco", "Amount", "1 pack"), ("Tobacco", "Frequency", "pack\r\n per day"),
        ("LivingStatus", "StatusTime", "Lives"), ("LivingStatus", "TypeLiving", "alone"), ("Drug", "StatusTime", "No"),
    ]  # fmt: skip
    assert scorers.sdoh(row["target"], gold) == {"type_f1": 1.0}
    assert {row["id"] for row in (*found.rows, *found.shots)} == {f"{'uw' if n % 2 else 'mimic'}/{n:04}" for n in range(6)}
    assert set(found.digests) == {"sdoh/test"}
    (tmp_path / "sdoh/test/uw/0001.ann").write_text("")
    assert read("SDoH", tmp_path).digests != found.digests


@pytest.mark.parametrize(
    "annotation",
    ["T1\tTobacco 0 9999\tx", "E1\tTobacco:T1 Status:T2", "T1\tTobacco", "T1\tTobacco 5 5\tx"],
    ids=["outside", "no-span", "cut", "empty"],
)
def test_a_broken_annotation_is_named_by_its_note(annotation: str, tmp_path: Path) -> None:
    brat(tmp_path / "sdoh/test", "0001", NOTE, annotation)
    with pytest.raises(loaders.Malformed, match=r"sdoh/test cannot be read after row 0 .* each NOTE\.txt with its NOTE\.ann") as broken:
        read("SDoH", tmp_path)
    assert "Smokes" not in broken.value.message


def test_a_note_without_its_annotation_is_no_copy(tmp_path: Path) -> None:
    brat(tmp_path / "sdoh/test", "0001", NOTE, annotated())
    (tmp_path / "sdoh/test/0002.txt").write_text("alone")
    with pytest.raises(loaders.Malformed, match="FileNotFoundError"):
        read("SDoH", tmp_path)
    with pytest.raises(loaders.MissingSet, match=r"sdoh/sdoh\.jsonl is missing.*or sdoh/test: the track's own notes"):
        read("SDoH", tmp_path / "sdoh")


def concept(level: str, number: int) -> dict[str, Any]:
    options = [f"{level} meaning {number}.{option}" for option in range(4)]
    listed = "\n".join(f"    {letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
    return {
        "question_id": number, "answer": options[number % 4], "answer_id": "ABCD"[number % 4],
        **{f"option{place}": option for place, option in enumerate(options, start=1)},
        "question": f"\n    What is the description of the medical code X{number} in ICD10CM?\n{listed}\n    ",
        "vocab": "ICD10CM", "level": level,
    }  # fmt: skip


def concepts(folder: Path, **changed: Any) -> Path:
    import pyarrow
    import pyarrow.parquet

    for level in ("easy", "medium", "hard"):
        for split, count in (("test", 5), ("dev", 4)):
            path = folder / f"medconceptsqa/icd10cm_{level}/{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [concept(f"{split} {level}", number) | changed for number in range(count)]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return folder


def test_medconceptsqa_as_published_is_read_instead_of_questions_made_here(tmp_path: Path) -> None:
    found = read("ICD10CM", concepts(tmp_path))
    assert [row["id"] for row in found.rows[:6]] == [*(f"icd10cm_easy-{n}" for n in range(5)), "icd10cm_medium-0"]
    assert [row["answer"] for row in found.rows[:5]] == [0, 1, 2, 3, 0]
    assert found.rows[1]["user"] == (
        "What is the description of the medical code X1 in ICD10CM?\nA. test easy meaning 1.0\nB. test easy meaning 1.1\n"
        "C. test easy meaning 1.2\nD. test easy meaning 1.3"
    )
    assert [row["user"].split("\n")[1] for row in found.shots] == [f"A. dev {level} meaning 0.0" for level in ("easy", "medium", "hard")]
    assert len(found.digests) == 6
    with pytest.raises(loaders.Malformed, match="ValueError"):
        read("ICD10CM", concepts(tmp_path, answer="another"))
    (tmp_path / "medconceptsqa/icd10cm_easy/dev-00000-of-00001.parquet").unlink()
    with pytest.raises(loaders.MissingSet, match="icd10cm_easy/dev-"):
        read("ICD10CM", tmp_path)


def test_credentialed_files_are_read_with_all_the_columns_they_are_given_out_with(tmp_path: Path) -> None:
    clue_copies.lines(
        tmp_path / "mednli/mli_test_v1.jsonl",
        (
            {
                "sentence1": "A.", "pairID": f"p{i}", "sentence1_parse": "(ROOT A)", "sentence1_binary_parse": "A", "sentence2": "B.",
                "sentence2_parse": "(ROOT B)", "sentence2_binary_parse": "B", "gold_label": "contradiction",
            }
            for i in range(4)
        ),
    )  # fmt: skip
    assert read("MedNLI", tmp_path).rows[0]["target"] == "CONTRADICTION"
    for column in ("Subjectives", "Subjective Sections"):
        row = {
            "File ID": "1.txt",
            "Assessment": "Weak,\nsince Monday.",
            column: "Tired.",
            "Objectives": "T 39",
            "Summary": "sepsis; anaemia;",
        }
        clue_copies.table(tmp_path / "pls/BioNLP2023-1A-Test.csv", [row] * 4)
        found = read("PLS", tmp_path).rows[0]
        assert "Tired.\n\nWeak,\nsince Monday." in found["user"]
        assert found["target"] == "sepsis,  anaemia, "
    for column in ("discharge_summary", "without_discharge_summary"):
        row = {"note_id": "1-DS-2", "with_discharge_summary": "Letter. For you.", "Question": "Why?", "Answer": "For an infection."}
        clue_copies.lines(tmp_path / "medisumqa/MeDiSumQA.json", [row | {column: "Letter."}] * 2)
        assert "Letter.\n" in read("MeDiSumQA", tmp_path).rows[0]["user"]
    coded = {"hadm_id": "7", "text": "Letter.", "icd_codes": [{"code": "A000", "description": "Cholera"}]}
    for write in (clue_copies.lines, clue_copies.whole):  # as CLUE's script writes it, and as CLUE's evaluation reads it
        write(tmp_path / "medisumcode/MeDiSumCode.json", [coded] * 2)
        assert json.loads(read("MeDiSumCode", tmp_path).rows[0]["gold"]) == ["A000"]
    report = {"study_id": "5", "subject_id": "1", "findings": "Clear.", "impression": "Normal.", "background": "Indication: cough"}
    clue_copies.whole(tmp_path / "mediqa-rrs/indiana_dev.json", [report] * 4)
    assert read("Indiana RRS", tmp_path).rows[0]["target"] == "Normal."


def test_longhealths_right_option_may_say_more_than_the_file_calls_correct(copies: Path, tmp_path: Path) -> None:
    patients = json.loads((copies / "longhealth/benchmark_v5.json").read_text())
    (question,) = patients["patient_0"]["questions"]
    question |= {"No": 0, "answer_c": "A stone in the bladder", "correct": "in the bladder"}
    clue_copies.whole(tmp_path / "longhealth/benchmark_v5.json", patients)
    rows = read("LongHealth", tmp_path, ruler=Words(200)).rows
    assert {json.loads(row["gold"]) for row in rows if row["id"].startswith("task1-patient_0")} == {"C"}
    question["correct"] = "nowhere"
    clue_copies.whole(tmp_path / "longhealth/benchmark_v5.json", patients)
    with pytest.raises(loaders.Malformed, match="ValueError"):
        read("LongHealth", tmp_path, ruler=Words(200))
