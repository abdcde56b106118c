"""The annotator's first page: what there is to do, how long it takes, why there may be nothing."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Consent, User
from annotation import campaigns, memberships, power
from annotation.models import Assignment, Campaign, Judgement, Verdict
from tests.annotation.build import campaign, judge, lease, qualification

pytestmark = pytest.mark.django_db
ADDRESS = "/rate/"


@pytest.fixture(autouse=True)
def slow_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short texts here take two minutes a pair."""
    monkeypatch.setattr(power, "READING", 39 / 2)


def text(client: Client) -> str:
    response = client.get(ADDRESS)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_it_says_what_is_left_and_how_long_it_takes(as_alice: Client, alice: User) -> None:
    campaign([alice], pairs=12)
    page = text(as_alice)
    assert "Chest pain letters" in page
    assert "12 pairs left for you, about 24 minutes" in page
    assert "Start" in page


def test_the_estimate_follows_the_annotators_own_pace(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=15)
    for _ in range(5):
        judge(made, alice)
    Judgement.objects.update(active_ms=30_000)
    page = text(as_alice)
    assert "10 pairs left for you, about 5 minutes. You have judged 5." in page
    Judgement.objects.update(active_ms=300_000)
    assert "About 4 pairs in 20 minutes at your pace." in text(as_alice)


def test_start_leads_to_a_pair(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    response = as_alice.post(f"/rate/campaigns/{made.public_id}/next/")
    held = Assignment.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/rate/{held.public_id}/"


def test_it_names_no_campaign_of_others_and_no_draft(as_eve: Client, alice: User, eve: User) -> None:
    campaign([alice])
    campaign([eve], opened=False, name="Not yet")
    page = text(as_eve)
    assert "Chest pain letters" not in page
    assert "Not yet" not in page
    assert "1 campaign with you in it is being prepared" in page


def test_a_stranger_gets_no_pair(as_eve: Client, alice: User) -> None:
    made = campaign([alice])
    for name in ("next", "undo", "guideline"):
        method = as_eve.get if name == "guideline" else as_eve.post
        assert method(f"/rate/campaigns/{made.public_id}/{name}/").status_code == 404
    assert not Assignment.objects.exists()


def test_it_says_when_the_last_pairs_are_with_colleagues(as_alice: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    held = lease(made, bob)
    assert "The last pair is with colleagues now" in text(as_alice)
    assert "Start" not in text(as_alice)
    Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "1 pair left for you" in text(as_alice)


def test_it_thanks_when_all_is_done_and_lists_what_is_closed(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=2)
    judge(made, alice)
    judge(made, alice)
    assert "You have judged all 2 pairs that were for you" in text(as_alice)
    campaigns.close(campaign=made, actor=None)
    page = text(as_alice)
    assert "Closed" in page
    assert "Take back" not in page


def test_without_campaigns_it_says_why_and_offers_one_thing(as_alice: Client) -> None:
    assert "you are a member of no open campaign" in text(as_alice)


def test_its_queries_do_not_grow_with_campaigns(as_alice: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    for count in (1, 3):
        while Campaign.objects.count() < count:
            campaign([alice], pairs=3)
        as_alice.get(ADDRESS)
        with django_assert_num_queries(12):
            as_alice.get(ADDRESS)


def test_it_offers_a_length_and_says_what_fits_into_it(as_alice: Client, alice: User) -> None:
    campaign([alice], pairs=15)
    page = text(as_alice)
    assert "About 10 pairs in 20 minutes." in page
    assert re.findall(r'name="minutes" value="(\d+)"( checked)?', page) == [
        ("10", ""), ("20", " checked"), ("30", "")
    ]  # fmt: skip


def test_it_tells_todays_work_plainly(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=5)
    assert "Today" not in text(as_alice)
    for _ in range(2):
        judge(made, alice)
    Judgement.objects.update(active_ms=110_000)
    assert "Today: 2 pairs, median 1 min 50 s." in text(as_alice)


def test_what_waits_for_a_qualification_says_how_long_that_takes(as_alice: Client, alice: User) -> None:
    qualifying = qualification([alice], pairs=4)
    campaign([alice], pairs=5, qualification=qualifying, name="Behind it")
    page = text(as_alice)
    assert "Qualify first: 4 pairs, about 8 minutes" in page
    assert f"/rate/campaigns/{qualifying.public_id}/qualification/" in page
    # One card for both: what it opens is what it is for.
    assert page.count("<h2 id=") == 1
    for _ in range(4):
        judge(qualifying, alice)
    page = text(as_alice)
    assert "Qualify first" not in page
    assert "5 pairs left for you" in page
    assert page.count("<h2 id=") == 1


def test_when_no_try_is_left_it_says_who_knows(as_alice: Client, alice: User) -> None:
    qualifying = qualification([alice], pairs=2)
    campaign([alice], pairs=5, qualification=qualifying, name="Behind it")
    for _ in range(4):
        judge(qualifying, alice, Verdict.SECOND_MUCH)
    assert "The lead clinicians have been told and can give you another one." in text(as_alice)


def test_leads_are_told_who_waits_for_them_and_raters_are_not(as_carol: Client, as_bob: Client, alice: User) -> None:
    qualifying = qualification([alice], pairs=1)
    for _ in range(2):
        judge(qualifying, alice, Verdict.SECOND_MUCH)
    assert "1 person has no try left at a qualification and waits for a lead clinician" in text(as_carol)
    assert "waits for a lead" not in text(as_bob)


def test_a_paused_campaign_and_one_past_its_last_day_say_so(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=3, deadline=timezone.localdate())
    assert "Until" in text(as_alice)
    campaigns.pause(campaign=made, actor=None)
    page = text(as_alice)
    assert "Paused by the trainers" in page
    assert "Start" not in page
    campaigns.resume(campaign=made, actor=None)
    Campaign.objects.update(deadline=timezone.localdate() - timedelta(days=1))
    page = text(as_alice)
    assert "The last day was" in page
    assert "Start" not in page


def test_a_revoked_member_has_no_card(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=3)
    memberships.revoke(campaign=made, user=alice, actor=None)
    assert "Chest pain letters" not in text(as_alice)


def test_before_consent_it_leads_to_it_and_hands_out_nothing(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=3)
    Consent.objects.update(withdrawn_at=timezone.now())
    assert "/me/consent/?next=/rate/" in text(as_alice)
    assert as_alice.post(f"/rate/campaigns/{made.public_id}/next/")["Location"].startswith("/me/consent/")
    assert not Assignment.objects.exists()


def test_the_guideline_has_a_page_of_its_own(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=1, opened=False)
    Campaign.objects.filter(pk=made.pk).update(
        guideline="# Look\n\n1. **Safe** first\n2. <script>alert(1)</script>\n\n| Key | Verdict |\n|---|---|\n| 1 | A |"
    )
    campaigns.open(campaign=made, actor=None)
    page = as_alice.get(f"/rate/campaigns/{made.public_id}/guideline/").content.decode()
    assert "<h2>Look</h2><ol><li><strong>Safe</strong> first</li>" in page.replace("\n", "")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<td>1</td><td>A</td>" in page


def test_no_count_tells_which_answer_will_be_asked_again(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=10, repeat_share=0.5)
    again = []
    for answered in range(1, 9):
        given = judge(made, alice)
        again.append(given.assignment.pair.slots.filter(kind="repeat").exists())
        assert f"{answered} of 10" in text(as_alice)
    assert True in again
    assert False in again
