"""The page of a lineage: the drawing, its table, what is chosen, unfolded and hidden."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Sample
from tests.training import build
from training import evaluations, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    """A file of 32 samples, two systems' texts, one rater, a snapshot, a run from an SFT model to a DPO one, its evaluation."""
    return build_world(dan, tmp_path)


def build_world(dan: User, tmp_path: Path) -> dict[str, Any]:
    build.everything_runs()
    sft = build.version(tmp_path, "toy-sft", toy=True)
    snapshot = build.snapshot(simulated=True)
    run = runs.start(snapshot=snapshot, policy=sft, preset="demo", name="toy-dpo-1", actor=dan)
    build.finish(run.job, number=7.0)
    run.refresh_from_db()
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=sft, snapshot=snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, low=0.6, high=0.8, n=240)
    train = Sample.objects.filter(split="train", prompts__pairs__campaign=snapshot.campaign).order_by("pk").first()
    return {
        "train_sample": train.pk if train else 0, "sft": sft, "snapshot": snapshot, "run": run, "dpo": run.output,
        "evaluation": evaluation,
    }  # fmt: skip


def url(kind: str, key: object, rest: str = "") -> str:
    return f"/lineage/{kind}/{key}/{rest}"


def test_a_model_shows_all_that_fed_it_in_counts(world: dict[str, Any], as_dan: Client) -> None:
    page = as_dan.get(url("model", world["dpo"].public_id)).content.decode()
    rows = world["snapshot"].rows.exclude(split="evaluation").count()
    assert f"{rows} samples" in page
    assert f"{2 * rows} completions" in page
    assert "by 1 rater" in page
    assert "style=" not in page
