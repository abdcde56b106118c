"""Exports: every form and level holds what it should and nothing else, counts add up, no harm is favoured, and what leaves reads back."""

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from accounts.models import Profile, User
from annotation import export_files, export_jobs, judgements, reading, snapshot_rows, snapshots
from annotation.exports import dataset, levels, shards, spreadsheet, tables
from annotation.exports.forms import FORMS
from annotation.judgements import Answer, Span
from annotation.models import Judgement, Snapshot, Verdict
from annotation.reading.shapes import PreferenceRow
from annotation.records import Problems
from tests.annotation.build import campaign, lease

pytestmark = pytest.mark.django_db

# What each level's `judgments` has: written out, so that a column that slips in is seen.
ALWAYS = {
    "judgment_id", "revision", "pair_id", "sample_id", "task_type", "campaign", "form_version", "guideline_version", "rater_pseudonym",
    "specialty_bucket", "kind", "counted", "verdict", "strength", "cannot_reason", "reasons", "harm_first", "harm_second", "criteria",
    "confidence", "hard", "spans", "edited", "displayed_left", "is_gold", "is_repeat", "selection_policy", "client",
}  # fmt: skip
GOLDEN = {
    "deidentified": ALWAYS,
    "untagged": ALWAYS | {"rationale", "edited_text"},
    "full": ALWAYS | {"rationale", "edited_text", "served_at", "submitted_at", "active_ms"},
}
SECRET = "Because the dose is ten times too high."
EDITED = "Chest pain, infarction ruled out twice."


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def frozen(alice: User, bob: User) -> Snapshot:
    """Twelve pairs judged by two raters: every verdict, a flag on a text both prefer, reasons, marks, edits of either side."""
    made = campaign([alice, bob], pairs=12, overlap=2)
    Profile.objects.filter(user=alice).update(specialties=["cardiology"])
    verdicts = [*Verdict.values, "first_much", "first_much", "first_much", "second_much", "first_slightly"]
    order = {pair: number for number, pair in enumerate(made.pairs.order_by("position").values_list("pk", flat=True))}
    for rater in (alice, bob):
        for _ in range(12):
            held = lease(made, rater)
            number = order[held.pair_id]
            judgements.submit(assignment=held, answer=_answer(number, verdicts[number], rater is alice), key=uuid4())
    return snapshots.freeze(campaign=made, name="Forms", actor=None)


def _answer(number: int, verdict: str, first: bool) -> Answer:
    said: dict[str, Any] = {"verdict": Verdict(verdict), "active_ms": 31_500 + number}
    if verdict == "cannot_judge":
        said["cannot_reason"] = "outside_field"
    if number == 7 and first:
        said |= {"harm_first": "major", "harm_first_type": "wrong_dose", "rationale": SECRET}
    if number == 8 and first:
        said |= {"edited": "first", "edited_text": EDITED, "rationale": "=cmd|' /C calc'!A0"}
    if number == 9 and first:
        said |= {"spans": (Span("first", 0, 6, "fabrication", "minor"),), "rationale": "Made up,\nand “quoted”."}
    return Answer(**said)


def lines(place: Path, config: str) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(place.glob(f"jsonl/{config}/*.jsonl")) for line in path.read_bytes().splitlines()]


def test_every_level_has_the_columns_written_here_and_no_others(frozen: Snapshot) -> None:
    for level in levels.ORDER:
        place = export_files.folder(snapshot=frozen, level=level)
        rows = lines(place, "judgments")
        assert {frozenset(row) for row in rows} == {frozenset(GOLDEN[level])}, level
        assert set(pq.read_schema(next(place.glob("judgments/*.parquet"))).names) == GOLDEN[level]
        assert bool(list(place.glob("sft_edits/*"))) == (level != "deidentified"), "an edit is somebody's own words"
        everything = b"".join(path.read_bytes() for path in place.rglob("*.jsonl"))
        assert (SECRET.encode() in everything, EDITED.encode() in everything) == (
            (False, False) if level == "deidentified" else (True, True)
        )
        assert (b"2026-" in everything or b"active_ms" in everything) == (level == "full")
        assert json.loads((place / "manifest.json").read_text())["removed"] == sorted(levels.removed(level))


