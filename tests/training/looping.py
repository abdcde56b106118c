"""Worlds for the unattended loop: a campaign that is judged, its policy, and rounds carried on without an engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from accounts.models import Role, User
from annotation import campaigns
from annotation.models import Campaign, GenerationBatch, Sample, Split, Verdict
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.database import standing
from tests.training import build
from training import loop_policies, loop_rounds
from training.models import LoopPolicy, LoopRound, SuiteRun

PAIRS, TRAIN = 24, 18


@dataclass(frozen=True)
class World:
    """A judged campaign, with 18 pairs to train on and 6 held out, and the model that its policy starts from."""

    campaign: Campaign
    start: ModelVersion
    data: Path


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Judged once for the tests of a module; what a test adds is undone."""
    data = tmp_path_factory.mktemp("data")
    with override_settings(DATA_DIR=data), standing(django_db_blocker):
        yield World(judged(), build.version(data / "made", "ward-sft"), data)


def judged(
    *, name: str = "Letters", batches: list[GenerationBatch] | None = None, pairs: int = PAIRS, raters: Sequence[str] = ("rater",),
    follows: Campaign | None = None, answered: int | None = None, train: int = TRAIN,
) -> Campaign:  # fmt: skip
    """An open campaign whose every pair the raters judged, or the first `answered` of them; the first of each pair won, now and then.
    `train` of its samples may be trained on. `follows`: it was derived from that."""
    asked = [User.objects.filter(username=name).first() or person(name, Role.ANNOTATOR) for name in raters]
    if batches is None:
        batches = annotating.stored_batches(pairs, ("north", "south"))
        asked_about = sorted(set(Sample.objects.filter(prompts__completions__batch__in=batches).values_list("pk", flat=True)))
        annotating.rewrite(Sample.objects.filter(pk__in=asked_about[:train]), split=Split.TRAIN)
        annotating.rewrite(Sample.objects.filter(pk__in=asked_about[train:]), split=Split.EVALUATION)
    made = campaigns.create(
        name=name, guideline=annotating.GUIDELINE, batches=batches, overlap=len(asked), members=asked, actor=None, seed=7
    )  # fmt: skip
    Campaign.objects.filter(pk=made.pk).update(predecessor=follows)
    campaigns.open(campaign=made, actor=None)
    for rater in asked * (pairs if answered is None else answered):
        held = annotating.lease(made, rater)
        annotating.submitted(held, Verdict.FIRST_MUCH if held.pair.position % 3 else Verdict.SECOND_SLIGHTLY)
    made.refresh_from_db()
    return made


def policy(campaign: Campaign, **changes: Any) -> LoopPolicy:
    """On, from sixteen new pairs on, starting from ward-sft."""
    asked = {
        "active": True,
        "pairs_needed": 16,
        "policy": ModelVersion.objects.get(name="ward-sft"),
        "preset": "demo",
        "seed": 3,
        "actor": None,
    }
    return loop_policies.put(campaign=campaign, **(asked | changes))


def proposed(loop: LoopPolicy) -> LoopRound:
    """A round from its beginning to its proposal, every job carried through as the runner does."""
    loop_rounds.look()
    one = LoopRound.objects.get(loop=loop, state="working")
    return carried_on(one)


def carried_on(one: LoopRound) -> LoopRound:
    """From the launched run to the proposal."""
    assert one.run is not None
    build.finish(one.run.job, number=77.0 + LoopRound.objects.filter(loop__campaign=one.loop.campaign.predecessor).count())
    one = loop_rounds.step(one=one)
    assert one.evaluation is not None
    assert one.anchor is not None
    for found in dict.fromkeys((one.evaluation, one.anchor)):
        build.finish_evaluation(found, value=0.7, low=0.6, high=0.8, n=240)
    for made in SuiteRun.objects.filter(finished_at=None).select_related("job"):
        build.finish_suite(made)
    return loop_rounds.step(one=one)
