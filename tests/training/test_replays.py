"""A run done once more: the same spec and seed, no second model, and what is said of whether the two agree."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from jobs import claims, submissions
from modelhub.models import ModelVersion
from tests.training import build
from training import replays, runs, specs
from training.models import Run
from training.replays import ReplayRefused

pytestmark = pytest.mark.django_db
TOLD = {"loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.7, "steps": 12, "reference_reused": 0}


@pytest.fixture
def run(dan: User, tmp_path: Path) -> Run:
    made = runs.start(
        snapshot=build.snapshot(), policy=build.version(tmp_path, "ward-sft"), preset="demo", name="ward-dpo", actor=dan, seed=5
    )
    build.finish(made.job, metrics=TOLD, number=9.0)
    made.refresh_from_db()
    return made


def test_the_engine_is_asked_the_very_same(run: Run, dan: User) -> None:
    again = replays.start(run=run, actor=dan)
    one, other = specs.engine_spec(run.job), specs.engine_spec(again.job)
    assert (one.kind, one.seed, one.params, one.models) == (other.kind, other.seed, other.params, other.models)
    assert dict(specs.inputs(run.job)).keys() == dict(specs.inputs(again.job)).keys()
    assert again.job.spec["replay"] == {"of": str(run.job.public_id), "tolerance": {"relative": 0.002, "absolute": 0.01}}
    assert AuditEntry.objects.filter(verb="run.replayed").count() == 1


def test_one_replay_at_a_time(run: Run, dan: User) -> None:
    again = replays.start(run=run, actor=dan)
    assert replays.start(run=run, actor=dan) == again
    build.finish(again.job, metrics=TOLD)
    assert replays.start(run=run, actor=dan).name == "ward-dpo-replay-2"


def test_it_makes_no_model_and_stands_in_no_list(run: Run, dan: User, as_dan: Client) -> None:
    before = set(ModelVersion.objects.values_list("name", flat=True))
    again = replays.start(run=run, actor=dan)
    build.finish(again.job, metrics=TOLD)
    again.refresh_from_db()
    assert again.output is None
    assert set(ModelVersion.objects.values_list("name", flat=True)) == before
    assert list(Run.objects.for_list()) == [run]
    assert "ward-dpo-replay" not in as_dan.get("/runs/").text
    assert "ward-dpo-replay" not in as_dan.get("/").text
    page = as_dan.get(f"/runs/{again.pk}/").text
    assert "a replay of" in page
    assert "the same weights, to the last bit" in page
    assert "ward-dpo-replay-1" in as_dan.get(f"/runs/{run.pk}/").text


def test_the_same_files_are_the_same_model(run: Run, dan: User) -> None:
    assert replays.agreement(run) is None
    again = replays.start(run=run, actor=dan)
    assert replays.agreement(run).state == "under way"  # type: ignore[union-attr]
    build.finish(again.job, metrics=TOLD | {"reference_reused": 22}, number=9.0)
    found = replays.agreement(run)
    assert found is not None
    assert (found.state, found.holds, found.replay) == ("same", True, again)


@pytest.mark.parametrize(
    ("metrics", "state"),
    [
        # Two thousandths of a loss of 0.5 are 0.001; of shares 0.01 is allowed.
        ({"loss": 0.5009, "validation_accuracy": 0.7099}, "within tolerance"),
        ({"loss": 0.4991, "validation_accuracy": 0.6901}, "within tolerance"),
        ({"loss": 0.5011}, "differs"),
        ({"validation_accuracy": 0.7101}, "differs"),
    ],
)  # fmt: skip
def test_other_files_hold_while_their_figures_do(run: Run, dan: User, metrics: dict[str, float], state: str) -> None:
    again = replays.start(run=run, actor=dan)
    build.finish(again.job, metrics=TOLD | metrics, number=10.0)
    found = replays.agreement(run)
    assert found is not None
    assert (found.state, found.holds) == (state, state != "differs")


def test_a_figure_that_is_missing_holds_never(run: Run, dan: User) -> None:
    again = replays.start(run=run, actor=dan)
    build.finish(again.job, metrics={"loss": 0.5}, number=10.0)
    found = replays.agreement(run)
    assert found is not None
    assert found.state == "differs"
    assert {figure.name for figure in found.figures if not figure.holds} == {"validation_loss", "validation_accuracy"}


def test_a_replay_that_failed_says_nothing_and_can_be_asked_for_again(run: Run, dan: User) -> None:
    again = replays.start(run=run, actor=dan)
    claims.fail(build.claimed(again.job), code="out_of_memory", detail="")
    found = replays.agreement(run)
    assert found is not None
    assert (found.state, found.holds) == ("failed", False)
    assert replays.start(run=run, actor=dan) != again


def test_what_cannot_be_done_again_is_refused(run: Run, dan: User, tmp_path: Path) -> None:
    again = replays.start(run=run, actor=dan)
    with pytest.raises(ReplayRefused, match="is a replay itself"):
        replays.start(run=again, actor=dan)
    waiting = runs.start(snapshot=run.snapshot, policy=run.policy, preset="demo", name="other-dpo", actor=dan)  # type: ignore[arg-type]
    with pytest.raises(ReplayRefused, match="made no model"):
        replays.start(run=waiting, actor=dan)
    type(run.job).objects.filter(pk=run.job.pk).update(stop_requested_at=run.created_at)
    with pytest.raises(ReplayRefused, match="stopped by hand"):
        replays.start(run=run, actor=dan)


def test_the_button_starts_it_and_those_who_judge_have_none(run: Run, as_dan: Client, as_alice: Client) -> None:
    assert as_alice.post(f"/runs/{run.pk}/replay/").status_code == 403
    page = as_dan.post(f"/runs/{run.pk}/replay/", follow=True)
    assert "ward-dpo is done once more." in page.text
    assert Run.objects.get(replays=run).job.kind == "dpo"
    assert submissions.digest_of(run.job.spec) == run.job.spec_digest
