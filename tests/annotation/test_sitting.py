"""A session from its start to its card."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from annotation import campaigns, power
from annotation.models import Assignment, Campaign, Judgement, Sitting
from tests.annotation.build import campaign, judge

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def slow_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short texts here take two minutes a pair."""
    monkeypatch.setattr(power, "READING", 39 / 2)


def start(client: Client, made: Campaign, **chosen: Any) -> Any:
    return client.post(f"/rate/campaigns/{made.public_id}/next/", chosen)


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def card(sitting: Sitting) -> str:
    return f"/rate/sittings/{sitting.public_id}/"


def test_start_begins_a_session_of_the_length_that_was_chosen(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    assert start(as_alice, made, minutes=30).status_code == 302
    assert (Sitting.objects.get().planned_minutes, Sitting.objects.get().planned_pairs) == (30, 12)


def test_without_a_choice_it_is_the_campaigns_length(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12, session_minutes=15)
    start(as_alice, made)
    assert Sitting.objects.get().planned_minutes == 15


@pytest.mark.parametrize("minutes", ["0", "-10", "11", "1e3", "ten"])
def test_another_length_is_refused_with_a_word(as_alice: Client, alice: User, minutes: str) -> None:
    made = campaign([alice])
    response = start(as_alice, made, minutes=minutes)
    assert response["Location"] == "/rate/"
    assert "Choose how long the session is to be: 10, 20 or 30 minutes" in text(as_alice, "/rate/")
    assert not Sitting.objects.exists()
    assert not Assignment.objects.exists()


def test_the_answer_that_ends_it_leads_to_its_card(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    address = start(as_alice, made, minutes=10)["Location"]
    for number in range(5):
        key = as_alice.get(address).content.decode().split('name="key" value="')[1].split('"')[0]
        address = as_alice.post(address, {"verdict": "a_much", "key": key, "active_ms": "60000"})["Location"]
        assert address.startswith("/rate/sittings/") is (number == 4)
    page = text(as_alice, address)
    assert "That was your session" in page
    assert "<span>5</span><span>pairs judged" in page
    assert "of 10 planned" in page
    assert "1 min 0 s" in page
    assert "7 pairs are left for you, whenever you like" in page
    assert "Another 10 minutes" in page
    assert "Back to the queue" in page
    assert Sitting.objects.get().ended_at is not None


def test_another_ten_minutes_begin_a_new_one(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    start(as_alice, made, minutes=20)
    as_alice.post(card(Sitting.objects.get()) + "end/")
    start(as_alice, made, minutes=10)
    assert list(Sitting.objects.order_by("pk").values_list("planned_minutes", flat=True)) == [20, 10]


def test_stop_for_now_ends_it_and_keeps_the_pair_that_is_open(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    start(as_alice, made)
    response = as_alice.post(card(Sitting.objects.get()) + "end/")
    assert response["Location"] == card(Sitting.objects.get())
    assert Assignment.objects.live().count() == 1
    assert "<span>0</span><span>pairs judged" in text(as_alice, response["Location"])


def test_when_nothing_is_left_it_ends_with_its_card(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=1)
    address = start(as_alice, made)["Location"]
    key = as_alice.get(address).content.decode().split('name="key" value="')[1].split('"')[0]
    address = as_alice.post(address, {"verdict": "a_much", "key": key})["Location"]
    page = text(as_alice, address)
    assert "Nothing is left for you in this campaign. Thank you." in page
    assert "Another 10 minutes" not in page


def test_the_queue_goes_on_with_a_session_and_can_stop_it(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    start(as_alice, made, minutes=20)
    judge(made, alice)
    page = text(as_alice, "/rate/")
    assert "Your session is under way: 1 of about 10 pairs, 20 minutes left" in page
    assert "Continue" in page
    assert "Stop for now" in page
    assert 'name="minutes"' not in page
    start(as_alice, made)
    assert Sitting.objects.count() == 1
    Sitting.objects.update(started_at=timezone.now() - timedelta(minutes=21))
    assert "under way" not in text(as_alice, "/rate/")


def test_a_study_says_that_it_decides_and_a_campaign_that_it_teaches(as_alice: Client, alice: User) -> None:
    for purpose, words in (("study", "whether a changed model is better"), ("collect", "a model learns from it what clinicians prefer")):
        made = campaign([alice], pairs=2, purpose=purpose, name=purpose)
        start(as_alice, made)
        judge(made, alice)
        page = text(as_alice, card(Sitting.objects.get(campaign=made)))
        assert words in page
        campaigns.close(campaign=made, actor=None)
        assert "It has closed." in text(as_alice, card(Sitting.objects.get(campaign=made)))
    assert Judgement.objects.count() == 2


def test_it_is_nobody_elses(as_alice: Client, as_bob: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    start(as_alice, made)
    sitting = Sitting.objects.get()
    assert as_bob.get(card(sitting)).status_code == 404
    assert as_bob.post(card(sitting) + "end/").status_code == 404
    sitting.refresh_from_db()
    assert sitting.ended_at is None


NOTICE = "took you less time than reading them takes"


def test_reading_too_fast_three_times_brings_a_gentle_word_once(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=12)
    address = start(as_alice, made, minutes=30)["Location"]
    shown = []
    for spent in ("900", "900", "900", "90000", "900"):
        page = as_alice.get(address).content.decode()
        shown.append(NOTICE in page)
        key = page.split('name="key" value="')[1].split('"')[0]
        address = as_alice.post(address, {"verdict": "a_much", "key": key, "active_ms": spent})["Location"]
    assert shown == [False, False, False, True, False]
    assert NOTICE not in text(as_alice, address)
    # It is a word to the rater and no mark on the answers: they count like any other.
    assert Judgement.objects.votes().count() == 5


def test_an_answer_without_a_time_is_not_called_hasty(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=5)
    address = start(as_alice, made, minutes=30)["Location"]
    for _ in range(4):
        page = as_alice.get(address).content.decode()
        assert NOTICE not in page
        key = page.split('name="key" value="')[1].split('"')[0]
        address = as_alice.post(address, {"verdict": "a_much", "key": key})["Location"]
