"""The compare screen, without JavaScript and with htmx: blinded, forgiving, never losing an answer."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from annotation import campaigns
from annotation.models import Assignment, Judgement
from tests.annotation.build import campaign, judge, lease

pytestmark = pytest.mark.django_db


def address(held: Assignment) -> str:
    return f"/rate/{held.public_id}/"


def page_of(client: Client, held: Assignment) -> str:
    response = client.get(address(held))
    assert response.status_code == 200
    return response.content.decode()


def send(client: Client, held: Assignment, verdict: str = "a_much", **changes: Any) -> Any:
    htmx = changes.pop("htmx", False)
    data = {"verdict": verdict, "key": str(uuid4()), **changes}
    return client.post(address(held), {k: v for k, v in data.items() if v is not None}, headers={"HX-Request": "true"} if htmx else {})


def test_it_shows_the_task_and_both_texts_by_side(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    page = page_of(as_alice, held)
    left, right = (held.pair.first, held.pair.second) if held.first_on_left else (held.pair.second, held.pair.first)
    assert page.index("Summarise the note") < page.index(held.pair.prompt.sample.input) < page.index(left.text) < page.index(right.text)
    assert "1 of 6" in page
    for key in "123450":
        assert f'data-key="{key}"' in page
    assert page.count('type="radio"') == 9
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page


def test_the_left_text_is_the_one_the_slot_says(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=8)
    sides = set()
    for _ in range(8):
        held = lease(made, alice)
        page = page_of(as_alice, held)
        assert (page.index(held.pair.first.text) < page.index(held.pair.second.text)) is held.first_on_left
        sides.add(held.first_on_left)
        send(as_alice, held)
    assert sides == {True, False}


def test_hostile_text_stays_text(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    type(held.pair.first).objects.filter(pk=held.pair.first_id).update(text='<img src=x onerror="alert(1)"><b hx-get="/x">**bold**</b>')
    page = page_of(as_alice, held)
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in page
    assert "<img" not in page
    assert "<b hx-get" not in page


def test_an_answer_leads_to_the_next_pair_and_at_last_to_the_queue(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=2)
    first = lease(made, alice)
    response = send(as_alice, first, "b_slightly", active_ms="4200")
    stored = Judgement.objects.get()
    assert stored.verdict == ("second_slightly" if first.first_on_left else "first_slightly")
    assert stored.active_ms == 4200
    second = lease(made, alice)
    assert response["Location"] == address(second) != address(first)
    assert send(as_alice, second)["Location"] == "/rate/"


def test_cannot_judge_is_one_answer_with_its_reason(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    send(as_alice, lease(made, alice), "cannot_judge:needs_information")
    stored = Judgement.objects.get()
    assert (stored.verdict, stored.cannot_reason) == ("cannot_judge", "needs_information")


@pytest.mark.parametrize(
    "wrong", [{"verdict": ""}, {"verdict": "cannot_judge"}, {"verdict": "first_much"}, {"key": "x"}, {"active_ms": "-1"}]
)
def test_a_form_that_makes_no_sense_is_shown_again_and_stores_nothing(as_alice: Client, alice: User, wrong: dict[str, str]) -> None:
    held = lease(campaign([alice]), alice)
    response = send(as_alice, held, **wrong)
    assert response.status_code == 422
    assert not Judgement.objects.exists()
    if wrong == {"verdict": ""}:
        assert "Choose a verdict first" in response.content.decode()


def test_sent_twice_it_counts_once(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    key = str(uuid4())
    answers = [send(as_alice, held, key=key) for _ in range(3)]
    assert [a.status_code for a in answers] == [302, 302, 302]
    assert len({a["Location"] for a in answers}) == 1
    assert Judgement.objects.count() == 1


def test_the_same_key_with_another_answer_is_refused(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    key = str(uuid4())
    send(as_alice, held, "a_much", key=key)
    response = send(as_alice, held, "b_much", key=key)
    assert response.status_code == 409
    assert "the first one stands" in response.content.decode()


def test_a_second_tab_is_told_and_overwrites_nothing(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    send(as_alice, held, "a_much")
    response = send(as_alice, held, "b_much")
    assert response.status_code == 409
    assert "answered before" in response.content.decode()
    assert Judgement.objects.count() == 1


def test_going_back_one_can_change_an_answer_on_purpose(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    send(as_alice, held, "a_much")
    page = page_of(as_alice, held)
    assert "You have answered this pair" in page
    assert re.search(r'value="a_much"[^>]* checked', page)
    response = send(as_alice, held, "a_slightly", amends="1")
    assert response.status_code == 302
    assert list(Judgement.objects.order_by("revision").values_list("revision", flat=True)) == [1, 2]
    assert send(as_alice, held, "b_much", amends="1").status_code == 409


def test_nobody_elses_pair_can_be_seen_or_answered(as_bob: Client, alice: User, bob: User) -> None:
    held = lease(campaign([alice, bob]), alice)
    assert as_bob.get(address(held)).status_code == 404
    assert send(as_bob, held).status_code == 404
    assert as_bob.get(f"/rate/{uuid4()}/").status_code == 404


def test_trainers_have_no_rating_pages(as_dan: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    assert as_dan.get(address(held)).status_code == 403
    assert as_dan.get("/rate/").status_code == 403


def test_an_expired_lease_can_still_be_answered(as_alice: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    held = lease(made, alice)
    Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    judge(made, bob)
    assert "Your time on this pair ran out" in page_of(as_alice, held)
    response = as_alice.post(address(held), {"verdict": "a_much", "key": str(uuid4())}, follow=True)
    assert "it is kept, and not counted" in response.content.decode()
    assert Judgement.objects.get(assignment=held).surplus is True


def test_a_campaign_that_closed_meanwhile_keeps_the_answer_and_says_so(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    campaigns.close(campaign=made, actor=None)
    page = page_of(as_alice, held)
    assert "This campaign has closed" in page
    assert 'type="radio"' not in page
    response = as_alice.post(address(held), {"verdict": "a_much", "key": str(uuid4())}, follow=True)
    assert "it is kept, and not counted" in response.content.decode()


def test_without_a_session_the_answer_leads_to_the_sign_in_page_and_back(client: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    response = send(client, held)
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={address(held)}"


def test_htmx_gets_the_pair_alone_with_its_address(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    response = as_alice.get(address(held), headers={"HX-Request": "true"})
    part = response.content.decode()
    assert "<html" not in part
    assert 'id="compare"' in part
    assert 'hx-swap-oob="true"' in part
    assert response["HX-Push-Url"] == address(held)
    whole = as_alice.get(address(held), headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in whole.content.decode()


def test_htmx_is_sent_to_the_queue_as_a_whole_page_when_nothing_is_left(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], pairs=1), alice)
    response = send(as_alice, held, htmx=True)
    assert (response.status_code, response["HX-Redirect"]) == (200, "/rate/")


def test_undo_reopens_the_last_pair_with_its_answer_in_place(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    send(as_alice, held, "b_much")
    response = as_alice.post(f"/rate/campaigns/{made.public_id}/undo/")
    assert response["Location"] == address(held)
    page = page_of(as_alice, held)
    assert re.search(r'value="b_much"[^>]* checked', page)
    send(as_alice, held, "b_slightly")
    assert [j.revision for j in Judgement.objects.current()] == [2]


def test_undo_without_an_answer_says_so(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    response = as_alice.post(f"/rate/campaigns/{made.public_id}/undo/", follow=True)
    assert "There is no answer to take back" in response.content.decode()


def test_the_undo_button_is_off_until_there_is_something_to_undo(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    assert re.search(r'class="button verdict-undo"[^>]* disabled', page_of(as_alice, held))
    send(as_alice, held)
    assert not re.search(r'class="button verdict-undo"[^>]* disabled', page_of(as_alice, lease(made, alice)))


def test_nothing_of_it_is_kept_by_browsers_or_proxies(as_alice: Client, alice: User) -> None:
    response = as_alice.get(address(lease(campaign([alice]), alice)))
    assert "no-store" in response["Cache-Control"]


def test_its_queries_do_not_grow_with_pairs_or_answers(
    as_alice: Client, alice: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    made = campaign([alice], pairs=30)
    for _ in range(2):
        held = lease(made, alice)
        as_alice.get(address(held))
        with django_assert_num_queries(8):
            as_alice.get(address(held))
        for _ in range(10):
            judge(made, alice)
