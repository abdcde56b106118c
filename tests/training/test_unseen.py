"""Held-out pairs of raters whose votes were not trained on: which they are, and how a model does on them."""

from pathlib import Path

import pytest

from accounts.models import Role, User
from annotation import campaigns, snapshots
from annotation.models import Sample, Snapshot, Split, Verdict
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from training import evaluations, runs, unseen
from training.models import Evaluation, EvaluationPair

pytestmark = pytest.mark.django_db


def frozen(name: str, raters: list[User], *, splits: list[tuple[str, int]]) -> Snapshot:
    """A snapshot of one pair a sample, in the splits asked for in turn, each judged by the next rater."""
    pairs = sum(count for _, count in splits)
    campaign = annotating.campaign(raters, pairs=pairs, name=f"Campaign of {name}")
    samples = list(
        Sample.objects.filter(prompts__pairs__campaign=campaign).order_by("prompts__pairs__position").values_list("pk", flat=True)
    )
    start = 0
    for split, count in splits:
        annotating.rewrite(Sample.objects.filter(pk__in=samples[start : start + count]), split=split)
        start += count
    for number in range(pairs):
        annotating.judge(campaign, raters[number % len(raters)], Verdict.FIRST_MUCH)
    campaigns.close(campaign=campaign, actor=None)
    return snapshots.freeze(campaign=campaign, name=name, actor=None)


@pytest.fixture
def spring() -> Snapshot:
    """What was trained on: by Ann alone; she and Ben judged the held-out part in turns."""
    ann, ben = person("ann", Role.ANNOTATOR), person("ben", Role.ANNOTATOR)
    campaign = annotating.campaign([ann, ben], pairs=30, name="Spring")
    annotating.rewrite(Sample.objects.all(), split=Split.EVALUATION)
    taught = [annotating.judge(campaign, ann).assignment.pair.prompt.sample_id for _ in range(18)]
    annotating.rewrite(Sample.objects.filter(pk__in=taught), split=Split.TRAIN)
    for number in range(12):
        annotating.judge(campaign, (ann, ben)[number % 2])
    campaigns.close(campaign=campaign, actor=None)
    return snapshots.freeze(campaign=campaign, name="spring", actor=None)


@pytest.fixture
def policy(spring: Snapshot, dan: User, tmp_path: Path) -> ModelVersion:
    run = runs.start(snapshot=spring, policy=build.version(tmp_path, "ward-sft"), preset="demo", name="ward-dpo", actor=dan)
    build.finish(run.job)
    run.refresh_from_db()
    assert run.output is not None
    return run.output


def ended(evaluation: Evaluation, right: list[float]) -> Evaluation:
    assert evaluation.snapshot is not None
    held_out = evaluation.snapshot.rows.filter(split=Split.EVALUATION).order_by("position")
    items = [
        {"type": "pair", "id": str(row.pair_id), "margin": value - 0.5, "correct": value}
        for row, value in zip(held_out, right, strict=True)
    ]
    build.finish(evaluation.job, metrics=build.accuracy(0.7, 0.6, 0.8, len(items)), items=items)
    evaluation.refresh_from_db()
    return evaluation


def test_only_pairs_of_raters_who_taught_nothing_are_counted(spring: Snapshot, policy: ModelVersion, dan: User) -> None:
    assert unseen.taught(policy) == {User.objects.get(username="ann").pk}
    of_ben = {
        pair for pair, people in unseen.voters(spring, [row.pair_id for row in spring.rows.all()]).items()
        if people == [User.objects.get(username="ben").pk]
    }  # fmt: skip
    assert len(of_ben) == 6
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan)
    held_out = list(spring.rows.filter(split=Split.EVALUATION).order_by("position").values_list("pair", flat=True))
    # Ben's first four are ordered as he did, and nothing else is.
    bens = [pair for pair in held_out if pair in of_ben]
    ended(found, [1.0 if pair in bens[:4] else 0.0 for pair in held_out])
    told = found.results["unseen"]
    assert (told["n"], told["raters"], told["value"]) == (6, 1, pytest.approx(4 / 6))
    assert set(told["left_out"]) == set(held_out) - of_ben
    # Wilson, 4 of 6: 0.300 to 0.903.
    assert told["low"] <= 0.3001
    assert told["high"] >= 0.9031
    assert EvaluationPair.objects.filter(evaluation=found).count() == 12


def test_another_campaigns_raters_are_strangers_to_it(policy: ModelVersion, dan: User) -> None:
    summer = frozen("summer", [person("cat", Role.ANNOTATOR)], splits=[(Split.EVALUATION, 8)])
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=summer, actor=dan)
    ended(found, [1.0] * 6 + [0.5, 0.0])
    told = found.results["unseen"]
    assert (told["n"], told["raters"], told["left_out"]) == (8, 1, [])
    assert told["value"] == pytest.approx(6.5 / 8)


def test_the_champion_is_held_against_it_on_the_very_same_pairs(spring: Snapshot, policy: ModelVersion, dan: User, tmp_path: Path) -> None:
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan)
    ended(found, [1.0] * 12)
    champion = build.version(tmp_path, "ward-champion")
    other = evaluations.of_champion(evaluation=found, champion=champion, actor=dan)
    assert other.job.spec["inputs"]["prompts"] == []
    assert other.reference == found.reference
    assert unseen.of_same_pairs(other, found.results["unseen"]) is None
    left_out = set(found.results["unseen"]["left_out"])
    held_out = spring.rows.filter(split=Split.EVALUATION).order_by("position").values_list("pair", flat=True)
    ended(other, [1.0 if pair in left_out else 0.5 for pair in held_out])
    assert unseen.of_same_pairs(other, found.results["unseen"]) == 0.5


def test_several_pairs_of_one_prompt_widen_the_interval() -> None:
    right = {pair: float(pair % 10 < 6) for pair in range(100)}
    alone = unseen.share(right, {pair: pair for pair in right})
    together = unseen.share(right, {pair: pair % 10 for pair in right})
    assert alone["value"] == together["value"] == 0.6
    # Wilson, 60 of 100: 0.502 to 0.691, a little wider by Student's t; ten prompts wholly right or wholly wrong count as ten.
    assert alone["low"] == pytest.approx(0.500, abs=1e-3)
    assert together["low"] < 0.32