def test_parquet_and_lines_are_twins_and_counts_add_up(frozen: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK", 2)
    monkeypatch.setattr(shards, "ROWS_A_SHARD", 4)
    place = export_files.folder(snapshot=frozen)
    told = json.loads((place / "manifest.json").read_text())["configs"]
    assert set(told) == set(tables.COLUMNS)
    for name, said in told.items():
        twins = [row for path in sorted(place.glob(f"{name}/*.parquet")) for row in pq.read_table(path).to_pylist()]
        assert twins == lines(place, name), name
        assert len(twins) == sum(said["rows"].values())
        assert said["included"] + sum(said["excluded"].values()) == said["total"]
    shard = [path.name for path in place.glob("judgments/train-*.parquet")]
    assert len(shard) > 1
    assert all(name.endswith(f"-of-{len(shard):05}.parquet") for name in shard)
    assert (told["judgments"]["total"], told["dpo"]["total"], told["sft_edits"]["included"]) == (24, 12, 1)
    assert told["dpo"]["excluded"] == {"both_unacceptable": 1, "cannot_judge": 1, "tie": 1}


def test_a_flagged_text_is_favoured_nowhere_and_its_vote_is_kept(frozen: Snapshot) -> None:
    place = export_files.folder(snapshot=frozen)
    pair = next(row for row in lines(place, "pairs") if row["harm_first"])
    bad, good = pair["first"], pair["second"]
    for name in ("dpo", "dpo_soft", "reward"):
        (row,) = [row for row in lines(place, name) if row["pair_id"] == pair["pair_id"]]
        assert (row["chosen"][-1]["content"], row["rejected"][-1]["content"]) == (good, bad), name
    assert pair["p_first"] <= 0.05
    labels = {row["completion"][0]["content"]: row["label"] for row in lines(place, "kto") if row["pair_id"] == pair["pair_id"]}
    assert labels == {bad: False, good: True}
    assert bad not in [row["completion"][0]["content"] for row in lines(place, "sft_edits")]
    votes = [row for row in lines(place, "judgments") if row["pair_id"] == pair["pair_id"]]
    assert {row["verdict"] for row in votes} == {"first_much"}, "as they were given"
    assert sorted(row["harm_first"]["severity"] for row in votes) == ["", "major"]


def test_kto_learns_from_pairs_unfit_on_both_sides_and_margins_follow_the_votes(frozen: Snapshot) -> None:
    place = export_files.folder(snapshot=frozen)
    (unfit,) = [row for row in lines(place, "pairs") if row["both_unacceptable"]]
    assert [row["label"] for row in lines(place, "kto") if row["pair_id"] == unfit["pair_id"]] == [False, False]
    soft = {row["pair_id"]: row["p_chosen"] for row in lines(place, "dpo_soft")}
    for row in lines(place, "reward"):
        assert row["margin"] == tables.margin(soft[row["pair_id"]]) > 0
        assert [turn["role"] for turn in row["chosen"]] == ["system", "user", "assistant"]


def test_the_card_says_how_it_came_about(frozen: Snapshot) -> None:
    card = (export_files.folder(snapshot=frozen) / "README.md").read_text()
    for part in (
        "config_name: dpo\n  default: true",
        "## Protocol", "Overlap: 2 judgements a pair", "## Raters", "field not told, because fewer than 3",
        "Krippendorff's alpha", "Side balance", "Length gap", "## Left out", "## Sources and licences", "## Limits", frozen.digest,
    ):  # fmt: skip
        assert part in card, part
    assert "alice" not in card


def records(path: Path, shape: str) -> Iterator[Any]:
    """What the wizard makes of a file that it has recognised."""
    found = reading.detect(path, name=path.name)
    assert found.shape == shape, found
    problems = Problems()
    for place, row in reading.rows(path, format=found.format, problems=problems, digest=None):
        yield from reading.SHAPES[shape].convert(place, row, found.mapping, problems)
    assert not problems.found, problems.found


@pytest.mark.parametrize(
    ("form", "file", "shape"), [("argilla", "records.json", "argilla"), ("label-studio", "tasks.json", "label_studio")]
)
def test_judgements_come_back_as_they_were(frozen: Snapshot, form: str, file: str, shape: str) -> None:
    place = export_files.folder(snapshot=frozen, form=form)
    names = json.loads((place / "raters.json").read_text()) if form == "argilla" else {}
    back = sorted(
        (row.first_text, row.second_text, row.verdict, row.rationale, names.get(row.rater, f"r{row.rater}"))
        for row in records(place / file, shape) if isinstance(row, PreferenceRow)
    )  # fmt: skip
    pairs = {row["pair_id"]: row for row in lines(export_files.folder(snapshot=frozen), "pairs")}
    gone = [
        (pairs[row["pair_id"]]["first"], pairs[row["pair_id"]]["second"], row["verdict"], row["rationale"], row["rater_pseudonym"])
        for row in lines(export_files.folder(snapshot=frozen), "judgments") if row["counted"]
    ]  # fmt: skip
    assert back == sorted(gone)
    assert len(back) == 24


def test_label_studios_regions_fit_its_configuration(frozen: Snapshot) -> None:
    place = export_files.folder(snapshot=frozen, form="label-studio")
    view = ET.fromstring((place / "label_config.xml").read_text())
    known = {tag.get("name"): tag for tag in view}
    for task in json.loads((place / "tasks.json").read_text()):
        assert all(task["data"][tag.get("value", "")[1:]] is not None for tag in view if tag.tag == "Text")
        for annotation in task["annotations"]:
            assert annotation["lead_time"] >= 31.5
            for region in annotation["result"]:
                tag = known[region["from_name"]]
                assert tag.tag.lower() == region["type"]
                assert region["to_name"] in (tag.get("toName") or "").split(",")
                assert "," not in region["to_name"]
                if region["type"] == "labels":
                    value = region["value"]
                    assert task["data"][region["to_name"]][value["start"] : value["end"]] == value["text"]


def test_a_spreadsheet_runs_nothing_and_gives_everything_back(frozen: Snapshot) -> None:
    path = export_files.folder(snapshot=frozen, form="csv") / "judgments.csv"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = {row["judgment_id"]: row["rationale"] for row in rows}
    assert all(cell[:1] not in "=+@\t\r\0" or not cell for row in rows for cell in row.values())
    assert {key: spreadsheet.plain(cell) for key, cell in said.items()} == {
        str(pk): text for pk, text in Judgement.objects.values_list("pk", "rationale")
    }
    assert "'=cmd|' /C calc'!A0" in said.values()


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'", "''=", " =", "  +", ""])
def test_every_dangerous_beginning_is_made_text_and_undone(begin: str) -> None:
    for text in (begin + "1+1", begin, f"{begin}\nnext", f"plain {begin}"):
        cell = spreadsheet.safe(text)
        assert cell.lstrip()[:1] not in set("=+-@＝＋－＠") or not cell.strip(), cell
        assert spreadsheet.plain(cell) == text


def test_other_tools_rows_have_the_columns_they_ask_for(frozen: Snapshot) -> None:
    (row, *_) = [json.loads(line) for path in export_files.folder(snapshot=frozen, form="openai").glob("*.jsonl") for line in path.open()]
    assert set(row) == {"input", "preferred_output", "non_preferred_output"}
    assert [turn["role"] for turn in row["preferred_output"]] == ["assistant"]
    arena = [json.loads(line) for path in export_files.folder(snapshot=frozen, form="lmarena").glob("*.jsonl") for line in path.open()]
    assert {row["winner"] for row in arena} <= {"model_a", "model_b", "tie", "tie (bothbad)"}
    assert {row["model_a"] for row in arena} | {row["model_b"] for row in arena} == {"model-1", "model-2"}, "numbered, not named"
    (table, *_) = export_files.folder(snapshot=frozen, form="ultrafeedback").glob("data/*.parquet")
    assert set(pq.read_schema(table).names) == {
        "prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected",
    }  # fmt: skip


def test_the_child_makes_the_same_bytes_without_a_database(frozen: Snapshot, tmp_path: Path) -> None:
    attempt = tmp_path / "attempt"
    (attempt / "laid").mkdir(parents=True)
    export_files.lay_out(frozen, "untagged", attempt / "laid")
    for form in FORMS:
        (attempt / "spec.json").write_text(json.dumps({"form": form}))
        bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(export_jobs.__file__).parent.parent)}
        subprocess.run([sys.executable, "-m", "annotation.exports", str(attempt)], env=bare, check=True, timeout=120)
        assert json.loads((attempt / "result.json").read_text())["ok"] is True
        here = export_files.folder(snapshot=frozen, form=form, level="untagged")
        for path in (path for path in here.rglob("*") if path.is_file()):
            assert (attempt / "output" / path.relative_to(here)).read_bytes() == path.read_bytes(), path
        (attempt / "output").rename(tmp_path / f"done-{form}")


