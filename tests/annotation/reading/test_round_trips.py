"""What leaves in another tool's form comes back by the wizard's own proposal as what it was."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from annotation.exports import argilla, chat_preferences, label_studio, lmarena, spreadsheet, tables, ultrafeedback
from annotation.models import Verdict
from annotation.reading.shapes import PreferenceRow
from tests.annotation.reading.build import GOOD, INPUT, INSTRUCTION, POOR, PROMPT, jsonl, put, take

ODD = f"=SUM(A1)\r\n{POOR} “½” \u2028 'quoted', <|end|> 👩‍⚕️"
PAIR = {
    "pair_id": 31, "sample_id": "s-1", "task_type": "summarization", "document_type": "Discharge Summary", "output_format": "plain_text",
    "difficulty_level": "hard", "split": "train", "prompt": PROMPT, "first": GOOD, "second": ODD, "first_by": "system-1",
    "second_by": "system-2",
}  # fmt: skip
FACTS = {"snapshot": {"digest": "d" * 64}, "level": "full", "campaign": {"axes": [], "id": "c", "form_version": 1, "guideline_version": 2}}
ANSWERED = [verdict for verdict in Verdict.values if verdict != "cannot_judge"]


def answer(verdict: str, number: int = 1) -> dict[str, Any]:
    return {
        "judgment_id": 100 + number, "revision": 1, "pair_id": 31, "sample_id": "s-1", "task_type": "summarization", "rater": f"r{number}",
        "specialty": None, "kind": "vote", "counted": True, "verdict": verdict, "cannot_reason": "", "reasons": [], "harm_first": "",
        "harm_first_type": "", "harm_second": "", "harm_second_type": "", "axes": {}, "hard": "", "rationale": "-1 for style", "spans": [],
        "edited": "", "edited_text": None, "displayed_left": "second", "is_gold": False, "is_repeat": False, "selection_policy": "random",
        "served_at": None, "submitted_at": "2026-03-02T10:00:00+00:00", "active_ms": 31_500, "layout": "1",
    }  # fmt: skip


def verdicts_of(path: Path) -> list[tuple[str, str]]:
    """(rater's number or name, verdict) of a file, after everything else was seen to be what it was."""
    taken = take(path)
    assert not taken.problems.found, taken.problems.found
    made = [record for record in taken.records if isinstance(record, PreferenceRow)]
    for record in made:
        assert (record.sample.external_id, record.sample.instruction, record.sample.input) == ("s-1", INSTRUCTION, INPUT)
        assert record.sample.task_type == "summarization"
        assert {record.first_text, record.second_text} == {GOOD, ODD}
    return [(record.rater, record.verdict) for record in made]


@pytest.fixture
def answers() -> list[dict[str, Any]]:
    return [answer(verdict, number) for number, verdict in enumerate(ANSWERED, start=1)]


def test_label_studio(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    path = put(tmp_path, "tasks.json", [label_studio.task(PAIR, answers, FACTS, frozenset())])
    assert verdicts_of(path) == [(str(number), verdict) for number, verdict in enumerate(ANSWERED, start=1)]
    assert take(path).records[0].rationale == "-1 for style"  # type: ignore[union-attr]


def test_argilla(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    path = put(tmp_path, "records.json", [argilla.record(PAIR, answers, FACTS)])
    assert [verdict for _, verdict in verdicts_of(path)] == ANSWERED


def test_a_spreadsheet_gives_back_cells_that_were_made_harmless(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    rows = [spreadsheet.comparison(PAIR, one, FACTS) for one in answers]
    writer.writerow(rows[0])
    writer.writerows(spreadsheet.cells(row) for row in rows)
    path = put(tmp_path, "judgments.csv", b"\xef\xbb\xbf" + out.getvalue().encode())
    assert verdicts_of(path) == [(f"r{number}", verdict) for number, verdict in enumerate(ANSWERED, start=1)]
    assert [record.rationale for record in take(path).records] == ["-1 for style"] * len(ANSWERED)  # type: ignore[union-attr]


def test_arena_rows_know_no_strength_and_turn_the_sides(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    path = put(tmp_path, "train.jsonl", jsonl(lmarena.row(PAIR, one) for one in answers))
    # The second text was shown on the left, where an arena has its first.
    assert [verdict for _, verdict in verdicts_of(path)] == [
        "second_slightly", "second_slightly", "both_acceptable", "first_slightly", "first_slightly", "both_unacceptable",
    ]  # fmt: skip
    assert take(path).records[0].first_text == ODD  # type: ignore[union-attr]


@pytest.mark.parametrize(("p_chosen", "verdict"), [(0.75, "first_slightly"), (0.9, "first_much")])
def test_what_trainers_read(p_chosen: float, verdict: str, tmp_path: Path) -> None:
    row = {**PAIR, "chosen": GOOD, "rejected": ODD, "p_chosen": p_chosen, "votes": {"chosen": 2, "strength": 1.0, "basis": "votes"}}
    for name, made in (("dpo_soft", tables.dpo_soft(row)), ("dpo", tables.dpo(row)), ("reward", tables.reward(row))):
        told = verdicts_of(put(tmp_path, f"{name}.jsonl", jsonl([made])))
        assert told == [("", verdict if name == "dpo_soft" else "first_slightly")], name
    for form in (ultrafeedback.row(row), chat_preferences.row(row)):
        (record,) = take(put(tmp_path, "a.jsonl", jsonl([form]))).records
        assert isinstance(record, PreferenceRow)
        assert (record.sample.instruction, record.sample.input) == (INSTRUCTION, INPUT)
        assert (record.first_text, record.second_text) == (GOOD, ODD)
