"""Launching a run: four fields, a preflight that is red or green, one click."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation import campaigns
from annotation.models import Campaign, CampaignState, Snapshot
from modelhub.models import ModelVersion
from tests.training import build
from training import families, footprints, preflight, runs, specs
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


@pytest.fixture
def engine_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "engine_missing", list)


def fields(frozen: Snapshot, policy: ModelVersion, **changes: Any) -> dict[str, Any]:
    return {"snapshot": frozen.public_id, "policy": policy.public_id, "preset": "demo", "name": "ward-dpo-1", **changes}


def states(page: Any) -> dict[str, str]:
    return {check.name: check.state for check in page.context["checks"]}


@pytest.mark.usefixtures("engine_is_there")
def test_one_click_after_a_green_preflight(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    frozen = build.snapshot()
    page = as_dan.get("/runs/new/")
    assert page.context["clear"]
    assert "stop" not in states(page).values()
    suggested = {name: page.context["form"].initial[name] for name in ("snapshot", "policy", "preset", "name")}
    assert suggested == {"snapshot": frozen.public_id, "policy": sft.public_id, "preset": "clinic", "name": "ward-dpo-1"}
    sent = as_dan.post("/runs/new/", suggested)
    run = Run.objects.get()
    assert sent.headers["Location"] == f"/runs/{run.pk}/"
    assert (run.name, run.policy, run.snapshot, run.job.requested_by and run.job.requested_by.username) == (
        "ward-dpo-1",
        sft,
        frozen,
        "dan",
    )


@pytest.mark.usefixtures("engine_is_there")
def test_without_a_worker_it_is_red_and_says_how_to_start_one(as_dan: Client, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    page = as_dan.post("/runs/new/", fields(frozen, sft))
    assert page.status_code == 422
    assert states(page)["Worker"] == "stop"
    assert "make run" in page.text
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_too_few_pairs_are_red_and_say_how_many_are_needed(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    page = as_dan.post("/runs/new/", fields(build.snapshot(pairs=10), sft))
    assert states(page)["Training pairs"] == "stop"
    assert "Collect at least 16" in page.text
    assert not Run.objects.exists()


def test_a_missing_engine_is_red(as_dan: Client, sft: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    build.everything_runs()
    monkeypatch.setattr(preflight, "engine_missing", lambda: ["torch", "trl"])
    page = as_dan.post("/runs/new/", fields(build.snapshot(), sft))
    assert states(page)["Engine"] == "stop"
    assert "not installed: torch, trl" in page.text
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_pairs_longer_than_the_model_are_red_before_anything_is_trained(as_dan: Client, tmp_path: Path) -> None:
    build.everything_runs()
    short = build.version(tmp_path, "short-sft", positions=20)
    page = as_dan.post("/runs/new/", fields(build.snapshot(), short))
    assert states(page)["Length"] == "stop"
    assert "the limit is 20" in page.text
    assert "(100.0 %) are too long" in page.text
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_a_model_whose_files_are_gone_is_red(as_dan: Client, sft: ModelVersion, settings: Any) -> None:
    build.everything_runs()
    frozen = build.snapshot()
    shutil.rmtree(Path(settings.DATA_DIR) / "artifacts")
    page = as_dan.get("/runs/new/", fields(frozen, sft))
    assert states(page)["Model files"] == "stop"
    assert page.context["estimate"] is None


@pytest.mark.usefixtures("engine_is_there")
def test_a_full_disk_is_red(as_dan: Client, sft: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    build.everything_runs()
    monkeypatch.setattr(preflight, "DISK_AIR", 2**62)
    page = as_dan.post("/runs/new/", fields(build.snapshot(), sft))
    assert states(page)["Disk"] == "stop"
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_a_run_that_does_not_fit_the_memory_is_red_and_says_what_would(as_dan: Client, sft: ModelVersion, settings: Any) -> None:
    build.everything_runs()
    frozen = build.snapshot()
    settings.ROUNDS_GPU_MEMORY_GB = 0.5
    page = as_dan.post("/runs/new/", fields(frozen, sft))
    assert states(page)["Memory"] == "stop"
    assert "of 0.5 GB of GPU memory" in page.text
    assert "Take a smaller batch" in page.text
    assert not Run.objects.exists()
    settings.ROUNDS_GPU_MEMORY_GB = 0.9
    assert states(as_dan.get("/runs/new/", fields(frozen, sft)))["Memory"] == "warn"
    settings.ROUNDS_GPU_MEMORY_GB = 24
    assert states(as_dan.get("/runs/new/", fields(frozen, sft)))["Memory"] == "ok"


@pytest.mark.usefixtures("engine_is_there")
def test_a_model_of_3_8_billion_passes_the_preflight_of_a_machine_with_a_gpu_and_not_of_one_without(
    as_dan: Client, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its configuration alone: there is neither a weight of it here nor a GPU."""
    build.everything_runs()
    large = build.version(tmp_path, "phi-sft", config=build.PHI_35_MINI, positions=131072)
    wanted = fields(build.snapshot(), large, preset="clinic")
    monkeypatch.setattr(footprints, "ram", lambda: int(8e9))
    assert states(as_dan.get("/runs/new/", wanted))["Memory"] == "stop"
    settings.ROUNDS_GPU_MEMORY_GB = 24
    monkeypatch.setattr(footprints, "ram", lambda: int(64e9))
    page = as_dan.get("/runs/new/", wanted)
    assert page.context["clear"]
    assert "about 8.8 GB of 24.0 GB of GPU memory, about 23.8 GB of 64.0 GB of RAM" in page.text


