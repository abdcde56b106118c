"""Blinded studies: both models answer the same held-out prompts, clinicians decide, the campaign ends by itself; the protocol is locked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from accounts.models import AuditEntry, User
from annotation import campaigns, judgements
from annotation.models import CampaignState, Split, Verdict
from annotation.records import digest_of
from jobs import claims, submissions, sweeper
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from tests.training import study as small
from tests.training.study import answer, vote
from training import evaluations, generations, studies
from training.models import Evaluation, Study
from training.studies import StudyRefused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    small.smaller(monkeypatch)


@pytest.fixture
def raters() -> list[User]:
    return small.raters()


@pytest.fixture
def evaluation(tmp_path: Path, raters: list[User], dan: User) -> Evaluation:
    return small.evaluation(tmp_path, raters, dan)


@pytest.fixture
def study(evaluation: Evaluation, dan: User, django_capture_on_commit_callbacks: Callable[..., Any]) -> Study:
    return small.running(evaluation, dan, django_capture_on_commit_callbacks)


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


def test_one_that_is_stopped_keeps_what_was_judged_and_gives_no_verdict(study: Study, raters: list[User], dan: User) -> None:
    vote(study, raters[0], challenger=True)
    with pytest.raises(StudyRefused, match="Say why"):
        studies.stop(study=study, actor=dan, reason="  ")
    studies.stop(study=study, actor=dan, reason="A licence\nwas withdrawn")
    study.refresh_from_db()
    assert study.campaign is not None
    study.campaign.refresh_from_db()
    assert (study.state, study.verdict, study.why_failed, study.stopped_by) == ("stopped", "", "A licence was withdrawn", dan)
    assert study.campaign.state == CampaignState.CLOSED
    assert len(list(studies.raw_votes(study))) == 1
    assert AuditEntry.objects.filter(verb="study.stopped", actor_id=dan.pk).count() == 1
    with pytest.raises(StudyRefused, match="over already: stopped"):
        studies.stop(study=study, actor=dan, reason="again")
    assert not studies.consider(campaign=study.campaign)


def test_one_that_is_stopped_while_models_answer_cancels_their_jobs(evaluation: Evaluation, dan: User) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    studies.stop(study=made, actor=dan, reason="wrong seed")
    assert [job.state for job in studies.jobs_of(made) if job] == ["cancelled", "cancelled"]
    assert studies.mend() == 0
    # The next can begin.
    studies.start(evaluation=evaluation, actor=dan)


def test_the_sweeper_ends_what_a_cancelled_job_left_waiting(evaluation: Evaluation, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    assert studies.mend() == 0
    job = generations.job_of(made.challenger_texts)
    assert job is not None
    submissions.cancel(job=job, actor=dan)
    monkeypatch.setattr(sweeper, "_looks", {})
    sweeper.also_look("studies", lambda: {"studies_moved": studies.mend()}, every=20)
    assert sweeper.look() == {"studies_moved": 1}
    assert sweeper.look() == {}, "its turn is over for twenty seconds"
    made.refresh_from_db()
    assert (made.state, made.why_failed) == ("failed", "The job in which ward-dpo answered was cancelled.")
    assert studies.mend() == 0


def test_the_sweeper_names_the_model_whose_job_failed(evaluation: Evaluation, dan: User) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    claims.fail(build.claimed(generations.job_of(made.champion_texts)), code="out_of_memory", detail="")  # type: ignore[arg-type]
    assert studies.mend() == 1
    made.refresh_from_db()
    assert made.why_failed == "ward-sft could not answer: its job failed with out_of_memory."


def test_the_sweeper_opens_what_its_process_did_not_live_to_open(
    evaluation: Evaluation, dan: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    made = studies.start(evaluation=evaluation, actor=dan, seed=3)
    with django_capture_on_commit_callbacks(execute=False):
        answer(made.champion_texts, "Old answer to {}.")
        answer(made.challenger_texts, "New and somewhat longer answer to {}.")
    made.refresh_from_db()
    assert made.state == "generating"
    assert studies.mend() == 1
    made.refresh_from_db()
    assert made.state == "running"
    assert studies.mend() == 0


def test_the_sweeper_ends_one_whose_campaign_was_closed_by_hand(study: Study, raters: list[User], dan: User) -> None:
    vote(study, raters[0], challenger=True)
    assert studies.mend() == 0
    campaigns.close(campaign=study.campaign, actor=dan)  # type: ignore[arg-type]
    assert studies.mend() == 1
    study.refresh_from_db()
    assert (study.state, study.verdict, study.counted) == ("decided", "not decided", 1)
    assert studies.mend() == 0


def test_the_sweeper_decides_what_its_last_voters_process_did_not_live_to_decide(study: Study, raters: list[User]) -> None:
    for number in range(13):
        vote(study, raters[number % 3], challenger=True)
    assert studies.mend() == 1
    study.refresh_from_db()
    assert (study.verdict, study.counted) == ("better", 13)