def test_rows_that_are_not_those_that_were_frozen_are_refused(frozen: Snapshot, tmp_path: Path) -> None:
    export_files.lay_out(frozen, "full", tmp_path)
    rows = (tmp_path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_bytes(b"".join(rows[1:]))
    (tmp_path / "made").mkdir()
    with pytest.raises(ValueError, match="not those that were frozen"):
        FORMS["dataset"].write(tmp_path, tmp_path / "made", None)


def test_two_processes_write_the_same_bytes_as_one(frozen: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_files.lay_out(frozen, "full", tmp_path)
    for name, worth in (("one", 10**9), ("two", 0)):
        monkeypatch.setattr(dataset, "WORTH_ROWS", worth)
        (tmp_path / name).mkdir()
        dataset.write(tmp_path, tmp_path / name)
    written = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        assert (tmp_path / "two" / path).read_bytes() == (tmp_path / "one" / path).read_bytes(), path
    answers = (tmp_path / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "answers.jsonl").write_bytes(b"".join(answers[1:]))
    (tmp_path / "three").mkdir()
    with pytest.raises(ValueError, match="were laid out"):
        dataset.write(tmp_path, tmp_path / "three")


def test_laying_out_tells_how_far_it_is(frozen: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_rows, "CHUNK", 1)
    told: list[tuple[str, int, int]] = []
    export_files.lay_out(frozen, levels.FULL, tmp_path, lambda *said: told.append(said))
    assert list(dict.fromkeys(phase for phase, *_ in told)) == ["gathering answers", "laying out", "working out figures"]
    assert [(done, total) for phase, done, total in told if phase == "gathering answers"] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    steps = [done for phase, done, _ in told if phase == "laying out"]
    lines = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*.jsonl"))
    assert {total for phase, _, total in told if phase == "laying out"} == {lines}
    assert (steps[0], steps[-1], steps == sorted(steps), len(set(steps)) >= 4) == (0, lines, True, True)
