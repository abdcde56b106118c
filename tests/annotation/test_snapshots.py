"""Freezing: content-addressed, refusing what does not belong, never changed; and the pages and files that show it."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import campaigns, export_files, judgements, snapshot_rows, snapshots
from annotation.models import Assignment, Campaign, Snapshot, SnapshotRow, Split, Verdict
from annotation.snapshots import FreezeRefused
from tests.annotation.build import campaign, judge, lease, may_export
from tests.cast import person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def judged(alice: User) -> Campaign:
    """Forty pairs: mostly preferences for the first text, some of every other verdict, two not judged."""
    made = campaign([alice], pairs=40)
    others = [Verdict.SECOND_SLIGHTLY, Verdict.BOTH_ACCEPTABLE, Verdict.BOTH_UNACCEPTABLE, Verdict.CANNOT_JUDGE]
    for number in range(38):
        verdict = others[number] if number < 4 else Verdict.FIRST_MUCH
        judge(made, alice, verdict, "outside_field" if verdict == Verdict.CANNOT_JUDGE else "")
    return made


def freeze(made: Campaign, **options: Any) -> Snapshot:
    return snapshots.freeze(campaign=made, name="S", actor=None, **options)


def test_it_counts_what_it_used_and_why_it_left_out_the_rest(judged: Campaign) -> None:
    snapshot = freeze(judged)
    assert snapshot.counts["dropped"] == {"both_unacceptable": 1, "cannot_judge": 1, "no_judgement": 2, "tie": 1}
    assert sum(snapshot.counts["used"].values()) == snapshot.rows.count() == 35
    assert (snapshot.counts["judgements"], snapshot.counts["raters"], snapshot.counts["surplus"]) == (38, 1, 0)
    assert AuditEntry.objects.get(verb="snapshot.frozen").details["digest"] == snapshot.digest


def test_every_row_is_split_by_its_sample_and_chosen_as_the_votes_say(judged: Campaign) -> None:
    for row in freeze(judged).rows.select_related("prompt__sample", "pair"):
        assert row.split == row.prompt.sample.split
        assert {row.chosen_id, row.rejected_id} == {row.pair.first_id, row.pair.second_id}
        if row.votes["strength"] == 1:
            assert (row.chosen_id, row.p_chosen) == (row.pair.second_id, 0.625)
        else:
            assert (row.chosen_id, row.p_chosen) == (row.pair.first_id, 0.71)


def test_the_same_content_is_the_same_snapshot_and_one_more_answer_another(judged: Campaign, alice: User) -> None:
    first = freeze(judged)
    assert freeze(judged).pk == first.pk
    assert Snapshot.objects.count() == 1
    judge(judged, alice)
    second = freeze(judged)
    assert second.digest != first.digest
    assert second.rows.count() == first.rows.count() + 1


def test_the_digest_is_that_of_the_rows_written_out(judged: Campaign) -> None:
    """Anybody can compute it from the tables: SHA-256 of canonical JSON."""
    snapshot = freeze(judged)
    contents = [
        {
            "sample": row.prompt.sample.digest,
            "prompt": row.prompt.digest,
            "chosen": row.chosen.digest,
            "rejected": row.rejected.digest,
            "p_chosen": row.p_chosen,
            "votes": row.votes,
            "split": row.split,
        }
        for row in snapshot.rows.order_by("position")
    ]
    whole = {
        "format": "snapshot-2", "campaign": str(judged.public_id), "simulated": False, "toy": False, "rulings": [], "rows": contents,
    }  # fmt: skip
    assert hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == snapshot.digest


def test_undone_amended_and_surplus_answers_count_as_they_should(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=3)
    judge(made, alice, Verdict.FIRST_MUCH)
    judgements.undo_last(campaign=made, annotator=alice)
    amended = judge(made, alice, Verdict.FIRST_SLIGHTLY)
    judgements.amend(judgement=amended, verdict=Verdict.SECOND_MUCH, key=uuid4())
    held = lease(made, alice)
    Assignment.objects.filter(pk=held.pk).update(expires_at="2020-01-01T00:00Z")
    judge(made, bob, Verdict.FIRST_SLIGHTLY)
    assert judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4()).surplus
    snapshot = freeze(made)
    assert sorted((row.p_chosen, row.chosen_id == row.pair.first_id) for row in snapshot.rows.select_related("pair")) == [
        (0.625, True),
        (0.71, False),
    ]
    assert snapshot.counts["surplus"] == 1


def test_nothing_left_is_refused_with_what_each_filter_removed(alice: User) -> None:
    made = campaign([alice], pairs=3)
    with pytest.raises(FreezeRefused, match=r"No row is left. Left out: 3 \(no judgement yet\)"):
        freeze(made)
    judge(made, alice, Verdict.BOTH_ACCEPTABLE)
    judge(made, alice)
    with pytest.raises(FreezeRefused, match=r"1 \(fewer judgements than asked for\)"):
        freeze(made, min_judgements=2)
    with pytest.raises(FreezeRefused, match=r"3 \(its task type was not asked for\)"):
        freeze(made, task_types=["note scoring"])
    assert not Snapshot.objects.exists()


def test_a_campaign_that_was_never_open_is_refused(alice: User) -> None:
    with pytest.raises(FreezeRefused, match="never open"):
        freeze(campaign([alice], opened=False))


def test_simulated_raters_judgements_are_refused_outside_simulated_campaigns(alice: User) -> None:
    made = campaign([alice], pairs=3)
    judge(made, alice)
    User.objects.filter(pk=alice.pk).update(simulated=True)
    with pytest.raises(FreezeRefused, match="not marked simulated"):
        freeze(made)


def test_simulated_campaigns_make_simulated_snapshots() -> None:
    robot = person("robot", "annotator", simulated=True)
    made = campaign([robot], pairs=3, simulated=True)
    judge(made, robot)
    snapshot = freeze(made)
    assert snapshot.simulated is True
    assert "Simulated" in (export_files.folder(snapshot=snapshot) / "README.md").read_text()


def test_the_database_refuses_to_change_or_delete_a_snapshot(judged: Campaign) -> None:
    freeze(judged)
    for change in (
        lambda: Snapshot.objects.update(name="Other"),
        lambda: SnapshotRow.objects.update(p_chosen=0.9),
        lambda: SnapshotRow.objects.all().delete(),
        lambda: Snapshot.objects.all()._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_training_rows_are_conversations(judged: Campaign) -> None:
    snapshot = freeze(judged)
    rows = list(snapshot_rows.training_rows(snapshot, Split.TRAIN))
    assert len(rows) == snapshot.counts["used"]["train"]
    row = rows[0]
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert [turn["role"] for turn in (*row["chosen"], *row["rejected"])] == ["assistant", "assistant"]
    assert set(row) == {"prompt", "chosen", "rejected", "p_chosen", "pair_id", "sample_id", "task_type"}


def test_the_folder_holds_what_the_manifest_says_and_names_nobody(judged: Campaign) -> None:
    snapshot = freeze(judged)
    place = export_files.folder(snapshot=snapshot)
    manifest = json.loads((place / "manifest.json").read_text())
    listed = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - {"manifest.json", ".crc32.json"}
    assert set(manifest["files"]) == listed
    for name, told in manifest["files"].items():
        content = (place / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (told["sha256"], told["bytes"])
    for path in place.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"alice" not in content
            assert b"north" not in content, "no system is named"
    for split, count in snapshot.counts["used"].items():
        table = pq.read_table(place / "dpo" / f"{split}-00000-of-00001.parquet")
        lines = [json.loads(line) for line in (place / "jsonl" / "dpo" / f"{split}-00000-of-00001.jsonl").read_text().splitlines()]
        assert table.to_pylist() == lines
        assert len(lines) == count


def test_the_same_snapshot_gives_the_same_bytes(judged: Campaign, settings: Any, tmp_path: Path) -> None:
    snapshot = freeze(judged)
    first = {path.as_posix()[-40:]: path.read_bytes() for path in export_files.folder(snapshot=snapshot).rglob("*") if path.is_file()}
    zipped = b"".join(export_files.archive(snapshot, export_files.folder(snapshot=snapshot)).blocks())
    settings.DATA_DIR = tmp_path / "elsewhere"
    assert {
        path.as_posix()[-40:]: path.read_bytes() for path in export_files.folder(snapshot=snapshot).rglob("*") if path.is_file()
    } == first
    assert b"".join(export_files.archive(snapshot, export_files.folder(snapshot=snapshot)).blocks()) == zipped


@pytest.mark.engine
def test_load_dataset_opens_the_folder(judged: Campaign, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    snapshot = freeze(judged)
    place = export_files.folder(snapshot=snapshot)
    code = (
        "import datasets, json, sys; d = datasets.load_dataset(sys.argv[1]); "
        "print(json.dumps({'rows': {k: v.num_rows for k, v in d.items()}, 'first': d['train'][0]}))"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, env=environment, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    opened = json.loads(done.stdout.splitlines()[-1])
    assert opened["rows"] == snapshot.counts["used"]
    frozen = next(snapshot_rows.training_rows(snapshot, Split.TRAIN))
    assert opened["first"] == {name: value for name, value in frozen.items() if name != "p_chosen"}


@pytest.mark.engine
def test_load_dataset_opens_a_folder_with_empty_splits(alice: User, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    made = campaign([alice], pairs=30, splits=[Split.TRAIN])
    judge(made, alice)
    place = export_files.folder(snapshot=freeze(made))
    assert sorted(path.name for path in (place / "dpo").iterdir()) == ["train-00000-of-00001.parquet"]
    assert "| `dpo` | 1 | none | none |" in (place / "README.md").read_text()
    code = "import datasets, sys; print({k: v.num_rows for k, v in datasets.load_dataset(sys.argv[1]).items()})"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, env=environment, timeout=200, check=False
    )
    assert done.stdout.splitlines()[-1] == "{'train': 1}", done.stderr[-2000:]


def test_a_trainer_freezes_looks_and_downloads(as_dan: Client, dan: User, judged: Campaign) -> None:
    response = as_dan.post(f"/campaigns/{judged.public_id}/freeze/", {"name": "First harvest", "min_judgements": "1"})
    snapshot = Snapshot.objects.get()
    assert response["Location"] == f"/snapshots/{snapshot.public_id}/"
    page = as_dan.get(response["Location"]).content.decode()
    assert "First harvest" in page
    assert snapshot.digest in page
    assert "both unacceptable: neither may be chosen" in page
    assert f'href="/runs/new/?snapshot={snapshot.public_id}"' in page
    assert "First harvest" in as_dan.get("/snapshots/").content.decode()

    address = f"/snapshots/{snapshot.public_id}/export/dataset/untagged/"
    assert as_dan.get(address).status_code == 403, "a role is not enough"
    may_export(dan)
    assert address in as_dan.get(response["Location"]).content.decode()
    zipped = as_dan.get(address)
    assert zipped["Content-Disposition"] == f'attachment; filename="rounds-snapshot-{snapshot.digest[:12]}-dataset.zip"'
    names = zipfile.ZipFile(io.BytesIO(b"".join(zipped.streaming_content))).namelist()  # type: ignore[attr-defined]
    assert f"rounds-snapshot-{snapshot.digest[:12]}/README.md" in names
    assert AuditEntry.objects.filter(verb="snapshot.downloaded", actor_id=dan.pk).count() == 1
    assert as_dan.get(f"/snapshots/{snapshot.public_id}/export/exe/untagged/").status_code == 404


def test_a_refused_freeze_says_why_on_the_campaigns_page(as_dan: Client, alice: User) -> None:
    made = campaign([alice], pairs=3)
    response = as_dan.post(f"/campaigns/{made.public_id}/freeze/", {"name": "Too early", "min_judgements": "1"})
    assert response.status_code == 422
    assert "No row is left. Left out: 3 (no judgement yet)." in response.content.decode()
    assert "Too early" in response.content.decode(), "what was typed is kept"


def test_without_snapshots_the_page_offers_the_next_step(as_dan: Client, alice: User) -> None:
    assert "Nothing is frozen yet" in as_dan.get("/snapshots/").content.decode()
    made = campaign([alice])
    assert f'href="/campaigns/{made.public_id}/freeze/"' in as_dan.get("/snapshots/").content.decode()


def test_snapshots_of_an_open_campaign_are_hidden_from_those_who_judge_in_it(as_dan: Client, dan: User, judged: Campaign) -> None:
    from accounts.models import Role, RoleGrant

    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    campaigns.add_members(campaign=judged, members=[dan], actor=None)
    snapshot = freeze(judged)
    for address in (
        f"/snapshots/{snapshot.public_id}/",
        f"/snapshots/{snapshot.public_id}/export/dataset/untagged/",
        f"/campaigns/{judged.public_id}/",
    ):
        assert as_dan.get(address).status_code == 404
    assert str(snapshot.public_id) not in as_dan.get("/snapshots/").content.decode()
    campaigns.close(campaign=judged, actor=None)
    assert as_dan.get(f"/snapshots/{snapshot.public_id}/").status_code == 200
