"""CLUE+ as a job: asked of a version from a folder, kept apart from the attempt; the command says what is wrong."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from jobs.errors import EngineFailed
from modelhub.models import ModelVersion
from tests.engine import clue_copies
from tests.training import build
from training import clue_runs, specs, suiteruns
from training.engine.errors import SpecError
from training.suite.results import SuiteResult, TaskResult

pytestmark = pytest.mark.django_db

RESULT = SuiteResult(
    suite="clue", model="d" * 64, seed=3, settings={"mode": "greedy"},
    tasks={"MedQA": TaskResult(metric="accuracy", higher_is_better=True, n=2, score=0.5, items=[1.0, 0.0], outputs_sha256="0" * 64)},
)  # fmt: skip


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "tiny")


def test_it_is_queued_with_what_the_engine_will_read(version: ModelVersion, tmp_path: Path) -> None:
    job = clue_runs.start(version=version, data=tmp_path, actor=None, sets=["MedQA"], limit=5, seed=3)
    assert job.kind == "clue"
    spec = specs.engine_spec(job)
    assert (spec.kind, spec.seed, spec.params.sets, spec.params.limit) == ("clue", 3, ["MedQA"], 5)  # type: ignore[union-attr]


def test_an_unknown_set_or_a_relative_folder_is_refused(version: ModelVersion) -> None:
    with pytest.raises(SpecError, match="sets"):
        clue_runs.start(version=version, data=Path("/data"), actor=None, sets=["MedXYZ"])
    with pytest.raises(SpecError, match="absolute"):
        clue_runs.start(version=version, data=Path("data"), actor=None)
    with pytest.raises(SpecError, match="umls: must be an absolute path"):
        clue_runs.start(version=version, data=Path("/data"), actor=None, umls=Path("MRCONSO.RRF"))


def test_where_an_encoder_lies_decides_nothing_but_that_there_is_one_does() -> None:
    def digest(**params: object) -> str:
        return suiteruns.settings_digest(suite="clue", params=params)

    assert digest(encoder="/here", data="/one") == digest(encoder="/there", data="/two")
    assert len({digest(), digest(encoder="/here"), digest(encoder="/here", encoder_layer=8), digest(umls="/MRCONSO.RRF")}) == 4


def test_what_was_said_outlives_the_attempt_and_staging_it_again_changes_nothing(
    version: ModelVersion, tmp_path: Path, settings: object
) -> None:
    settings.DATA_DIR = tmp_path / "house"  # type: ignore[attr-defined]
    job = clue_runs.start(version=version, data=tmp_path, actor=None)
    output = tmp_path / "output"
    output.mkdir()
    (output / "suite.json").write_text(RESULT.to_json())
    (output / "answers-medqa.jsonl").write_text("{}\n")
    for _ in range(2):
        assert suiteruns.keep(job, output) == RESULT
    assert sorted(path.name for path in suiteruns.folder_of(job).iterdir()) == ["answers-medqa.jsonl", "suite.json"]
    assert (tmp_path / "house/suites").stat().st_mode & 0o077 == 0
    (output / "suite.json").write_text("{}")
    with pytest.raises(EngineFailed):
        suiteruns.keep(job, output)


def test_the_command_lists_every_set_and_says_what_it_lacks(version: ModelVersion, tmp_path: Path) -> None:
    out = StringIO()
    call_command("clue", "--list", stdout=out)
    for said in (
        "MedNLI (credentialed",
        "physionet.org",
        "mcq/medmcqa-dev.jsonl  a2b5f538",
        "4,183 rows",
        "or sdoh/test: the track's own notes",
    ):
        assert said in out.getvalue()
    with pytest.raises(CommandError, match="No model version is called 'none'"):
        call_command("clue", "--model", "none", "--data", str(tmp_path))
    with pytest.raises(CommandError, match="Say --model NAME and --data FOLDER, --write-tasks"):
        call_command("clue", "--data", str(tmp_path))
    with pytest.raises(CommandError, match="is not a folder"):
        call_command("clue", "--model", version.name, "--data", str(tmp_path / "nowhere"))


@pytest.mark.engine
def test_the_command_writes_tasks_for_a_stock_harness_and_says_what_keeps_it_from_it(tmp_path: Path) -> None:
    copies, out = clue_copies.everything(tmp_path / "copies"), StringIO()
    said = ["--write-tasks", str(tmp_path / "tasks"), "--data", str(copies), "--sets", "MedQA", "--mode", "clue_compat"]
    with pytest.raises(CommandError, match=r"medqa-us-4opt-test\.jsonl is not the published file"):
        call_command("clue", *said)
    call_command("clue", *said, "--allow-other-files", stdout=out)
    assert "rounds_clue_medqa" in out.getvalue()
    assert "6 rows" in out.getvalue()
    assert json.loads((tmp_path / "tasks/pack.json").read_text())["mode"] == "clue_compat"
    with pytest.raises(CommandError, match="not empty"):
        call_command("clue", *said, "--allow-other-files")