@pytest.mark.usefixtures("engine_is_there")
def test_what_a_run_writes_counts_and_not_only_its_start_model(as_dan: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the start model is a few bytes and calls itself 3.8 billion parameters: the finished one alone takes 15.3 GB in float32."""
    build.everything_runs()
    large = build.version(tmp_path, "phi-sft", config=build.PHI_35_MINI, positions=131072)
    monkeypatch.setattr(preflight.volumes.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(15e9)))
    page = as_dan.get("/runs/new/", fields(build.snapshot(), large, preset="clinic"))
    assert states(page)["Disk"] == "stop"
    assert "15.0 GB free, 16.8 GB needed" in page.text


@pytest.mark.usefixtures("engine_is_there")
def test_an_architecture_nobody_has_formulas_for_is_warned_about(as_dan: Client, tmp_path: Path) -> None:
    build.everything_runs()
    other = build.version(tmp_path, "gpt-sft", config={"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    page = as_dan.get("/runs/new/", fields(build.snapshot(), other))
    assert states(page)["Memory"] == "warn"
    assert "not estimated" in page.text


@pytest.mark.usefixtures("engine_is_there")
def test_a_second_run_of_the_same_is_warned_about_and_allowed(as_dan: Client, dan: User, sft: ModelVersion) -> None:
    build.everything_runs()
    frozen = build.snapshot()
    runs.start(snapshot=frozen, policy=sft, preset="demo", name="ward-dpo-1", actor=dan)
    page = as_dan.get(f"/runs/new/?snapshot={frozen.public_id}")
    assert states(page)["Not run before"] == "warn"
    assert page.context["clear"]
    assert "ward-dpo-1 started from the same model and snapshot" in page.text
    as_dan.post("/runs/new/", fields(frozen, sft, name="ward-dpo-2", seed=2))
    assert Run.objects.count() == 2


@pytest.mark.usefixtures("engine_is_there")
def test_a_name_that_is_taken_is_red(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    page = as_dan.post("/runs/new/", fields(build.snapshot(), sft, name="ward-sft"))
    assert states(page)["Name"] == "stop"
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_a_wrong_number_is_said_at_its_field_and_the_form_is_kept(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    page = as_dan.post("/runs/new/", fields(build.snapshot(), sft, beta="-1", name="kept-name"))
    assert page.status_code == 422
    assert page.context["form"].errors["beta"]
    assert "kept-name" in page.text
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_advanced_settings_change_the_recipe_and_nothing_else(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    as_dan.post("/runs/new/", fields(build.snapshot(), sft, beta="0.7", lora_r="4", seed="11"))
    params = Run.objects.get().params
    assert (params["beta"], params["lora"]["r"], params["lora"]["alpha"]) == (0.7, 4, 8)
    assert params["learning_rate"] == 5e-4
    assert Run.objects.get().seed == 11


def test_the_preflight_follows_the_fields_without_a_page(as_dan: Client, sft: ModelVersion) -> None:
    part = as_dan.get("/runs/new/", fields(build.snapshot(), sft), headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="preflight"' in part
    assert "Expect about" in part


def test_another_recipe_brings_its_settings_and_another_name_does_not(as_dan: Client, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    same = as_dan.get("/runs/new/", fields(frozen, sft, drawn="demo", name="other"), headers={"HX-Request": "true"}).text
    other = as_dan.get("/runs/new/", fields(frozen, sft, drawn="demo", preset="clinic"), headers={"HX-Request": "true"}).text
    assert 'id="settings"' not in same
    assert 'id="settings" hx-swap-oob' in other
    assert "as in the recipe: 1e-05" in other


@pytest.mark.usefixtures("engine_is_there")
def test_every_setting_says_what_it_is_for_and_what_an_empty_field_stands_for(as_dan: Client, sft: ModelVersion) -> None:
    build.snapshot()
    form = as_dan.get("/runs/new/").context["form"]
    fields_of_dpo = [field.name for field in form.advanced()]
    assert {"beta", "learning_rate", "epochs", "lora_r", "nll_weight", "batch_size", "gradient_accumulation", "seed"} <= set(fields_of_dpo)
    assert all(form.fields[name].help_text for name in form.fields if name not in ("cloned_from", "drawn"))
    assert form.fields["beta"].widget.attrs["placeholder"] == "as in the recipe: 0.1"


@pytest.mark.usefixtures("engine_is_there")
def test_also_half_queues_a_second_run_on_half_of_the_prompts(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    as_dan.post("/runs/new/", fields(build.snapshot(), sft, also_half="on"))
    whole, half = Run.objects.order_by("pk")
    assert (whole.name, half.name, half.half_of) == ("ward-dpo-1", "ward-dpo-1-half", whole)
    assert whole.params == half.params
    pairs, halved = (dict(specs.inputs(run.job))["train.jsonl"] for run in (whole, half))
    assert len(list(halved)) == (len(list(pairs)) + 1) // 2
    assert all(row in list(pairs) for row in halved)


@pytest.mark.usefixtures("engine_is_there")
def test_half_is_refused_whole_when_its_name_is_taken(as_dan: Client, sft: ModelVersion, tmp_path: Path) -> None:
    build.everything_runs()
    build.version(tmp_path, "ward-dpo-1-half")
    page = as_dan.post("/runs/new/", fields(build.snapshot(), sft, also_half="on"))
    assert page.status_code == 422
    assert "ward-dpo-1-half" in page.text or "Choose another name" in page.text
    assert not Run.objects.exists()


@pytest.mark.usefixtures("engine_is_there")
def test_a_clone_comes_filled_in_as_its_run_was_under_a_free_name(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    as_dan.post("/runs/new/", fields(build.snapshot(), sft, beta="0.7", lora_r="4", seed="11"))
    run = Run.objects.get()
    page = as_dan.get(f"/runs/new/?from={run.pk}")
    form = page.context["form"]
    wanted = {"preset": "demo", "beta": 0.7, "lora_r": 4, "seed": 11, "name": "ward-dpo-2", "cloned_from": run.pk}
    assert {name: form.initial[name] for name in wanted} == wanted
    assert form.initial.get("learning_rate") is None
    assert form.unfolded()
    sent = {name: value for name, value in form.initial.items() if value is not None}
    as_dan.post("/runs/new/", sent | {"beta": "0.3"})
    clone = Run.objects.get(name="ward-dpo-2")
    assert (clone.cloned_from, clone.seed) == (run, 11)
    assert clone.params == run.params | {"beta": 0.3}


def test_a_run_that_is_not_there_cannot_be_cloned(as_dan: Client, dan: User) -> None:
    families.start(preset="test", actor=dan)
    without_snapshot = Run.objects.first()
    assert without_snapshot is not None
    for named in (str(without_snapshot.pk), "99999", "nonsense", "9" * 40):
        assert as_dan.get(f"/runs/new/?from={named}").status_code == 404


@pytest.mark.usefixtures("engine_is_there")
def test_texts_longer_where_they_are_chosen_are_warned_about(as_dan: Client, sft: ModelVersion) -> None:
    build.everything_runs()
    checks = {check.name: check for check in as_dan.get("/runs/new/", fields(build.snapshot(), sft)).context["checks"]}
    assert "the chosen answer is the longer one in" in checks["Length and preference"].detail
    assert "on average" in checks["Soft targets"].detail


@pytest.mark.parametrize(
    ("preset", "kind", "file", "reference"), [("kto_demo", "kto", "kto.jsonl", True), ("sft-clinic", "sft", "train.jsonl", False)]
)
@pytest.mark.usefixtures("engine_is_there")
def test_other_kinds_learn_from_a_snapshot_too_whole_and_half(
    as_dan: Client, sft: ModelVersion, preset: str, kind: str, file: str, reference: bool
) -> None:
    build.everything_runs()
    frozen = build.snapshot()
    page = as_dan.get("/runs/new/", fields(frozen, sft, preset=preset))
    assert "targets" not in {field.name for field in page.context["form"].advanced()}
    sent = as_dan.post("/runs/new/", fields(frozen, sft, preset=preset, also_half="on"))
    assert sent.status_code == 302, sent.context["form"].errors
    whole, half = Run.objects.order_by("pk")
    assert (whole.job.kind, half.job.kind, whole.reference == sft) == (kind, kind, reference)
    rows, halved = (list(dict(specs.inputs(run.job))[file]) for run in (whole, half))
    assert 0 < len(halved) < len(rows)


def test_without_a_snapshot_it_says_where_one_comes_from(as_dan: Client) -> None:
    page = as_dan.get("/runs/new/").text
    assert "No snapshot is frozen yet" in page
    assert "/campaigns/" in page


def test_without_a_model_it_says_what_it_waits_for(as_dan: Client) -> None:
    build.snapshot(pairs=5)
    assert "There is no model to start from yet" in as_dan.get("/runs/new/").text


def test_a_snapshot_that_is_not_there_is_not_found(as_dan: Client) -> None:
    assert as_dan.get("/runs/new/?snapshot=7d1f3a52-0000-4000-8000-000000000000").status_code == 404
    assert as_dan.get("/runs/new/?snapshot=nonsense").status_code == 404


@pytest.mark.parametrize("who", ["alice", "carol", "sam", "eve"])
def test_only_trainers_launch(request: pytest.FixtureRequest, who: str) -> None:
    client = request.getfixturevalue(f"as_{who}")
    assert client.get("/runs/new/").status_code == 403
    assert client.post("/runs/new/", {}).status_code == 403


def test_a_trainer_who_judges_in_an_open_campaign_is_not_offered_its_snapshot(dan: User, as_dan: Client, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    Campaign.objects.filter(pk=frozen.campaign_id).update(state=CampaignState.OPEN)
    campaigns.add_members(campaign=Campaign.objects.get(pk=frozen.campaign_id), members=[dan], actor=None)
    assert as_dan.get("/runs/new/", {"snapshot": str(frozen.public_id)}).status_code == 404
    assert frozen.name not in as_dan.get("/runs/new/").content.decode()
