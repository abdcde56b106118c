"""What no row names goes, after days and never sooner; what is being taken in stays."""

import json
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from modelhub import artifacts, garbage, versions
from modelhub.models import Artifact, ModelVersion

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def registered(folder: Path, name: str) -> ModelVersion:
    return versions.register(name=name, kind="base", artifact=artifacts.save(artifacts.stage(folder=folder)), actor=None)


def days_pass(days: float) -> None:
    """For every mark, and for what lies in `incoming`, by the file's own clock."""
    for mark in garbage.marks().iterdir():
        then = mark.stat().st_mtime - days * 86400
        os.utime(mark, (then, then))


def blob_of(staged: artifacts.Staged, name: str = "model.safetensors") -> Path:
    return artifacts.blob(next(entry["sha256"] for entry in staged.manifest if entry["name"] == name))


def test_what_no_model_names_goes_a_week_after_it_was_found(model_folder: Make) -> None:
    kept = registered(model_folder("kept"), "kept")
    stray = artifacts.stage(folder=model_folder("stray", value=2.0))
    only = blob_of(stray)
    assert garbage.look().unnamed.files == 1  # its other files are those of the kept one
    garbage.collect()
    days_pass(6.9)
    assert garbage.collect().removed.files == 0
    assert only.exists()
    days_pass(0.2)
    found = garbage.collect()
    assert (found.removed.files, found.removed.bytes) == (1, next(e["size"] for e in stray.manifest if e["name"] == "model.safetensors"))
    assert not only.exists()
    assert artifacts.folder(kept.artifact).is_dir()
    assert not list(garbage.marks().iterdir())


def test_looking_changes_nothing(model_folder: Make, data_dir: Path) -> None:
    artifacts.stage(folder=model_folder("stray"))
    before = sorted(data_dir.rglob("*"))
    call_command("collect_garbage")
    call_command("collect_garbage", "--dry-run")
    assert sorted(data_dir.rglob("*")) == before


def test_an_archived_version_keeps_its_files(model_folder: Make) -> None:
    version = registered(model_folder("old"), "old")
    ModelVersion.objects.update(archived_at="2026-01-01T00:00:00Z")
    for _ in range(2):
        garbage.collect(grace=timedelta(0))
    assert artifacts.folder(version.artifact).is_dir()


def test_taking_a_file_in_again_takes_its_mark_away(model_folder: Make) -> None:
    """The import that finds its file there already, the moment before that would go."""
    source = model_folder("again")
    stray = artifacts.stage(folder=source)
    garbage.collect()
    days_pass(8)
    staged = artifacts.stage(folder=source)
    garbage.collect()
    assert blob_of(stray).exists()
    assert artifacts.folder(artifacts.save(staged)).is_dir()


def test_folders_of_links_and_what_killed_writers_left_go_too(model_folder: Make, data_dir: Path) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder("gone")))
    made = artifacts.folder(artifact)
    Artifact.objects.all().delete()
    left = artifacts.store() / "incoming" / "killed"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"x" * 100)
    fresh = garbage.collect()
    assert (fresh.removed.files, fresh.left_over.files) == (0, 0), "somebody may be writing there"
    days_pass(8)
    assert garbage.collect(grace=timedelta(0)).removed.files == 5  # four files of the model, one of the writer
    assert not made.exists()
    assert not left.exists()
    assert [path.name for path in (data_dir / "artifacts" / "sets").iterdir()] == []


@pytest.mark.django_db(transaction=True)
def test_an_import_and_a_collection_at_once_lose_nothing(model_folder: Make) -> None:
    """Every file is there, unnamed, and due; both begin at the same moment. The import's files are whole afterwards, whoever was first."""
    source = model_folder("again")
    for _ in range(10):
        artifacts.stage(folder=source)
        garbage.collect()
        days_pass(8)
        barrier = threading.Barrier(2)
        taken: list[Artifact] = []

        def take_in(barrier: threading.Barrier = barrier, taken: list[Artifact] = taken) -> None:
            barrier.wait()
            taken.append(artifacts.save(artifacts.stage(folder=source)))
            connection.close()

        def collect(barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            for _ in range(3):
                garbage.collect()
            connection.close()

        threads = [threading.Thread(target=take_in), threading.Thread(target=collect)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {path.name for path in artifacts.folder(taken[0]).iterdir()} == {path.name for path in source.iterdir()}
        Artifact.objects.all().delete()


def test_the_command_says_how_much_and_asks_for_patience(model_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    registered(model_folder("kept"), "kept")
    artifacts.stage(folder=model_folder("stray", value=2.0))
    call_command("collect_garbage", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["deleted"], said["kept"]["files"], said["unnamed"]["files"], said["due"]["files"]) == (False, 4, 1, 0)
    call_command("collect_garbage", "--delete")
    days_pass(8)
    call_command("collect_garbage", "--delete")
    assert "Removed: 1 files" in capsys.readouterr().out
    with pytest.raises(CommandError, match="at least an hour"):
        call_command("collect_garbage", "--delete", "--grace-days", "0")
