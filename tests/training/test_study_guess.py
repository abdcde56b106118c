"""After a study each rater is asked which model was new: the blinding check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from accounts.models import AuditEntry, User
from annotation.models import Assignment
from tests.cast import signed_in
from tests.training import study as small
from training import blinding
from training.blinding import GuessRefused
from training.models import Study, StudyGuess

pytestmark = pytest.mark.django_db


@pytest.fixture
def raters() -> list[User]:
    return small.raters()


@pytest.fixture
def study(
    tmp_path: Path, raters: list[User], dan: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Callable[..., Any]
) -> Study:
    small.smaller(monkeypatch)
    return small.running(small.evaluation(tmp_path, raters, dan), dan, django_capture_on_commit_callbacks)


def address(study: Study) -> str:
    assert study.campaign is not None
    return f"/rate/studies/{study.campaign.public_id}/"


def side_of_the_new(study: Study, held: Assignment) -> str:
    return "left" if held.first_on_left == (held.pair.first.batch_id == study.challenger_texts_id) else "right"


def test_each_is_asked_once_about_a_few_of_their_own_pairs_and_told_nothing(
    study: Study, raters: list[User], as_dan: Client, django_capture_on_commit_callbacks: Callable[..., Any], django_assert_num_queries: Any
) -> None:
    client = signed_in(raters[0])
    assert "This study has not ended yet." in client.get(address(study)).text
    assert "Which was the new model?" not in client.get("/rate/").text
    small.decided(study, raters, django_capture_on_commit_callbacks)
    assert f'<a href="{address(study)}">Which was the new model?</a>' in client.get("/rate/").text
    asked = blinding.asked(study=study, rater=raters[0])
    assert len(asked) == 5  # of thirteen votes, his five
    assert {pair.annotator_id for pair in asked} == {raters[0].pk}
    with django_assert_num_queries(9):
        page = client.get(address(study)).text
    assert page.count("is the new model’s") == 10
    assert "ward-" not in page
    for pair in asked:
        left, right = (pair.pair.first, pair.pair.second) if pair.first_on_left else (pair.pair.second, pair.pair.first)
        shown = page.split(f'name="{pair.public_id}"')[0].rsplit("<h3>A</h3>", 1)[1]
        assert shown.index(left.text) < shown.index("<h3>B</h3>") < shown.index(right.text)

    said = {str(pair.public_id): side_of_the_new(study, pair) for pair in asked[:3]}
    page = client.post(address(study), said, follow=True).text
    assert page.count("is the new model’s") == 4
    wrong = {"left": "right", "right": "left"}[side_of_the_new(study, asked[4])]
    client.post(address(study), {str(asked[3].public_id): "no_idea", str(asked[4].public_id): wrong} | dict.fromkeys(said, "no_idea"))
    assert "You have answered: thank you." in client.get(address(study)).text
    check = blinding.check(study)
    assert (check.raters, check.right, check.wrong, check.no_idea) == (1, 3, 1, 1)
    assert (check.followed_vote, check.decided_vote) == (3, 4)
    assert (check.told, check.rate.n) == ("not", 4)
    page = as_dan.get(f"/studies/{study.public_id}/").text
    assert "3 of 4 guesses by 1 rater named the new model" in page
    assert "No sign that the raters could tell." in page
    entry = AuditEntry.objects.filter(verb="study.guessed").order_by("pk")[0]
    assert entry.details == {"guesses": 3}
    with pytest.raises(DatabaseError), transaction.atomic():
        StudyGuess.objects.update(guess="no_idea")


def test_guesses_that_chance_would_not_make_are_called_so(
    study: Study, raters: list[User], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    small.decided(study, raters, django_capture_on_commit_callbacks)
    assert blinding.check(study).told == "nobody"
    for rater in raters:
        pairs = blinding.asked(study=study, rater=rater)
        blinding.guess(study=study, rater=rater, guesses={pair.public_id: side_of_the_new(study, pair) for pair in pairs})
        assert blinding.open_for(study=study, rater=rater) == []
    check = blinding.check(study)
    assert (check.right, check.raters, check.told) == (13, 3, "could")
    with pytest.raises(GuessRefused, match="not the pairs"):
        blinding.guess(study=study, rater=raters[0], guesses={pairs[0].public_id: "left"})
    own = blinding.asked(study=study, rater=raters[0])[0]
    with pytest.raises(GuessRefused, match="left, right or no idea"):
        blinding.guess(study=study, rater=raters[0], guesses={own.public_id: "A"})
    told = signed_in(raters[0]).post(address(study), {str(own.public_id): "A"}, follow=True)
    assert (told.status_code, "Say left, right or no idea." in told.text) == (200, True)


def test_nobody_else_is_asked(study: Study, as_eve: Client, as_dan: Client) -> None:
    assert as_eve.get(address(study)).status_code == 404
    assert as_dan.get(address(study)).status_code == 403
