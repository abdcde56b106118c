"""The qualification's page: what it asks before it begins, where somebody stands, and what happens after the last try."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Consent, User
from annotation import campaigns, power, rubrics
from annotation.models import Assignment, Campaign, Verdict
from tests.annotation.build import campaign, judge, qualification
from tests.cast import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def slow_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short texts here take two minutes a pair."""
    monkeypatch.setattr(power, "READING", 39 / 2)


@pytest.fixture
def qualifying(alice: User) -> Campaign:
    return qualification([alice], pairs=5)


@pytest.fixture
def gated(qualifying: Campaign, alice: User) -> Campaign:
    return campaign([alice], pairs=3, qualification=qualifying, name="Behind it")


def address(made: Campaign) -> str:
    return f"/rate/campaigns/{made.public_id}/qualification/"


def text(client: Client, made: Campaign) -> str:
    response = client.get(address(made))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def attempt(made: Campaign, rater: User, right: int, wrong: int) -> None:
    for verdict in [Verdict.FIRST_MUCH] * right + [Verdict.SECOND_MUCH] * wrong:
        judge(made, rater, verdict)


def test_it_says_what_is_asked_before_it_begins(as_alice: Client, qualifying: Campaign) -> None:
    page = text(as_alice, qualifying)
    assert "5 pairs whose answer is known, about 10 minutes" in page
    assert "4 of 5 as expected are enough" in page
    assert "There are 2 tries" in page
    assert "Judge what is correct and safe before what is complete" in page


def test_it_shows_the_rubric_with_what_each_point_means(as_alice: Client, alice: User) -> None:
    page = text(as_alice, qualification([alice], pairs=1, rubric=rubrics.template("T2")))
    assert "Which one keeps more of what matters in the source?" in page
    assert "A keeps a finding that decides what is done next; B has lost it." in page


def test_start_leads_to_the_first_pair_and_feedback_follows_each_answer(as_alice: Client, qualifying: Campaign) -> None:
    started = as_alice.post(address(qualifying), {"begin": "1"})
    held = Assignment.objects.get()
    assert started["Location"] == f"/rate/{held.public_id}/"
    judge(qualifying, held.annotator, Verdict.SECOND_MUCH)
    page = " ".join(as_alice.get(started["Location"]).content.decode().split())
    assert "Another answer was expected" in page
    assert "Because of reason 1." in page
    assert "1 of 5" in page
    # On from the feedback, past the page that explains it all.
    onward = as_alice.post(f"/rate/campaigns/{qualifying.public_id}/next/")
    assert onward["Location"] == f"/rate/{Assignment.objects.latest('pk').public_id}/"
    assert Assignment.objects.count() == 2


def test_between_the_tries_it_tells_the_score_and_offers_the_second(as_alice: Client, alice: User, qualifying: Campaign) -> None:
    attempt(qualifying, alice, 3, 2)
    page = text(as_alice, qualifying)
    assert "3 of 5 as expected: one more try" in page
    assert "4 are needed" in page
    # The way on leads here first, not into the second try unawares.
    assert as_alice.post(f"/rate/campaigns/{qualifying.public_id}/next/")["Location"] == address(qualifying)
    assert as_alice.post(address(qualifying))["Location"] == address(qualifying)
    begun = as_alice.post(address(qualifying), {"begin": "1"})
    assert begun["Location"] == f"/rate/{Assignment.objects.latest('pk').public_id}/"
    assert Assignment.objects.count() == 6


def test_passing_leads_straight_to_the_campaign(as_alice: Client, alice: User, qualifying: Campaign, gated: Campaign) -> None:
    attempt(qualifying, alice, 4, 1)
    page = text(as_alice, qualifying)
    assert "4 of 5 as expected: you may rate" in page
    assert "Behind it: 3 pairs left for you" in page
    assert f'action="/rate/campaigns/{gated.public_id}/next/"' in page
    assert as_alice.post(f"/rate/campaigns/{gated.public_id}/next/")["Location"] == f"/rate/{Assignment.objects.latest('pk').public_id}/"


def test_failing_is_no_dead_end(as_alice: Client, alice: User, qualifying: Campaign, gated: Campaign) -> None:
    for _ in range(2):
        attempt(qualifying, alice, 0, 5)
    page = text(as_alice, qualifying)
    assert "0 of 5 as expected, 4 were needed" in page
    assert "The lead clinicians have been told" in page
    assert "To the queue" in page
    assert as_alice.post(f"/rate/campaigns/{gated.public_id}/next/")["Location"] == address(qualifying)
    assert as_alice.post(address(qualifying))["Location"] == address(qualifying)


def test_before_consent_it_can_be_read_and_not_begun(as_alice: Client, alice: User, qualifying: Campaign) -> None:
    Consent.objects.all().update(withdrawn_at="2026-01-01T00:00:00Z")
    assert "Until then this page can be read." in text(as_alice, qualifying)
    assert as_alice.post(address(qualifying))["Location"].startswith("/me/consent/")
    assert not Assignment.objects.exists()


def test_a_closed_one_says_so(as_alice: Client, qualifying: Campaign) -> None:
    campaigns.close(campaign=qualifying, actor=None)
    assert "not open now" in text(as_alice, qualifying)


def test_others_and_drafts_have_no_page(alice: User, eve: User, qualifying: Campaign) -> None:
    draft = qualification([alice], pairs=2, opened=False, name="Not yet")
    other = campaign([alice], pairs=1)
    assert signed_in(eve).get(address(qualifying)).status_code == 404
    assert signed_in(alice).get(address(draft)).status_code == 404
    assert signed_in(alice).get(address(other)).status_code == 404


def test_its_queries_do_not_grow_with_pairs(
    as_alice: Client, alice: User, gated: Campaign, qualifying: Campaign, django_assert_num_queries: Callable[[int], Any]
) -> None:
    as_alice.get(address(qualifying))
    with django_assert_num_queries(8):
        as_alice.get(address(qualifying))
    attempt(qualifying, alice, 3, 0)
    with django_assert_num_queries(8):
        as_alice.get(address(qualifying))
