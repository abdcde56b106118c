"""What leaves in another tool's form comes back by the wizard's own proposal as what it was."""

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.exports import argilla, chat_preferences, label_studio, levels, lmarena, shards, spreadsheet, tables, ultrafeedback
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


# --- whatever the texts hold -------------------------------------------------------------------------------------------------------------

# What may be stored, and stumbles in files: ends of lines of every kind, quotes, formulas, marks of order, control tokens, emoji.
STUMBLES = st.sampled_from(
    ['"', "\\", "\n", "\r", "\r\n", "\t", "\x0b", "\x85", "\u2028", "\ufeff", "\u202e", "<|end|>", "'", ",", ";", "{", "]", "=1+1", "@",
     "-", "é", "👩‍⚕️", " ", "<b>", "&amp;", "null", "NaN", "0"]
)  # fmt: skip
PIECES = st.one_of(STUMBLES, st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6))
TEXTS = st.lists(PIECES, min_size=1, max_size=5).map("".join).filter(str.strip)
SAID = st.lists(
    st.tuples(st.sampled_from(ANSWERED), st.one_of(st.just(""), TEXTS), st.sampled_from(["first", "second"])), min_size=1, max_size=3
)
WEAKER = {"first_much": "first_slightly", "second_much": "second_slightly"}
TURNED = {"first_slightly": "second_slightly", "second_slightly": "first_slightly"}

Told = tuple[str, str, str, str, str, str]


def of_record(record: Any) -> Told:
    assert isinstance(record, PreferenceRow)
    return record.sample.instruction, record.sample.input, record.first_text, record.second_text, record.verdict, record.rationale


def as_label_studio(folder: Path, pair: dict[str, Any], said: list[dict[str, Any]]) -> Path:
    return put(folder, "tasks.json", [label_studio.task(pair, said, FACTS, frozenset())])


def as_argilla(folder: Path, pair: dict[str, Any], said: list[dict[str, Any]]) -> Path:
    return put(folder, "records.json", [argilla.record(pair, said, FACTS)])


def as_spreadsheet(folder: Path, pair: dict[str, Any], said: list[dict[str, Any]]) -> Path:
    path = folder / "judgments.csv"
    rows = [spreadsheet.comparison(pair, one, FACTS) for one in said]
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(rows[0])
        writer.writerows(spreadsheet.cells(row) for row in rows)
    return path


def as_arena(folder: Path, pair: dict[str, Any], said: list[dict[str, Any]]) -> Path:
    return put(folder, "train.jsonl", jsonl(lmarena.row(pair, one) for one in said))


def of_arena(pair: Told, displayed_left: str) -> Told:
    """Strength and reasons are lost, and the text that was shown on the left is the first."""
    instruction, given_, first, second, verdict, _ = pair
    weak = WEAKER.get(verdict, verdict)
    if displayed_left == "second":
        first, second, weak = second, first, TURNED.get(weak, weak)
    return instruction, given_, first, second, weak, ""


@pytest.mark.parametrize("write", [as_label_studio, as_argilla, as_spreadsheet, as_arena])
def test_judgements_come_back_whatever_their_texts_hold(write: Callable[..., Path]) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS, TEXTS, TEXTS, TEXTS, SAID)
    def there_and_back(instruction: str, asked: str, first: str, second: str, said: list[tuple[str, str, str]]) -> None:
        if first.strip() == second.strip():
            return
        prompt = [{"role": "system", "content": instruction}, {"role": "user", "content": asked}]
        pair = {**PAIR, "prompt": prompt, "first": first, "second": second}
        given_ = [
            {**answer(verdict, number), "rationale": why, "displayed_left": left}
            for number, (verdict, why, left) in enumerate(said, start=1)
        ]
        with tempfile.TemporaryDirectory() as folder:
            taken = take(write(Path(folder), pair, given_))
        assert not taken.problems.found, taken.problems.found
        sent = [((instruction, asked, first, second, verdict, why), left) for verdict, why, left in said]
        assert [of_record(record) for record in taken.records] == [
            of_arena(one, left) if write is as_arena else one for one, left in sent
        ]  # fmt: skip

    there_and_back()


def config_of(name: str) -> Callable[[Path, dict[str, Any]], Path]:
    """One of the data set's configs as the folder that is pushed or downloaded: Parquet, and a card that names it."""

    def write(folder: Path, row: dict[str, Any]) -> Path:
        made = shards.Config(folder, name, tables.configs(levels.FULL)[name], tables.SPLITS)
        made.put("train", getattr(tables, name)(row))
        made.close()
        put(
            folder,
            "README.md",
            f"---\nconfigs:\n- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*.parquet\n---\n",
        )
        return folder

    write.__name__ = f"{name} as a folder"
    return write


def lines_of(make: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path, dict[str, Any]], Path]:
    def write(folder: Path, row: dict[str, Any]) -> Path:
        return put(folder, "a.jsonl", jsonl([make(row)]))

    write.__name__ = f"{make.__module__.rpartition('.')[2]}.{make.__name__} as lines"
    return write


def parquet_of_ultrafeedback(folder: Path, row: dict[str, Any]) -> Path:
    made = shards.Config(folder, "data", ultrafeedback.SCHEMA, ["train"])
    made.put("train", ultrafeedback.row(row))
    made.close()
    return next(folder.glob("data/*.parquet"))


WRITERS = [
    *(config_of(name) for name in ("dpo", "dpo_soft", "reward")),
    *(lines_of(make) for make in (tables.dpo, tables.dpo_soft, tables.reward, ultrafeedback.row, chat_preferences.row)),
    parquet_of_ultrafeedback,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_preferences_come_back_whatever_their_texts_hold(write: Callable[[Path, dict[str, Any]], Path]) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS, TEXTS, TEXTS, TEXTS)
    def there_and_back(instruction: str, asked: str, chosen: str, rejected: str) -> None:
        if chosen.strip() == rejected.strip():
            return
        prompt = [{"role": "system", "content": instruction}, {"role": "user", "content": asked}]
        votes = {"chosen": 2, "rejected": 0, "tie": 0, "strength": 1.0, "basis": "votes"}
        row = {**PAIR, "prompt": prompt, "chosen": chosen, "rejected": rejected, "p_chosen": 0.75, "votes": votes}
        with tempfile.TemporaryDirectory() as folder:
            taken = take(write(Path(folder), row))
        assert not taken.problems.found, taken.problems.found
        assert [of_record(record)[:4] for record in taken.records] == [(instruction, asked, chosen, rejected)]
        assert all(of_record(record)[4].startswith("first_") for record in taken.records)

    there_and_back()
