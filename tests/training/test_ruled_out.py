"""A snapshot frozen before a lead ruled, a sample went or a flag came trains nothing: it is refused with the count, and frozen anew."""

from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import User
from annotation import adjudications, judgements, snapshots
from annotation.adjudications import Ruling
from annotation.models import Campaign, Dispute, Snapshot, Verdict
from jobs.errors import Unprepared
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from training import runs, specs
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


@pytest.fixture
def harvest(alice: User) -> Campaign:
    """The train split of forty pairs, one of them flagged: the second text is much better, the first could harm."""
    made = annotating.campaign([alice], pairs=40, splits=["train"])
    for number in range(made.pairs.count()):
        held = annotating.lease(made, alice)
        flag = {"harm_first": "major", "harm_first_type": "wrong_dose"} if number == 7 else {}
        judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4(), **flag)
    return made


def rule(**said: bool) -> None:
    dispute = Dispute.objects.get()
    ruling = Ruling("second", "Ten times the dose.", harm_first="major", **said)
    lead = person(f"lead-{uuid4().hex[:6]}", "adjudicator")
    adjudications.rule(dispute=dispute, adjudicator=lead, ruling=ruling, votes_version=dispute.votes_version, key=uuid4())


def start(frozen: Snapshot, policy: ModelVersion) -> Run:
    return runs.start(snapshot=frozen, policy=policy, preset="demo", name="ward-dpo", actor=None)


def test_a_text_ruled_out_since_refuses_the_older_snapshot_and_freezing_anew_helps(harvest: Campaign, sft: ModelVersion) -> None:
    older = snapshots.freeze(campaign=harvest, name="Before", actor=None)
    rule(must_not_train_first=True)
    with pytest.raises(runs.Refused) as refused:
        start(older, sft)
    (stop,) = refused.value.checks
    assert stop.name == "Nothing ruled out since"
    assert stop.detail == "1 of its rows may not be trained on: 1 with a text that a lead has since ruled out of training"
    assert stop.fix == "Freeze anew."
    anew = snapshots.freeze(campaign=harvest, name="After", actor=None)
    assert anew.rows.count() == older.rows.count() - 1
    assert start(anew, sft).snapshot == anew


def test_lifting_it_lets_the_older_snapshot_train_again(harvest: Campaign, sft: ModelVersion) -> None:
    older = snapshots.freeze(campaign=harvest, name="Before", actor=None)
    rule(must_not_train_first=True)
    rule(must_not_train_first=False)
    assert start(older, sft).snapshot == older


def test_the_snapshots_page_says_so_and_offers_no_launch(as_dan: Client, harvest: Campaign) -> None:
    older = snapshots.freeze(campaign=harvest, name="Before", actor=None)
    assert "Launch a run" in as_dan.get(f"/snapshots/{older.public_id}/").content.decode()
    rule(must_not_train_first=True)
    page = as_dan.get(f"/snapshots/{older.public_id}/").content.decode()
    assert "It trains nothing any more:" in page
    assert "1 of its rows" in page
    assert "Freeze anew" in page
    assert "Launch a run" not in page


def test_a_run_that_was_queued_before_the_ruling_trains_nothing(harvest: Campaign, sft: ModelVersion) -> None:
    run = start(snapshots.freeze(campaign=harvest, name="Before", actor=None), sft)
    assert {name for name, _ in specs.inputs(run.job)} == {"train.jsonl", "watch.jsonl"}
    rule(must_not_train_first=True)
    with pytest.raises(Unprepared, match="may not be trained on any more: 1") as refused:
        list(specs.inputs(run.job))
    assert refused.value.code == "ruled_out"
