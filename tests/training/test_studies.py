"""Blinded studies: both models answer the same held-out prompts, clinicians decide, the campaign ends by itself; the protocol is locked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from accounts.models import Role, User
from annotation import campaigns, judgements, snapshots
from annotation.models import CampaignState, GenerationBatch, Judgement, Sample, Split, Verdict
from annotation.records import digest_of
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from training import evaluations, generations, studies
from training.evidence import verdict as evidence
from training.models import Evaluation, Study
from training.studies import StudyRefused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same test with smaller numbers: twelve judgements at least, thirty at most."""
    monkeypatch.setattr(evidence, "FEWEST", 12)
    monkeypatch.setattr(evidence, "MOST", 30)
    short = evidence.follow
    monkeypatch.setattr(evidence, "follow", lambda outcomes, **said: short(outcomes, **{"most": 30, "fewest": 12} | said))


@pytest.fixture
def raters() -> list[User]:
    return [person(f"rater-{number}", Role.ANNOTATOR) for number in range(3)]


@pytest.fixture
def evaluation(tmp_path: Path, raters: list[User], dan: User) -> Evaluation:
    source = annotating.campaign(raters, pairs=40, name="Letters")
    annotating.rewrite(Sample.objects.all(), split=Split.EVALUATION)
    annotating.rewrite(Sample.objects.filter(pk__in=Sample.objects.order_by("pk")[:4].values("pk")), split=Split.TRAIN)
    for number in range(40):
        annotating.judge(source, raters[number % 3])
    campaigns.close(campaign=source, actor=None)
    frozen = snapshots.freeze(campaign=source, name="spring", actor=None)
    sft, dpo = build.version(tmp_path, "ward-sft"), build.version(tmp_path, "ward-dpo", "dpo")
    found = evaluations.start(policy=dpo, reference=sft, snapshot=frozen, actor=dan)
    return build.finish_evaluation(found, value=0.62, low=0.55, high=0.69, n=200)


def answer(batch: GenerationBatch, told: str) -> None:
    job = generations.job_of(batch)
    assert job is not None
    items = [
        {"id": str(prompt), "text": told.format(prompt), "finish_reason": "stop", "tokens": 9, "n": 0}
        for prompt in job.spec["inputs"]["prompts"]
    ]
    build.finish(job, items=items)


@pytest.fixture
def study(evaluation: Evaluation, dan: User, django_capture_on_commit_callbacks: Callable[..., Any]) -> Study:
    made = studies.start(evaluation=evaluation, actor=dan, seed=3)
    with django_capture_on_commit_callbacks(execute=True):
        answer(made.champion_texts, "Old answer to {}.")
        answer(made.challenger_texts, "New and somewhat longer answer to {}.")
    made.refresh_from_db()
    return made


def vote(study: Study, rater: User, *, challenger: bool, **said: Any) -> Judgement:
    assert study.campaign is not None
    held = annotating.lease(study.campaign, rater)
    ours = held.pair.first.batch_id == study.challenger_texts_id
    verdict = Verdict.FIRST_MUCH if ours == challenger else Verdict.SECOND_SLIGHTLY
    return judgements.submit(assignment=held, verdict=verdict, key=uuid4(), **said)


def test_it_draws_held_out_prompts_only_and_asks_both_models_the_same_way(study: Study) -> None:
    assert study.state == "running"
    assert study.campaign is not None
    assert (study.campaign.purpose, study.campaign.state, study.campaign.overlap) == ("study", "open", 1)
    assert study.campaign.pairs.count() == 30
    assert set(study.campaign.pairs.values_list("prompt__sample__split", flat=True)) == {Split.EVALUATION}
    one, other = study.champion_texts, study.challenger_texts
    assert (one.decoding, one.seed) == (other.decoding, other.seed)
    assert "ward" not in study.campaign.name + study.campaign.guideline


def test_its_protocol_is_locked_before_the_first_vote(study: Study) -> None:
    told = studies.protocol(study)
    digest = told.pop("digest")
    assert digest_of(told) == digest == study.protocol_digest
    assert told["campaign"]["protocol_digest"] == study.campaign.protocol_digest  # type: ignore[union-attr]
    changes: tuple[dict[str, Any], ...] = ({"protocol": {}}, {"seed": 4}, {"protocol_digest": "0" * 64})
    for change in changes:
        with pytest.raises(DatabaseError, match="keeps its protocol"), transaction.atomic():
            Study.objects.filter(pk=study.pk).update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        study.delete()


