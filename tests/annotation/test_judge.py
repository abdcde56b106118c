"""The compare screen, without JavaScript and with htmx: blinded, forgiving, never losing an answer."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts import consents
from accounts.models import User
from annotation import assignments, campaigns, judgements, memberships, rubrics, sittings
from annotation.models import Assignment, Campaign, Completion, Judgement, Sample, Slot
from tests.annotation.build import campaign, judge, lease, qualification

pytestmark = pytest.mark.django_db
BACKGROUND = {"X-Rounds": "background"}


def address(held: Assignment) -> str:
    return f"/rate/{held.public_id}/"


def page_of(client: Client, held: Assignment) -> str:
    response = client.get(address(held))
    assert response.status_code == 200
    return response.content.decode()


def send(client: Client, held: Assignment, verdict: str = "a_much", **changes: Any) -> Any:
    headers = {"HX-Request": "true"} if changes.pop("htmx", False) else BACKGROUND if changes.pop("background", False) else {}
    data = {"verdict": verdict, "key": str(uuid4()), **changes}
    return client.post(address(held), {k: v for k, v in data.items() if v is not None}, headers=headers)


def test_it_shows_the_task_and_both_texts_by_side(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    page = page_of(as_alice, held)
    left, right = (held.pair.first, held.pair.second) if held.first_on_left else (held.pair.second, held.pair.first)
    assert page.index("Summarise the note") < page.index(held.pair.prompt.sample.input) < page.index(left.text) < page.index(right.text)
    context = as_alice.get(address(held)).context
    assert (context["number"], context["total"], context["done"]) == (1, 6, 0)
    assert [key for _, _, key, _, _ in context["verdicts"]] == ["1", "2", "3", "4", "5", "0"]
    assert page.count('name="verdict"') == 9
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
    assert response.status_code == 422
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


@pytest.mark.parametrize("headers", [{"HX-Request": "true"}, BACKGROUND])
def test_without_a_session_a_script_gets_401_and_never_a_sign_in_page(client: Client, alice: User, headers: dict[str, str]) -> None:
    held = lease(campaign([alice]), alice)
    said = {"verdict": "a_much", "key": str(uuid4())}
    response = client.post(address(held), said, headers={**headers, "Referer": f"http://testserver{address(held)}"})
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    leads = response.json()["address"]
    assert leads.startswith("/accounts/login/?next=")
    assert address(held) in unquote(leads)
    assert response.headers.get("HX-Redirect") == (leads if "HX-Request" in headers else None)


@pytest.mark.parametrize("headers", [{"HX-Request": "true"}, BACKGROUND])
def test_a_script_gets_the_pair_alone_with_its_address(as_alice: Client, alice: User, headers: dict[str, str]) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    response = as_alice.get(address(held), headers=headers)
    part = response.content.decode()
    assert "<html" not in part
    assert 'id="compare"' in part
    assert response["HX-Push-Url"] == address(held)


def test_going_back_in_the_browser_gets_the_whole_page(as_alice: Client, alice: User) -> None:
    headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    whole = as_alice.get(address(lease(campaign([alice]), alice)), headers=headers)
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
    held = lease(made, alice)
    assert as_alice.get(address(held)).context["may_undo"] is True
    assert not re.search(r'class="button verdict-undo"[^>]* disabled', page_of(as_alice, held))


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
        # Session, user with roles; the pair with all that is known of it; the session under way, what is left.
        with django_assert_num_queries(5):
            as_alice.get(address(held))
        for _ in range(10):
            judge(made, alice)
    sittings.start(campaign=made, annotator=alice, minutes=30)
    held = lease(made, alice)
    with django_assert_num_queries(4):
        as_alice.get(address(held))


def test_answering_in_the_background_takes_a_fixed_number_of_queries(
    as_alice: Client, alice: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    made = campaign([alice], pairs=30)
    for _ in range(2):
        held = lease(made, alice)
        assert assignments.lease_ahead(campaign=made, annotator=alice, beside=held) is not None
        # Session, user with roles, the pair; eight of judgements.submit; the words on screen; the session under way, the pair in hand.
        with django_assert_num_queries(14):
            assert send(as_alice, held, background=True, active_ms="41000").status_code == 204
        for _ in range(10):
            judge(made, alice)


FULL = {
    "verdict": "a_slightly", "reasons": ["facts", "concise"], "harm_a": "minor", "harm_a_type": "omission", "harm_b": "major",
    "hard": "ambiguous", "rationale": "B makes the dose up.\r\nA leaves it out.",
    "spans": '[{"side": "b", "start": 0, "end": 6, "kind": "fabrication", "severity": "major"}]', "edited": "A better\r\ntext.",
    "edited_side": "a", "active_ms": "9000",
}  # fmt: skip


def test_everything_on_the_form_is_stored_and_comes_back(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    assert send(as_alice, held, **FULL).status_code == 302
    stored = Judgement.objects.get()
    a, b = ("first", "second") if held.first_on_left else ("second", "first")
    assert stored.verdict == f"{a}_slightly"
    assert [getattr(stored, f"harm_{side}") for side in (a, b)] == ["minor", "major"]
    assert [getattr(stored, f"harm_{side}_type") for side in (a, b)] == ["omission", "other"], "a severity alone is of the type other"
    assert (stored.rationale, stored.edit.text) == ("B makes the dose up.\nA leaves it out.", "A better\ntext.")
    assert stored.edit.completion_id == getattr(held.pair, f"{a}_id")
    assert [span.completion_id for span in stored.spans.all()] == [getattr(held.pair, f"{b}_id")]
    form = as_alice.get(address(held)).context["form"]
    assert {name: form.held(name) for name in ("verdict", "harm_a", "harm_b_type", "hard", "edited", "edited_side", "amends")} == {
        "verdict": "a_slightly", "harm_a": "minor", "harm_b_type": "other", "hard": "ambiguous", "edited": "A better\ntext.",
        "edited_side": "a", "amends": "1",
    }  # fmt: skip
    assert form.held("reasons") == ["facts", "concise"]
    assert json.loads(form.held("spans")) == json.loads(FULL["spans"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"verdict": None}, "verdict", "Choose a verdict first."),
        ({"reasons": ["facts", "concise", "safer", "format"]}, "reasons", "3 reasons at most"),
        ({"reasons": ["kindness"]}, "reasons", "Choose one of those listed."),
        ({"harm_a": "awful"}, "harm_a", "Choose one of those listed."),
        ({"rationale": "Mrs\x00Smith"}, "rationale", "Character 4 cannot be stored (U+0000, a control character): remove it."),
        ({"rationale": "x" * 4001}, "rationale", "4,001 characters; 4,000 are allowed"),
        ({"edited": "x" * 50_001}, "edited", "50,001 characters; 50,000 are allowed"),
        ({"edited_side": "b"}, "edited", "Edit the side you prefer"),
        ({"spans": "["}, "spans", "The marks could not be read"),
        ({"spans": "[" * 9_000}, "spans", "The marks could not be read"),
        ({"spans": "[1]"}, "spans", "The marks could not be read"),
        ({"spans": '[{"side": "b", "start": true, "end": 6, "kind": "x", "severity": "y"}]'}, "spans", "could not be read"),
        ({"spans": '[{"side": "b", "start": 0, "end": 6, "kind": "style", "severity": "major"}]'}, "spans", "one of the kinds"),
        ({"spans": '[{"side": "b", "start": 0, "end": 9999, "kind": "omission", "severity": "major"}]'}, "spans", "outside its text"),
        ({"amends": "x"}, "amends", "whole number"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_of_it_is_lost(
    as_alice: Client, alice: User, wrong: dict[str, Any], field: str, message: str
) -> None:
    held = lease(campaign([alice]), alice)
    response = send(as_alice, held, **{**FULL, **wrong})
    assert response.status_code == 422
    form = response.context["form"]
    assert list(form.errors) == [field]
    assert message in str(form.errors[field])
    assert not Judgement.objects.exists()
    for name in {*FULL} - {"reasons", *wrong}:
        assert form.held(name) == FULL[name]
    page = response.content.decode()
    assert "B makes the dose up." in page or "rationale" in wrong
    assert "A better" in page or "edited" in wrong


def test_a_campaign_that_asks_for_words_says_for_what(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], rationale_when=["flag", "both_unacceptable"]), alice)
    response = send(as_alice, held, "both_unacceptable")
    assert response.status_code == 422
    assert "Say in a few words why neither can be used." in response.content.decode()
    assert send(as_alice, held, "both_unacceptable", rationale="Neither names the drug.").status_code == 302


def test_scales_of_the_rubric_are_asked_by_side(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], rubric=rubrics.template("T2")), alice)
    page = page_of(as_alice, held)
    (axis, *_) = [one for one in held.campaign.rubric.content["axes"] if one["scale"] == "comparative"]
    name = f"axis-{axis['key']}"
    assert f'name="{name}"' in page
    response = send(as_alice, held, **{name: "3"})
    assert (response.status_code, list(response.context["form"].errors)) == (422, [name])
    assert send(as_alice, held, **{name: "2"}).status_code == 302
    assert Judgement.objects.get().axes == {axis["key"]: 2 if held.first_on_left else -2}


def test_counts_are_asked_of_each_side(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], rubric=rubrics.template("T10")), alice)
    (axis, *_) = [one for one in held.campaign.rubric.content["axes"] if one["scale"] == "count"]
    name = f"axis-{axis['key']}"
    half = send(as_alice, held, **{f"{name}-a": "2"})
    assert half.status_code == 422
    assert "a value for each side" in half.content.decode()
    assert send(as_alice, held, **{f"{name}-a": "2", f"{name}-b": "0"}).status_code == 302
    a, b = ("first", "second") if held.first_on_left else ("second", "first")
    assert Judgement.objects.get().axes == {axis["key"]: {a: 2, b: 0}}


def test_without_script_a_mark_is_a_quotation(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    quotes = {
        "quote_side": ["a", "b", ""], "quote_text": ["chest  pain", "Nobody said this", ""], "quote_kind": ["fabrication", "omission", ""],
        "quote_severity": ["minor", "major", ""],
    }  # fmt: skip
    response = send(as_alice, held, **quotes)
    assert response.status_code == 422
    assert "Quotation 2 does not stand in B" in response.content.decode()
    assert [line["text"] for line in response.context["form"].quotes()] == ["chest  pain", "Nobody said this", ""]
    assert send(as_alice, held, **{**quotes, "quote_text": ["chest  pain", "", ""]}).status_code == 302
    left = held.pair.first if held.first_on_left else held.pair.second
    span = Judgement.objects.get().spans.get()
    assert (span.completion_id, left.text[span.start : span.end], span.kind) == (left.pk, "chest pain", "fabrication")


def test_a_quotation_needs_its_side_kind_and_severity(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    line = {"quote_side": "", "quote_text": "chest pain", "quote_kind": "omission", "quote_severity": "minor"}
    for missing, message in (
        ({}, "in A or in B"),
        ({"quote_side": "a", "quote_kind": ""}, "kinds"),
        ({"quote_side": "a", "quote_severity": ""}, "severity"),
    ):
        response = send(as_alice, held, **{**line, **missing})
        assert response.status_code == 422
        assert message in response.content.decode()


# --- in the background: the page has gone on already -----------------------------------------------------------------


def test_in_the_background_an_answer_is_acknowledged_in_a_word(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    assert assignments.lease_ahead(campaign=made, annotator=alice, beside=held) is not None
    response = send(as_alice, held, background=True)
    assert (response.status_code, response.content, response["X-Rounds-State"]) == (204, b"", "stored")
    assert "X-Rounds-Next" not in response


def test_without_a_pair_in_hand_it_says_where_to_go(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=2)
    first = lease(made, alice)
    onward = send(as_alice, first, background=True)["X-Rounds-Next"]
    assert onward == address(lease(made, alice))
    assert send(as_alice, lease(made, alice), background=True)["X-Rounds-Next"] == "/rate/"


def test_when_the_session_is_over_it_leads_to_its_card(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=4)
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    type(sitting).objects.filter(pk=sitting.pk).update(planned_pairs=2)
    card = f"/rate/sittings/{sitting.public_id}/"
    held = lease(made, alice)
    assert as_alice.get(address(held)).context["total"] == 2
    assert "X-Rounds-Next" in send(as_alice, held, background=True)
    held = lease(made, alice)
    assert assignments.lease_ahead(campaign=made, annotator=alice, beside=held) is not None
    assert send(as_alice, held, background=True)["X-Rounds-Next"] == card
    # What was fetched ahead went back.
    assert made.assignments.filter(state="leased").count() == 0


def test_nothing_left_ends_the_session_with_its_card(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=1)
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    assert send(as_alice, lease(made, alice))["Location"] == f"/rate/sittings/{sitting.public_id}/"


def test_a_refusal_in_the_background_waits_as_a_draft_at_its_address(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], rationale_when=["much"]), alice)
    response = send(as_alice, held, "a_much", background=True, reasons=["safer"], draft_number="4")
    assert (response.status_code, response["Content-Type"]) == (422, "application/problem+json")
    told = response.json()
    assert told["address"] == address(held)
    assert told["detail"] == "Say in a few words what makes it much better."
    form = as_alice.get(told["address"]).context["form"]
    assert (form.held("verdict"), form.held("reasons"), form.held("draft_number")) == ("a_much", ["safer"], "5")


def test_a_clash_in_the_background_is_told_and_overwrites_nothing(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    send(as_alice, held, "a_much")
    response = send(as_alice, held, "b_much", background=True)
    assert (response.status_code, response.json()["address"]) == (409, address(held))
    assert Judgement.objects.count() == 1


def test_a_late_answer_in_the_background_is_said_to_be_surplus(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    campaigns.close(campaign=made, actor=None)
    assert send(as_alice, held, background=True)["X-Rounds-State"] == "surplus"


# --- two tabs, the back button, time that runs out, people who leave (reliability.md A1: 3, 6, 7, 8) ---------------------


def test_the_second_tab_sees_both_answers_and_can_change_the_saved_one_on_purpose(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    send(as_alice, held, "a_much", rationale="From the first tab")
    response = send(as_alice, held, "b_slightly", rationale="From the second tab")
    assert response.status_code == 409
    page = response.content.decode()
    assert "Saved is “A much better”" in page
    assert "From the second tab" in page
    form = response.context["form"]
    assert (form.held("verdict"), form.held("amends")) == ("b_slightly", "1")
    again = {name: form.held(name) for name in ("verdict", "key", "amends", "rationale")}
    assert send(as_alice, held, **again).status_code == 302
    assert [one.rationale for one in Judgement.objects.order_by("revision")] == ["From the first tab", "From the second tab"]


@pytest.mark.parametrize("order", list(permutations(["first", "second", "resend"])))
def test_two_tabs_in_every_order_leave_one_answer(as_alice: Client, alice: User, order: tuple[str, ...]) -> None:
    held = lease(campaign([alice]), alice)
    forms = {"first": ("a_much", str(uuid4())), "second": ("b_much", str(uuid4()))}
    forms["resend"] = forms["first"]
    statuses = [send(as_alice, held, verdict, key=key).status_code for verdict, key in map(forms.__getitem__, order)]
    assert Judgement.objects.count() == 1
    assert judgements.seen_from(held, Judgement.objects.get().verdict) == forms[order[0]][0]
    same = forms[order[0]]
    assert statuses == [302 if forms[name] == same else 409 for name in order]


def test_a_form_from_before_a_change_is_stale(as_alice: Client, alice: User) -> None:
    """Back button: the page of revision 1 comes out of the browser's memory after revision 2 was made."""
    held = lease(campaign([alice]), alice)
    send(as_alice, held, "a_much")
    send(as_alice, held, "a_slightly", amends="1")
    response = send(as_alice, held, "b_much", amends="1")
    assert response.status_code == 409
    assert "Saved is “A slightly better”" in response.content.decode()
    assert response.context["form"].held("amends") == "2"
    assert Judgement.objects.count() == 2


