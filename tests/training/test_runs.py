"""Starting a run, and what its publication leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import AuditEntry, User
from annotation.models import Split
from jobs import claims, kinds, submissions
from jobs.attempts import folder_of
from jobs.errors import EngineFailed
from jobs.models import State
from modelhub.models import LineageEdge, ModelVersion
from tests.training import build
from training import runs, specs
from training.engine import rundir
from training.engine.errors import SpecError
from training.models import MetricPoint, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


def test_how_many_processes_train_a_run_is_settled_when_it_is_started(dan: User, sft: ModelVersion, settings: Any, tmp_path: Path) -> None:
    """A later attempt on a machine set up otherwise must visit the same batches."""
    settings.ROUNDS_ENGINE_PROCESSES = 2
    job = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan).job
    settings.ROUNDS_ENGINE_PROCESSES = 1
    kinds.get("dpo").prepare(job, tmp_path)
    assert rundir.read_spec(tmp_path).processes == 2
    assert kinds.get("dpo").command(job, tmp_path)[1:] == ["-m", "training.engine.ranks", "--processes", "2", str(tmp_path)]


def test_a_dpo_run_becomes_a_version_with_its_lineage(dan: User, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    run = runs.start(snapshot=frozen, policy=sft, preset="demo", name="ward-dpo-1", actor=dan)
    assert run.job.state == State.QUEUED
    assert run.params["beta"] > 0
    build.finish(run.job, metrics={"loss": 0.5})
    run.refresh_from_db()
    made = run.output
    assert made is not None
    assert (made.name, made.kind, made.toy, made.simulated, made.metrics) == ("ward-dpo-1", "dpo", False, False, {"loss": 0.5})
    edges = {(edge.role, edge.parent and edge.parent.name, edge.source_digest) for edge in LineageEdge.objects.filter(child=made)}
    assert edges == {("policy", "ward-sft", ""), ("preferences", None, frozen.digest)}
    assert made.origin == str(run.job.public_id)
    run.job.refresh_from_db()
    assert run.job.result["version"] == str(made.public_id)
    assert AuditEntry.objects.filter(verb="run.started", actor_name="dan").count() == 1


def test_the_adapter_of_a_run_is_kept_beside_its_version(dan: User, sft: ModelVersion) -> None:
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan)
    build.finish(run.job, adapter=True)
    made = ModelVersion.objects.get(name="ward-dpo-1")
    assert made.adapter is not None
    assert [entry["name"] for entry in made.adapter.manifest] == ["adapter_config.json", "adapter_model.safetensors"]
    assert "adapter_config.json" not in [entry["name"] for entry in made.artifact.manifest]
    assert made.parameters == 1


def test_what_the_engine_gets_is_the_train_and_the_validation_split_and_nothing_else(dan: User, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    run = runs.start(snapshot=frozen, policy=sft, preset="demo", name="ward-dpo-1", actor=dan)
    build.finish(run.job)
    folder = folder_of(run.job, 1)
    spec = rundir.read_spec(folder)
    assert spec.kind == "dpo"
    assert Path(spec.models["policy"], "model.safetensors").is_file()
    rows = {name: [json.loads(line) for line in (folder / "inputs" / f"{name}.jsonl").open()] for name in ("train", "validation")}
    assert len(rows["train"]) == frozen.counts["used"][Split.TRAIN]
    assert len(rows["validation"]) == frozen.counts["used"][Split.VALIDATION]
    assert set(rows["train"][0]) == {"id", "prompt", "chosen", "rejected", "p_chosen"}
    held_out = {json.dumps(row["prompt"]) for row in specs.held_out_pairs(frozen, labels="raters")}
    trained = {json.dumps(row["prompt"]) for part in rows.values() for row in part}
    assert held_out
    assert not held_out & trained
    assert not (folder / "inputs" / "evaluation.jsonl").exists()


def test_supervised_tuning_learns_the_chosen_answers_and_stops_by_those_of_the_validation_split(dan: User, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    run = runs.start(snapshot=frozen, policy=sft, preset="sft-clinic", name="ward-sft-2", actor=dan)
    build.finish(run.job)
    inputs = folder_of(run.job, 1) / "inputs"
    rows = {name: [json.loads(line) for line in (inputs / f"{name}.jsonl").open()] for name in ("train", "validation")}
    assert {name: len(found) for name, found in rows.items()} == {name: frozen.counts["used"][name] for name in rows}
    assert set(rows["validation"][0]) == {"prompt", "completion"}
    assert ModelVersion.objects.get(name="ward-sft-2").kind == "sft"


def test_simulated_and_toy_pass_from_snapshot_and_start_model_to_the_new_version(dan: User, tmp_path: Path) -> None:
    toy = build.version(tmp_path, "toy-sft", toy=True)
    frozen = build.snapshot(simulated=True)
    run = runs.start(snapshot=frozen, policy=toy, preset="demo", name="toy-dpo-1", actor=dan)
    build.finish(run.job)
    made = ModelVersion.objects.get(name="toy-dpo-1")
    assert (made.toy, made.simulated) == (True, True)


def test_simulated_judgements_never_train_a_model_that_is_no_toy(dan: User, sft: ModelVersion) -> None:
    with pytest.raises(runs.Refused, match="Simulated judgements may only train toy models"):
        runs.start(snapshot=build.snapshot(simulated=True), policy=sft, preset="demo", name="no", actor=dan)
    assert not Run.objects.exists()


def test_too_few_pairs_are_refused_and_nothing_is_queued(dan: User, sft: ModelVersion) -> None:
    with pytest.raises(runs.Refused, match="at least 16"):
        runs.start(snapshot=build.snapshot(pairs=10), policy=sft, preset="demo", name="small", actor=dan)
    assert not Run.objects.exists()


def test_a_model_without_a_chat_template_is_refused(dan: User, tmp_path: Path) -> None:
    bare = build.version(tmp_path, "bare", template="")
    with pytest.raises(runs.Refused, match="Chat template"):
        runs.start(snapshot=build.snapshot(), policy=bare, preset="demo", name="x", actor=dan)


def test_a_name_is_used_once(dan: User, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    runs.start(snapshot=frozen, policy=sft, preset="demo", name="twice", actor=dan)
    with pytest.raises(runs.Refused, match="Name"):
        runs.start(snapshot=frozen, policy=sft, preset="demo", name="twice", actor=dan)
    assert Run.objects.count() == 1


def test_a_wrong_setting_is_named(dan: User, sft: ModelVersion) -> None:
    with pytest.raises(SpecError, match="beta"):
        runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="x", actor=dan, changes={"beta": -1.0})


def test_changed_settings_reach_the_engine(dan: User, sft: ModelVersion) -> None:
    changes = {"beta": 0.4, "learning_rate": 3e-4, "epochs": 2.0, "lora_r": 4}
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="x", actor=dan, changes=changes, seed=5)
    params = run.job.spec["params"]
    assert (params["beta"], params["learning_rate"], params["epochs"], params["lora"]["r"], run.job.spec["seed"]) == (0.4, 3e-4, 2.0, 4, 5)
    assert specs.engine_spec(run.job).seed == 5


def test_the_shuffled_control_turns_half_of_the_labels_of_each_difference_and_always_the_same_ones() -> None:
    rows = [{"prompt": [], "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(400)]
    # 300 pairs differ in politeness, 100 in correctness; every tenth label is a slip, that is, against the truth.
    keys = [specs.Key(("polite",) if n < 300 else ("right",), against=n % 10 == 0) for n in range(400)]
    once, again = (specs.shuffled(rows, keys=keys, seed=3) for _ in range(2))
    assert once == again
    assert once != specs.shuffled(rows, keys=keys, seed=4)
    # How many now stand with the truth: exactly half, whatever the raters said.
    towards = [row["chosen"].startswith("c") != key.against for row, key in zip(once, keys, strict=True)]
    assert (sum(towards[:300]), sum(towards[300:])) == (150, 50)
    assert {frozenset((row["chosen"], row["rejected"])) for row in once} == {frozenset((f"c{n}", f"r{n}")) for n in range(400)}


def test_the_control_of_a_toy_snapshot_leans_neither_way_in_what_raters_look_at(dan: User, tmp_path: Path) -> None:
    toy = build.version(tmp_path, "toy-sft", toy=True)
    frozen = build.snapshot(simulated=True)
    run = runs.start(snapshot=frozen, policy=toy, preset="demo", name="control", actor=dan, shuffled=True)
    files = dict(specs.inputs(run.job))
    plain = dict(specs.inputs(runs.start(snapshot=frozen, policy=toy, preset="demo", name="signal", actor=dan).job))
    turned = sum(a["chosen"] != b["chosen"] for a, b in zip(files["train.jsonl"], plain["train.jsonl"], strict=True))
    assert abs(2 * turned - len(list(files["train.jsonl"]))) <= len(list(files["train.jsonl"])) // 3
    assert turned


def test_a_model_the_store_refuses_fails_the_job_and_leaves_no_version(dan: User, sft: ModelVersion) -> None:
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="x", actor=dan)
    from jobs import kinds

    claim = build.claimed(run.job)
    folder = build.model_folder(folder_of(run.job, claim.number) / "output")
    (folder / "optimizer.bin").write_bytes(b"pickled")
    with pytest.raises(EngineFailed):
        kinds.get("dpo").stage(run.job, {"output": "output"}, folder.parent)
    assert not ModelVersion.objects.filter(name="x").exists()


def test_an_output_name_that_leads_out_of_the_folder_is_refused(dan: User, sft: ModelVersion) -> None:
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="x", actor=dan)
    from jobs import kinds

    with pytest.raises(EngineFailed):
        kinds.get("dpo").stage(run.job, {"output": "../../secrets"}, Path("/nowhere"))


def test_a_run_that_failed_goes_on_under_the_job_that_repeats_it(dan: User, sft: ModelVersion) -> None:
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan)
    failed = run.job
    held = claims.claim(job_id=failed.pk, worker="w")
    assert held is not None
    MetricPoint.objects.create(run=run, step=7, name="loss", value=0.9)
    claims.fail(held, code="bad_input", detail="x")
    repeated = submissions.again(job=failed, actor=dan)
    run.refresh_from_db()
    assert (run.job, run.points.count(), repeated.spec) == (repeated, 0, failed.spec)
    build.finish(repeated, metrics={"loss": 0.5})
    run.refresh_from_db()
    assert run.output is not None
    assert (run.output.name, run.output.origin) == ("ward-dpo-1", str(repeated.public_id))