def test_raw_votes_say_who_was_favoured_and_name_nobody(study: Study, raters: list[User]) -> None:
    vote(study, raters[0], challenger=True)
    vote(study, raters[1], challenger=False, harm_first="major", harm_first_type="omission")
    votes = list(studies.raw_votes(study))
    assert [(one["number"], one["in_favour"]) for one in votes] == [(1, "challenger"), (2, "champion")]
    for one in votes:
        left = one["choice"].startswith("left")
        assert (
            left == (one["challenger_side"] == "left") if one["in_favour"] == "challenger" else left != (one["challenger_side"] == "left")
        )
        assert (one["words_challenger"], one["words_champion"]) == (7, 4)
    # Its older text is the champion's.
    assert (votes[1]["major_champion"], votes[1]["major_challenger"]) == (True, False)
    # A rater's number in it may look like an account's name, and is none.
    assert not {str(value) for one in votes for value in one.values()} & {rater.username for rater in raters}
    assert len({one["rater"] for one in votes}) == 2


def test_it_ends_by_itself_when_it_is_decided_and_late_answers_are_kept_uncounted(
    study: Study, raters: list[User], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    assert study.campaign is not None
    with django_capture_on_commit_callbacks(execute=True):
        vote(study, raters[2], challenger=True)
    late = annotating.lease(study.campaign, raters[2])
    for number in range(11):
        with django_capture_on_commit_callbacks(execute=True):
            vote(study, raters[number % 2], challenger=True)
    study.refresh_from_db()
    assert study.state == "running"
    progress = studies.progress(study)
    assert (progress.verdict.wins, progress.verdict.decided_at, progress.raters, progress.pairs) == (12, None, 3, 30)
    with django_capture_on_commit_callbacks(execute=True):
        vote(study, raters[0], challenger=True)
    study.refresh_from_db()
    study.campaign.refresh_from_db()
    assert (study.state, study.verdict, study.counted, study.campaign.state) == ("decided", "better", 13, CampaignState.CLOSED)
    judgements.submit(assignment=late, verdict=Verdict.BOTH_UNACCEPTABLE, key=uuid4())
    assert len(list(studies.raw_votes(study))) == 13
    assert not studies.consider(campaign=study.campaign)


def test_two_raters_decide_nothing_and_the_last_vote_ends_it_undecided(study: Study, raters: list[User]) -> None:
    assert study.campaign is not None
    for number in range(29):
        vote(study, raters[number % 2], challenger=True)
        assert number < 27 or not studies.consider(campaign=study.campaign)
    vote(study, raters[0], challenger=True)
    assert studies.consider(campaign=study.campaign)
    study.refresh_from_db()
    assert (study.verdict, study.counted) == ("not decided", 30)


def test_the_same_answers_from_both_leave_nothing_to_judge(
    evaluation: Evaluation, dan: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    with django_capture_on_commit_callbacks(execute=True):
        answer(made.champion_texts, "Answer to {}.")
        answer(made.challenger_texts, "Answer to {}.")
    made.refresh_from_db()
    assert (made.state, made.campaign) == ("failed", None)
    assert "same text twice" in made.why_failed


def test_what_cannot_give_a_verdict_is_refused(evaluation: Evaluation, dan: User, raters: list[User]) -> None:
    with pytest.raises(StudyRefused, match="needs 3 raters; 2 can"):
        studies.start(evaluation=evaluation, actor=dan, raters=raters[:2])
    studies.start(evaluation=evaluation, actor=dan)
    with pytest.raises(StudyRefused, match="under way"):
        studies.start(evaluation=evaluation, actor=dan)
    aliases.move(name="champion", to=evaluation.policy, actor=dan, expected=None, reason="the first")
    with pytest.raises(StudyRefused, match="champion already"):
        studies.start(evaluation=evaluation, actor=dan)


def test_an_evaluation_under_way_starts_none(evaluation: Evaluation, dan: User, tmp_path: Path) -> None:
    other: ModelVersion = build.version(tmp_path, "other-dpo", "dpo")
    open_yet = evaluations.start(policy=other, reference=evaluation.reference, snapshot=evaluation.snapshot, actor=dan)
    with pytest.raises(StudyRefused, match="finished evaluation"):
        studies.start(evaluation=open_yet, actor=dan)