def test_a_form_from_before_an_undo_does_not_come_back(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held, key = lease(made, alice), str(uuid4())
    send(as_alice, held, "a_much", key=key)
    as_alice.post(f"/rate/campaigns/{made.public_id}/undo/")
    # The old form's key stands for the answer that was taken back: sent again it changes nothing, and says so by leading on.
    assert send(as_alice, held, "a_much", key=key).status_code == 302
    assert Judgement.objects.current().count() == 0
    assert send(as_alice, held, "b_much", amends="1").status_code == 409
    assert Judgement.objects.count() == 1


def test_somebody_taken_off_is_shown_no_pair_and_loses_no_answer(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    memberships.revoke(campaign=made, user=alice, actor=None)
    assert as_alice.get(address(held)).status_code == 404
    assert as_alice.get(f"{address(held)}diff/").status_code == 404
    response = as_alice.post(address(held), {"verdict": "a_much", "key": str(uuid4())}, follow=True)
    assert response.status_code == 200
    assert "it is kept, and not counted" in response.content.decode()
    assert Judgement.objects.get().surplus is True


def test_without_consent_nothing_is_stored_and_nothing_is_lost(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    consents.withdraw(user=alice)
    response = send(as_alice, held, "b_slightly", rationale="Kept for me")
    assert response.status_code == 302
    assert response["Location"].startswith("/me/consent/")
    assert as_alice.get(address(held)).status_code == 302
    assert not Judgement.objects.exists()
    consents.give(user=alice, text=consents.current())
    form = as_alice.get(address(held)).context["form"]
    assert (form.held("verdict"), form.held("rationale")) == ("b_slightly", "Kept for me")


def test_a_sent_answer_whose_session_ended_was_drafted_on_the_way(as_alice: Client, alice: User) -> None:
    """The page drafts every change: after signing in again what was entered is there."""
    held = lease(campaign([alice]), alice)
    as_alice.post(f"{address(held)}draft/", {"verdict": "b_much", "key": str(uuid4()), "draft_number": "1"})
    as_alice.logout()
    assert send(as_alice, held, "b_much")["Location"].startswith("/accounts/login/")
    as_alice.force_login(alice)
    assert as_alice.get(address(held)).context["form"].held("verdict") == "b_much"


# --- what else the page knows ---------------------------------------------------------------------------------------


def test_it_knows_how_long_the_lease_runs(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], lease_minutes=30), alice)
    assert 1790 <= as_alice.get(address(held)).context["expires_in"] <= 1800
    Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(seconds=5))
    assert as_alice.get(address(held)).context["expires_in"] == 0
    send(as_alice, held)
    assert as_alice.get(address(held)).context["expires_in"] is None


