"""A run to take away: who may, what is in it, what it owns up to, and that its script trains with nothing but TRL."""

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from annotation.models import ExportGrant, SnapshotRow, Split
from modelhub.models import ModelVersion
from tests.annotation.build import may_export
from tests.training import build
from training import bundles, runs
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


def started(dan: User, sft: ModelVersion, **options: Any) -> Run:
    frozen = build.snapshot()
    may_export(dan, "deidentified")
    return runs.start(snapshot=frozen, policy=sft, preset=options.pop("preset", "clinic"), name="ward-dpo-1", actor=dan, **options)


def taken(client: Client, run: Run) -> zipfile.ZipFile:
    answer = client.get(f"/runs/{run.pk}/bundle/")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == 'attachment; filename="rounds-run-ward-dpo-1.zip"'
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    return zipfile.ZipFile(BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]


def test_rows_recipe_versions_and_a_script(as_dan: Client, dan: User, sft: ModelVersion) -> None:
    run = started(dan, sft)
    bundle = taken(as_dan, run)
    names = set(bundle.namelist())
    assert {"README.md", "recipe.json", "environment.json", "requirements.txt", "train_stock_trl.py", "train.jsonl"} <= names
    assert not names - {"validation.jsonl", "README.md", "recipe.json", "environment.json", "requirements.txt", "train_stock_trl.py",
                        "train.jsonl"}  # fmt: skip
    rows = [json.loads(line) for line in bundle.read("train.jsonl").splitlines()]
    assert len(rows) == SnapshotRow.objects.filter(snapshot=run.snapshot, split=Split.TRAIN).count()
    assert set(rows[0]) == {"id", "prompt", "chosen", "rejected", "p_chosen"}
    recipe = json.loads(bundle.read("recipe.json"))
    assert (recipe["run"], recipe["kind"], recipe["seed"]) == ("ward-dpo-1", "dpo", 1)
    assert recipe["snapshot"]["digest"] == run.snapshot.digest  # type: ignore[union-attr]
    assert recipe["start_model"]["artifact"] == sft.artifact.digest
    assert recipe["params"] == run.params
    assert "trl==" in bundle.read("requirements.txt").decode()
    assert AuditEntry.objects.filter(verb="run.downloaded", actor_name="dan").count() == 1


def test_the_readme_lists_what_trl_cannot_say_and_only_what_the_run_used(as_dan: Client, dan: User, sft: ModelVersion) -> None:
    said = taken(as_dan, started(dan, sft)).read("README.md").decode()
    assert "**Soft targets.** " in said
    assert "**Stored reference.** " in said
    assert "**Length buckets.** " in said
    assert "**Early stop.** " in said
    assert "Shared prefix" not in said
    assert "Replay" not in said


def test_who_may_not_see_the_snapshot_may_not_take_its_rows(
    as_dan: Client, as_alice: Client, as_sam: Client, dan: User, sft: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(dan, sft)
    for client in (as_alice, as_sam):
        assert client.get(f"/runs/{run.pk}/bundle/").status_code == 403
    ExportGrant.objects.update(revoked_at="2026-01-01T00:00Z")
    assert as_dan.get(f"/runs/{run.pk}/bundle/").status_code == 403
    from training.views import watching

    monkeypatch.setattr(watching, "may_read", lambda user, run: False)
    assert as_dan.get(f"/runs/{run.pk}/bundle/").status_code == 404
    assert not AuditEntry.objects.filter(verb="run.downloaded").exists()


def test_nothing_of_it_stays_on_the_disk(as_dan: Client, dan: User, sft: ModelVersion, data_dir: Path) -> None:
    taken(as_dan, started(dan, sft))
    assert not [path for path in (data_dir / "exports").rglob("*") if path.is_file()]


def test_the_runs_page_leads_to_it(as_dan: Client, dan: User, sft: ModelVersion) -> None:
    run = started(dan, sft)
    assert f'href="/runs/{run.pk}/bundle/"' in as_dan.get(f"/runs/{run.pk}/").text


def test_a_run_on_no_snapshot_has_its_recipe_and_says_why_there_is_no_script(as_dan: Client, dan: User) -> None:
    run = runs.build(
        kind="pretrain", name="ward-dpo-1", label="Pretrain", params={"steps": 5, "learning_rate": 1e-3, "corpus": "base"},
        models={"policy": {"version": 1}}, publish={"kind": "base", "toy": True, "simulated": False, "roles": {}}, waits_for=[], seed=3,
        preset="", actor=dan,
    )  # fmt: skip
    bundle = taken(as_dan, run)
    assert sorted(bundle.namelist()) == ["README.md", "environment.json", "recipe.json", "requirements.txt"]
    assert "no stock trainer does it" in bundle.read("README.md").decode()


@pytest.mark.engine
def test_its_script_trains_with_unmodified_trl(as_dan: Client, dan: User, sft: ModelVersion, tmp_path: Path) -> None:
    """Unpacked elsewhere and run for two steps, with nothing of ours on the path."""
    pytest.importorskip("trl", reason="the engine's packages are not installed")
    from tests.engine import tiny

    bundle = taken(as_dan, started(dan, sft, preset="demo"))
    place = tmp_path / "bundle"
    bundle.extractall(place)
    model = tiny.untrained(tmp_path / "tiny")
    command = [sys.executable, "-I", "train_stock_trl.py", "--model", str(model), "--output", str(tmp_path / "made"), "--max-steps", "2"]
    environment = {"PATH": "/usr/bin", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'rewards/margins'" in done.stdout
    assert (tmp_path / "made" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(("kind", "params"), [("sft", {"learning_rate": 1e-4, "epochs": 2.0}), ("kto", {"learning_rate": 1e-5})])
def test_other_kinds_have_scripts_of_their_trainers(kind: str, params: dict[str, Any]) -> None:
    from training import specs

    made = bundles.script(kind, specs.check(kind, params), 5)
    compile(made, "train_stock_trl.py", "exec")
    assert f"from trl import {kind.upper()}Config, {kind.upper()}Trainer" in made
    assert "@" not in made
    assert "'seed': 5" in made
