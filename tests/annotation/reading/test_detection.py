"""What the wizard proposes for a file nobody has described."""

from pathlib import Path

from annotation import reading
from annotation.reading.presets import PRESETS
from annotation.reading.shapes import CompletionRow, DocumentRow, SampleRow
from tests.annotation.reading.build import GOOD, INPUT, POOR, jsonl, mediflow, put, take


def test_at_most_twenty_rows_are_shown(tmp_path: Path) -> None:
    found = reading.detect(put(tmp_path, "a.jsonl", jsonl(mediflow(n) for n in range(50))))
    assert [place for place, _ in found.first_rows] == list(range(1, 21))
    assert found.first_rows[0][1] == mediflow(0)
    assert (found.confidence, found.reason) == (1.0, "It has all of MediFlow's columns.")
    assert found.columns == tuple(mediflow())


def test_a_problem_in_the_first_rows_is_shown_with_the_proposal(tmp_path: Path) -> None:
    found = reading.detect(put(tmp_path, "a.jsonl", jsonl([mediflow()]) + b"{\n" + jsonl([mediflow()])))
    assert (found.shape, [problem.line for problem in found.problems], len(found.first_rows)) == ("mediflow", [2], 2)


def test_more_columns_than_mediflow_has_are_named(tmp_path: Path) -> None:
    found = reading.detect(put(tmp_path, "a.jsonl", jsonl([mediflow(site="A", id="x")])))
    assert found.shape == "columns"
    assert found.reason.endswith("would not be taken: site.")
    assert take(put(tmp_path, "a.jsonl", jsonl([mediflow(site="A", id="x")]))).records == [
        SampleRow(
            "x",
            *(mediflow()[n] for n in ("instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level")),
        )
    ]


def test_a_table_without_names_of_columns_is_seen(tmp_path: Path) -> None:
    rows = "Which organ makes insulin?,Liver.,Pancreas.,Spleen.,Kidney.,B\n" * 3
    taken = take(put(tmp_path, "anatomy.csv", rows))
    assert (taken.found.format, taken.found.columns[0]) == ("csv_no_header", "column_1")
    assert "numbered" in taken.found.notes[0]
    first = taken.records[0]
    assert isinstance(first, SampleRow)
    assert first.input == "Which organ makes insulin?\nA. Liver.\nB. Pancreas.\nC. Spleen.\nD. Kidney."
    assert (first.output, len(taken.records)) == ("B", 3)


def test_the_name_decides_between_data_sets_that_look_alike(tmp_path: Path) -> None:
    path = put(tmp_path, "x", f'dataset,encounter_id,dialogue,note\nv,D1,"{INPUT}","{GOOD}"\n')
    assert isinstance(take(path, name="train.csv").records[0], SampleRow)
    assert take(path, name="BART_large_full.csv").records == [CompletionRow("D1", "BART_large_full", GOOD)]
    assert "completions" in [guess.shape for guess in take(path, name="train.csv").found.others]


def test_tagged_sentences(tmp_path: Path) -> None:
    tokens = "Hereditary\tO\nbreast\tB-Disease\ncancer\tI-Disease\nand\tO\ngout\tB-Disease\n.\tO\n\nNothing\tO\n"
    taken = take(put(tmp_path, "train.tsv", tokens))
    assert taken.found.format == "iob"
    assert [(r.input, r.output) for r in taken.records if isinstance(r, SampleRow)] == [
        ("Hereditary breast cancer and gout .", "breast cancer\ngout"), ("Nothing", ""),
    ]  # fmt: skip


def test_every_preset_is_proposed_for_its_own_columns_and_maps_only_those(tmp_path: Path) -> None:
    for preset in PRESETS:
        guesses = reading.detection.guess([dict.fromkeys(preset.columns, "A")], tuple(sorted(preset.columns)))
        assert preset.title in " ".join(guess.reason for guess in guesses[:2]), preset.name
        assert set(preset.mapping) <= {target.name for target in reading.SHAPES[preset.shape].targets}, preset.name


def test_abstracts_become_documents_with_what_is_asked_of_them(tmp_path: Path) -> None:
    row = {"QUESTION": "Is it?", "CONTEXTS": ["One.", "Two."], "LABELS": [], "LONG_ANSWER": "It is.", "final_decision": "yes"}
    taken = take(put(tmp_path, "ori_pqal.json", {"111": row}))
    assert taken.records == [DocumentRow("111", "", "One.\nTwo.", {"summary": "It is.", "qa": [["Is it?", "It is."]]})]
    asked = take(put(tmp_path, "test.json", {"111": row})).records[0]
    assert isinstance(asked, SampleRow)
    assert (asked.external_id, asked.output) == ("111", "yes")


def test_nothing_known_is_said_to_be_so(tmp_path: Path) -> None:
    found = reading.detect(put(tmp_path, "a.jsonl", jsonl([{"alpha": 1, "beta": 2}])))
    assert (found.format, found.shape) == ("jsonl", "")
    assert found.reason == "No known set among its 2 columns: choose what its rows are, and map the columns."
    assert reading.detect(put(tmp_path, "a.jsonl", b"")).reason == "It is of a kind that is not read."


def test_names_alone_give_a_guess_and_no_more(tmp_path: Path) -> None:
    found = reading.detect(put(tmp_path, "a.csv", f'nr,Question,Answer\n1,"{INPUT}","{POOR}"\n'))
    assert found.mapping == {"input": "Question", "output": "Answer", "instruction": "=Answer the question."}
    assert found.confidence < 0.5