def test_a_pair_fetched_ahead_counts_behind_the_one_on_screen(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    ahead = assignments.lease_ahead(campaign=made, annotator=alice, beside=held)
    assert ahead is not None
    assert as_alice.get(address(held)).context["number"] == 1
    assert as_alice.get(address(ahead)).context["number"] == 2


def test_json_pairs_show_whether_each_side_is_valid(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=1)
    held = lease(made, alice)
    Sample.objects.update(output_format="json")
    left, right = (held.pair.first_id, held.pair.second_id) if held.first_on_left else (held.pair.second_id, held.pair.first_id)
    Completion.objects.filter(pk=left).update(text='{"dose": "5 mg", "drugs": ["aspirin"]}')
    Completion.objects.filter(pk=right).update(text='{"dose": "50 mg", "drugs": ["aspirin"]')
    context = as_alice.get(address(held)).context
    assert context["validity_a"]["valid"] is True
    assert (context["validity_b"]["valid"], context["validity_b"]["line"]) == (False, 1)
    assert "not valid JSON" in page_of(as_alice, held)
    diff = as_alice.get(f"{address(held)}diff/").content.decode()
    assert "Not compared as data" in diff
    Completion.objects.filter(pk=right).update(text='{"dose": "50 mg", "drugs": []}')
    diff = as_alice.get(f"{address(held)}diff/").content.decode()
    for part in ("dose", "5 mg", "50 mg", "drugs[0]", "only in A"):
        assert part in diff


def test_other_pairs_are_not_checked_unless_the_rubric_asks(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    assert as_alice.get(address(held)).context["validity_a"] is None
    held = lease(campaign([alice], rubric=rubrics.template("T10")), alice)
    assert as_alice.get(address(held)).context["validity_a"]["valid"] is False


def test_differences_are_a_page_and_a_part_of_one(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    whole = as_alice.get(f"{address(held)}diff/").content.decode()
    assert "<html" in whole
    assert re.search(r"<del>1 ?</del>|<del>2 ?</del>", whole)
    for asked in ({"headers": BACKGROUND}, {"headers": {"HX-Request": "true"}}):
        part = as_alice.get(f"{address(held)}diff/", **asked).content.decode()  # type: ignore[arg-type]
        assert "<html" not in part
        assert "<ins>" in part
    assert "<html" in as_alice.get(f"{address(held)}diff/?full=1", headers=BACKGROUND).content.decode()


def test_hostile_text_stays_text_in_differences(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    Completion.objects.filter(pk=held.pair.first_id).update(text="<img src=x onerror=alert(1)> \u202e <ins>")
    page = as_alice.get(f"{address(held)}diff/").content.decode()
    assert "<img" not in page
    assert "⟨U+202E⟩" in page
    edit = {"edited_side": "a", "edited": "<script>alert(1)</script>"}
    page = as_alice.post(f"{address(held)}changes/", edit, headers=BACKGROUND).content.decode()
    assert "<script" not in page


def test_an_edit_under_way_is_shown_as_tracked_changes(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    left = (held.pair.first if held.first_on_left else held.pair.second).text
    edited = left.replace("no infarction", "infarction")
    response = as_alice.post(f"{address(held)}changes/", {"edited_side": "a", "edited": edited}, headers=BACKGROUND)
    assert response.status_code == 200
    assert "<del>no</del> " in response.content.decode()
    assert "1 word changed: 1 out, 0 in" in response.content.decode()
    assert not Judgement.objects.exists()
    for wrong in ({"edited_side": "", "edited": "x"}, {"edited_side": "a", "edited": "x" * 50_001}):
        assert as_alice.post(f"{address(held)}changes/", wrong).status_code == 422


def test_a_gold_pair_a_repeat_and_a_second_reading_look_like_any_other(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    pages = set()
    for kind in ("vote", "review", "gold", "repeat"):
        Slot.objects.filter(pk=held.slot_id).update(kind=kind, reserved_for=alice)
        Assignment.objects.filter(pk=held.pk).update(repeat=int(kind == "repeat"))
        page = page_of(as_alice, held)
        pages.add(re.sub(r'"[0-9A-Za-z-]{32,}"|data-expires="\d+"', "", page))
    assert len(pages) == 1


def test_a_qualification_says_what_was_expected_before_it_goes_on(as_alice: Client, alice: User) -> None:
    made = qualification([alice], pairs=2)
    held = lease(made, alice)
    assert as_alice.get(address(held)).context["feedback"] is None
    response = send(as_alice, held)
    assert response["Location"] == address(held)
    told = as_alice.get(address(held))
    assert told.context["feedback"].explanation == "Because of reason 1."
    assert "Because of reason 1." in told.content.decode()
    held = lease(made, alice)
    assert send(as_alice, held, background=True)["X-Rounds-Next"] == address(held)
    assert lease_nothing(as_alice, made)["Location"] == f"/rate/campaigns/{made.public_id}/qualification/"


def lease_nothing(client: Client, made: Campaign) -> Any:
    return client.post(f"/rate/campaigns/{made.public_id}/next/")


def test_who_was_taken_off_changes_no_answer_any_more(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=2)
    given = judge(made, alice)
    memberships.revoke(campaign=made, user=alice, actor=None)
    changed = send(as_alice, given.assignment, "b_much", amends="1")
    assert changed.status_code == 409
    assert "You rate in this campaign no more" in changed.content.decode()
    as_alice.post(f"/rate/campaigns/{made.public_id}/undo/")
    given.assignment.refresh_from_db()
    assert given.assignment.state == "submitted"
    assert list(Judgement.objects.votes()) == [given]
