"""A study's page: where it stands, what it found, and nothing of it for who rates in it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import Role, User
from annotation import judgements
from annotation.models import Verdict
from jobs import claims
from tests.annotation import build as annotating
from tests.cast import signed_in
from tests.training import build
from tests.training import study as small
from tests.training.study import vote
from training import cards, gates, generations, promotions, studies, study_figures
from training.evidence import verdict as evidence
from training.models import Evaluation, Study

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


def address(study: Study, more: str = "") -> str:
    return f"/studies/{study.public_id}/{more}"


def words(page: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", page).split())


def test_while_models_answer_it_shows_both_jobs_and_asks_again(as_dan: Client, evaluation: Evaluation, dan: User) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    page = as_dan.get(address(made)).text
    assert 'hx-trigger="every 3s"' in page
    assert "ward-sft : waiting" in words(page)
    assert "ward-dpo : waiting" in words(page)
    assert "not locked yet" in page
    part = as_dan.get(address(made), headers={"HX-Request": "true"}).text
    assert "<html" not in part
    claims.fail(build.claimed(generations.job_of(made.champion_texts)), code="out_of_memory", detail="")  # type: ignore[arg-type]
    studies.mend()
    page = as_dan.get(address(made)).text
    assert "ward-sft could not answer: its job failed with out_of_memory." in page
    assert "start another study from" in page
    assert "hx-trigger" not in page


def test_while_it_runs_leads_and_trainers_see_how_far_it_is(
    as_dan: Client, as_carol: Client, as_alice: Client, study: Study, raters: list[User], django_assert_num_queries: Any
) -> None:
    assert "the chart begins with the first one" in as_dan.get(address(study)).text
    for number, challenger in enumerate([True, True, False, None, True, True]):
        vote(study, raters[number % 3], challenger=challenger, active_ms=120_000)
    votes = list(studies.raw_votes(study))
    progress = studies.progress(study)
    with django_assert_num_queries(7):
        page = as_carol.get(address(study)).text
    told = words(page)
    assert "6 of 12 to 30 judgements, by 3 of at least 3 raters." in told
    assert progress.verdict.more is not None
    assert progress.hours == pytest.approx(progress.verdict.more / 30)
    assert f"About {progress.verdict.more} more judgements, about {progress.verdict.more / 30:.1f} clinician-hours" in told
    # The chart's numbers are the verdict's.
    path = study_figures.path(votes)
    assert [number for number, _, _ in path] == [1, 2, 3, 4, 5, 6]
    assert path[-1][1:] == pytest.approx((progress.verdict.e_better, progress.verdict.e_worse))
    for number, better, worse in path:
        seen = evidence.follow_votes(votes[:number])
        assert (better, worse) == pytest.approx((seen.e_better, seen.e_worse))
    assert "decided at 20" in page
    assert f"<td>6</td><td>{path[-1][1]:,.4g}</td><td>{path[-1][2]:,.4g}</td>" in page
    # Its protocol, and nobody's name.
    assert study.protocol_digest in page
    assert "mixture e-process, Beta(a, a)" in page
    assert not [rater.username for rater in raters if rater.username in page]
    assert "Stop the study" not in page
    assert "Stop the study" in as_dan.get(address(study)).text
    assert as_alice.get(address(study)).status_code == 403


def test_an_earlier_study_of_the_two_is_closed_to_who_rates_in_the_next_and_so_is_its_evidence(
    study: Study, raters: list[User], dan: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    small.decided(study, raters, django_capture_on_commit_callbacks)
    both = raters[0]
    both.grants.create(role=Role.TRAINER)
    client = signed_in(both)
    assert "ward-dpo" in client.get(address(study)).text
    again = small.running(study.evaluation, dan, django_capture_on_commit_callbacks)
    page = client.get(address(study)).text
    assert "You rate in another study of one of its models" in page
    assert "ward-" not in page
    assert client.get(address(study, "evidence/")).status_code == 404
    studies.stop(study=again, actor=dan, reason="Enough.")
    assert "ward-dpo" in client.get(address(study)).text
    assert client.get(address(study, "evidence/")).status_code == 200


def test_what_is_decided_while_it_is_judged_keeps_none_of_its_figures(study: Study, raters: list[User], dan: User) -> None:
    for number in range(6):
        vote(study, raters[number % 3], challenger=number != 4)
    live = {gate.code: gate for gate in promotions.found(evaluation=study.evaluation, alias="champion", replaces=None)}
    assert "5 wins, 1 losses" in live["G2"].value
    refused = promotions.decide(evaluation=study.evaluation, actor=dan, expected=None)
    kept = {gate["code"]: gate for gate in refused.gates}
    for code in ("G2", "G3", "G5"):
        assert (kept[code]["passed"], kept[code]["state"], kept[code]["value"]) == (False, "unknown", gates.UNDER_WAY), code
        assert kept[code]["evidence"]["study"] == str(study.public_id)
    text = cards.write(study.challenger).text
    assert text.count(f"| {cards.UNTOLD} |") == 3
    assert "5 wins" not in text
    studies.stop(study=study, actor=dan, reason="Enough.")
    assert cards.UNTOLD not in cards.write(study.challenger).text


def test_who_rates_in_it_sees_no_model_and_no_figure_until_it_has_ended(
    study: Study, raters: list[User], dan: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    both = raters[0]
    both.grants.create(role=Role.TRAINER)
    vote(study, both, challenger=True)
    client = signed_in(both)
    for headers in ({}, {"HX-Request": "true"}):
        page = client.get(address(study), headers=headers).text
        assert "until it has ended" in page
        assert not [told for told in ("ward-", "e-value", "ahead", "<figure", "1 of 12", study.protocol_digest) if told in page]
    listed = client.get("/studies/").text
    assert "You rate in it" in listed
    assert "ward-" not in listed
    assert client.get("/studies/", {"model": str(study.challenger.public_id)}).text.count("/studies/" + str(study.public_id)) == 0
    assert client.get(f"/evaluations/{study.evaluation.public_id}/").status_code == 404
    assert client.post(address(study, "stop/"), {"reason": "no"}).status_code == 404
    # Nor what was added by hand afterwards: a new member counts as a rater too.
    dan.grants.create(role=Role.ANNOTATOR)
    as_dan = signed_in(dan)
    assert "ward-" in as_dan.get(address(study)).text
    study.campaign.memberships.create(user=dan)  # type: ignore[union-attr]
    assert "ward-" not in as_dan.get(address(study)).text
    study.campaign.memberships.filter(user=dan).delete()  # type: ignore[union-attr]
    for number in range(12):
        with django_capture_on_commit_callbacks(execute=True):
            vote(study, raters[number % 3], challenger=True)
    study.refresh_from_db()
    assert study.state == "decided"
    page = client.get(address(study)).text
    assert "ward-dpo" in page
    assert client.get(f"/evaluations/{study.evaluation.public_id}/").status_code == 200


def test_after_its_end_it_tells_everything(
    as_dan: Client, study: Study, raters: list[User], django_capture_on_commit_callbacks: Callable[..., Any], django_assert_num_queries: Any
) -> None:
    passed = annotating.lease(study.campaign, raters[1])  # type: ignore[arg-type]
    judgements.submit(assignment=passed, verdict=Verdict.CANNOT_JUDGE, cannot_reason="outside_field", key=uuid4())
    vote(study, raters[0], challenger=False, harm_second="life_threatening", harm_second_type="wrong_dose")
    late = annotating.lease(study.campaign, raters[0])  # type: ignore[arg-type]
    for number in range(24):
        with django_capture_on_commit_callbacks(execute=True):
            vote(study, raters[1 + number % 2], challenger=True, active_ms=60_000)
        study.refresh_from_db()
        if study.state == "decided":
            break
    counted = study.counted
    assert counted is not None
    judgements.submit(assignment=late, verdict=Verdict.BOTH_UNACCEPTABLE, key=uuid4())
    with django_assert_num_queries(9):
        page = as_dan.get(address(study)).text
    told = words(page)
    assert 'Verdict: <span class="badge badge-good">better</span>' in page
    assert f"Decided at judgement {counted}, with e = " in told
    votes = list(studies.raw_votes(study))
    figures = study_figures.of(study, votes)
    assert (figures.beside.late, figures.beside.cannot_judge, figures.beside.second_readers) == (1, 1, 1)
    assert "1 late answer, 1 “cannot judge”, 1 of second readers" in told
    # Every new answer has seven words, every old one four: (7 + 1) / (4 + 1) is above 1.25.
    assert [(one.name, one.votes) for one in figures.strata] == [("shorter", 0), ("similar", 0), ("longer", counted)]
    assert (figures.strata[2].wins, figures.strata[2].losses) == (counted - 1, 1)
    assert "n too small, n = " in told
    # Its second text is the challenger's.
    assert [(row.challenger_only, row.champion_only, row.both, row.neither) for row in figures.harm] == [(1, 0, 0, counted - 1)] * 2
    assert sum(rater.votes for rater in figures.raters) == counted
    assert all(re.fullmatch("rater-[0-9a-f]{12}", rater.name) for rater in figures.raters)
    assert "Nobody has guessed yet." in told
    assert "Stop the study" not in page
    left = sum(vote["choice"].startswith("left") for vote in votes)
    assert figures.left.share.n == counted >= left


def test_win_rates_and_strata_are_those_of_the_votes() -> None:
    rows = [
        {"in_favour": favour, "words_challenger": new, "words_champion": old, "pair": f"pair-{number}", "choice": "left_much"}
        for number, (favour, new, old) in enumerate(
            [("challenger", 80, 100)] * 20 + [("champion", 79, 100)] * 40 + [("tie", 125, 100)] * 30 + [("challenger", 126, 100)] * 30
        )
    ]
    strata = study_figures.by_length(rows)
    assert [(one.name, one.wins, one.losses, one.ties) for one in strata] == [
        ("shorter", 0, 40, 0), ("similar", 20, 0, 30), ("longer", 30, 0, 0),
    ]  # fmt: skip
    assert strata[1].rate.value == pytest.approx(35 / 50)
    rate = study_figures.win_rate(rows)
    assert rate.raw.value == pytest.approx((50 + 15) / 120)
    assert rate.controlled.value is not None


def test_an_undecided_one_says_how_many_more_it_would_take(
    as_dan: Client, study: Study, raters: list[User], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    for number in range(30):
        vote(study, raters[number % 3], challenger=number % 2 == 0, active_ms=60_000)
    studies.mend()
    study.refresh_from_db()
    assert study.verdict == "not decided"
    told = words(as_dan.get(address(study)).text)
    assert "After 30 judgements by 3 raters the evidence reached neither line." in told
    assert "The two are so alike that no number of judgements one would ask for tells them apart." in told
    assert "Not decided is not “as good as”" in told
    assert math.isclose(study_figures.path(list(studies.raw_votes(study)))[-1][1], studies.progress(study).verdict.e_better)


def test_it_is_stopped_with_a_reason_that_stays(as_dan: Client, study: Study, dan: User, evaluation: Evaluation) -> None:
    page = as_dan.post(address(study, "stop/"), {"reason": ""}, follow=True).text
    assert "Say why it is stopped" in page
    page = as_dan.post(address(study, "stop/"), {"reason": "The licence <b>ended</b>"}, follow=True).text
    assert "Stopped by dan." in page
    assert "The licence &lt;b&gt;ended&lt;/b&gt;" in page
    assert "It gives no verdict" in page
    # Whoever starts another is told of this one.
    other = studies.start(evaluation=evaluation, actor=dan)
    page = words(as_dan.get(address(other)).text)
    assert re.search(f"Study {study.pk} , .*: stopped", page)
