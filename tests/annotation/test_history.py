"""A rater's own answers: by side as they saw the pair, with what they said before, and the way back to change them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import User
from annotation import campaigns, judgements, memberships
from annotation.models import Assignment, Judgement, Verdict
from tests.annotation.build import campaign, judge, lease, qualification
from tests.annotation.test_judgements import FULL

pytestmark = pytest.mark.django_db
ADDRESS = "/rate/history/"


def rows(client: Client, **asked: str) -> list[dict[str, Any]]:
    response = client.get(ADDRESS, asked)
    assert response.status_code == 200
    return response.context["rows"]  # type: ignore[no-any-return]


def test_without_answers_it_says_so_and_leads_to_the_queue(as_alice: Client) -> None:
    page = as_alice.get(ADDRESS).content.decode()
    assert "You have judged nothing yet" in page
    assert 'href="/rate/"' in page


def test_answers_are_shown_as_their_rater_pressed_them_newest_first(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    for verdict in ("a_much", "b_slightly", "both_acceptable", "cannot_judge:outside_field"):
        held = lease(made, alice)
        as_alice.post(f"/rate/{held.public_id}/", {"verdict": verdict, "key": str(uuid4())})
    found = rows(as_alice)
    assert [row["verdict"] for row in found] == ["Cannot judge", "Both acceptable", "B slightly better", "A much better"]
    page = as_alice.get(ADDRESS).content.decode()
    assert "Cannot judge: Outside my field" in page
    assert "summarization" in page


def test_reasons_and_flags_are_shown_by_side(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice]), alice)
    said = {"verdict": "a_much", "reasons": ["facts", "safer"], "harm_b": "major", "harm_b_type": "wrong_dose"}
    as_alice.post(f"/rate/{held.public_id}/", {**said, "key": str(uuid4())})
    (row,) = rows(as_alice)
    assert (row["reasons"], row["flags"]) == (["Correct facts", "Safer"], [("B", "Major")])
    assert "B: Major" in as_alice.get(ADDRESS).content.decode()


def test_what_was_said_before_can_be_read(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    first = judge(made, alice, Verdict.FIRST_MUCH)
    judgements.amend(judgement=first, verdict=Verdict.BOTH_ACCEPTABLE, key=uuid4())
    (row,) = rows(as_alice)
    assert row["verdict"] == "Both acceptable"
    assert [verdict for _, verdict in row["revisions"]] == [judgements.seen_from(first.assignment, "first_much").label]
    assert "1 earlier" in as_alice.get(ADDRESS).content.decode()


def test_an_answer_that_was_taken_back_is_not_listed_until_it_is_given_anew(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    judge(made, alice)
    reopened = judgements.undo_last(campaign=made, annotator=alice)
    assert rows(as_alice) == []
    judgements.submit(assignment=reopened, verdict=Verdict.BOTH_ACCEPTABLE, key=uuid4())
    (row,) = rows(as_alice)
    assert len(row["revisions"]) == 1
    assert "taken back" in as_alice.get(ADDRESS).content.decode()


def test_it_leads_back_to_the_pair_to_change_the_answer(as_alice: Client, alice: User) -> None:
    first = judge(campaign([alice]), alice)
    address = f"/rate/{first.assignment.public_id}/"
    assert address in as_alice.get(ADDRESS).content.decode()
    as_alice.post(address, {"verdict": "both_unacceptable", "key": str(uuid4()), "amends": "1"})
    assert rows(as_alice)[0]["verdict"] == "Both unacceptable"
    assert Judgement.objects.count() == 2


def test_after_closing_an_answer_can_be_looked_at_only(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    judge(made, alice)
    assert rows(as_alice)[0]["amendable"]
    campaigns.close(campaign=made, actor=None)
    assert not rows(as_alice)[0]["amendable"]
    assert "Look<span" in as_alice.get(ADDRESS).content.decode()


def test_a_qualifications_answers_are_not_changed(as_alice: Client, alice: User) -> None:
    judge(qualification([alice]), alice)
    assert not rows(as_alice)[0]["amendable"]


def test_who_was_taken_off_sees_what_they_said_and_no_way_in(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    first = judge(made, alice)
    memberships.revoke(campaign=made, user=alice, actor=None)
    assert [row["open"] for row in rows(as_alice)] == [False]
    assert str(first.assignment.public_id) not in as_alice.get(ADDRESS).content.decode()


def test_it_is_narrowed_to_a_campaign_a_verdict_or_flags(as_alice: Client, alice: User) -> None:
    letters, notes = campaign([alice], name="Letters", pairs=8), campaign([alice], name="Notes")
    for _ in range(8):
        judge(letters, alice, Verdict.FIRST_MUCH)
    judgements.submit(assignment=lease(notes, alice), answer=FULL, key=uuid4())
    judgements.submit(assignment=lease(notes, alice), answer=replace(FULL, harm_second="", harm_second_type=""), key=uuid4())
    assert len(rows(as_alice, campaign=str(notes.public_id))) == 2
    assert len(rows(as_alice, flagged="on")) == 1
    pressed = {verdict: {row["verdict"] for row in rows(as_alice, verdict=verdict)} for verdict in ("a_much", "b_much")}
    assert pressed == {"a_much": {"A much better"}, "b_much": {"B much better"}}
    # Both sides were on the left at times, so both were pressed, and together they are all eight.
    assert len(rows(as_alice, verdict="a_much")) + len(rows(as_alice, verdict="b_much")) == 8


def test_an_empty_filter_offers_to_clear_it(as_alice: Client, alice: User) -> None:
    judge(campaign([alice]), alice)
    page = as_alice.get(ADDRESS, {"verdict": "cannot_judge"}).content.decode()
    assert "None of your answers matches this filter" in page
    assert "Clear the filter" in page


@pytest.mark.parametrize("asked", [{"campaign": "x"}, {"campaign": str(uuid4())}, {"verdict": "first_much"}, {"flagged": "<b>"}])
def test_a_filter_that_makes_no_sense_is_no_error(as_alice: Client, alice: User, asked: dict[str, str]) -> None:
    judgements.submit(assignment=lease(campaign([alice]), alice), answer=FULL, key=uuid4())
    assert len(rows(as_alice, **asked)) == 1


def test_others_answers_and_campaigns_are_not_there(as_bob: Client, alice: User, bob: User) -> None:
    theirs = campaign([alice], name="Only Alice's")
    judge(theirs, alice)
    both = campaign([alice, bob], name="Both")
    judge(both, alice)
    page = as_bob.get(ADDRESS, {"campaign": str(theirs.public_id)}).content.decode()
    assert "Only Alice" not in page
    assert rows(as_bob) == []


def test_it_shows_a_hundred(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=104)
    for _ in range(104):
        judge(made, alice)
    found = rows(as_alice)
    assert len(found) == 100
    newest = Assignment.objects.order_by("-submitted_at")[0]
    assert found[0]["assignment"].pk == newest.pk


def test_its_queries_do_not_grow_with_answers(as_alice: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    made = campaign([alice], pairs=30)
    for count in (2, 20):
        for _ in range(count):
            judge(made, alice)
        as_alice.get(ADDRESS)
        # Session, user with roles; the campaigns to choose from; the answers and their revisions.
        with django_assert_num_queries(5):
            as_alice.get(ADDRESS)
