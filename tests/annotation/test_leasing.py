"""The lease behind a pair: renewed, extended, fetched ahead, given back, passed on; and why there may be none."""

from datetime import date, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import consents
from accounts.consents import ConsentMissing
from accounts.models import AuditEntry, User
from annotation import assignments, campaigns, judgements, sittings, slots
from annotation.assignments import LeaseLost, ReassignRefused
from annotation.models import Assignment, Campaign, Slot, Verdict
from tests.annotation.build import campaign, judge, lease
from tests.cast import person

pytestmark = pytest.mark.django_db
SCRIPT = {"X-Rounds": "background"}


def time_passes(held: Assignment, minutes: int = 31) -> None:
    Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(minutes=minutes - 30))
    held.refresh_from_db()


def fetched(made: Campaign, user: User, beside: Assignment) -> Assignment:
    ahead = assignments.lease_ahead(campaign=made, annotator=user, beside=beside)
    assert ahead is not None
    return ahead


def test_nothing_is_handed_out_before_consent_nor_after_it_was_withdrawn() -> None:
    zoe = person("zoe", "annotator", consents=False)
    made = campaign([zoe], pairs=2)
    with pytest.raises(ConsentMissing):
        assignments.lease_next(campaign=made, annotator=zoe)
    consents.give(user=zoe, text=consents.current())
    held = lease(made, zoe)
    consents.withdraw(user=zoe)
    with pytest.raises(ConsentMissing):
        assignments.lease_next(campaign=made, annotator=zoe)
    with pytest.raises(ConsentMissing):
        assignments.lease_ahead(campaign=made, annotator=zoe, beside=held)


def test_a_pair_fetched_ahead_is_kept_short_until_it_is_shown(alice: User) -> None:
    made = campaign([alice], pairs=6)
    first = lease(made, alice)
    ahead = fetched(made, alice, first)
    assert (ahead.shown_at, ahead.pair_id == first.pair_id) == (None, False)
    assert (ahead.expires_at - timezone.now()) < timedelta(minutes=11)
    # Asked again, by a script that did not hear the answer, it is the same one.
    assert fetched(made, alice, first).pk == ahead.pk
    # What is before her stays before her.
    assert lease(made, alice).pk == first.pk
    shown = assignments.show(assignment=ahead)
    assert shown.shown_at is not None
    assert shown.extensions == 0
    assert (shown.expires_at - timezone.now()) > timedelta(minutes=29)


def test_never_more_than_three_pairs_at_once(alice: User) -> None:
    made = campaign([alice], pairs=6)
    first = lease(made, alice)
    second = assignments.show(assignment=fetched(made, alice, first))
    third = assignments.show(assignment=fetched(made, alice, second))
    assert assignments.lease_ahead(campaign=made, annotator=alice, beside=third) is None
    assert sorted(Assignment.objects.live().values_list("lease_number", flat=True)) == [1, 2, 3]
    judgements.submit(assignment=second, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert fetched(made, alice, third).lease_number == 2


def test_after_an_answer_the_pair_fetched_ahead_comes_next_and_counts_as_shown(alice: User) -> None:
    made = campaign([alice], pairs=6)
    first = lease(made, alice)
    ahead = fetched(made, alice, first)
    judgements.submit(assignment=first, verdict=Verdict.FIRST_MUCH, key=uuid4())
    following = lease(made, alice)
    assert following.pk == ahead.pk
    assert following.shown_at is not None


def test_what_was_fetched_and_never_shown_goes_back_on_leaving_pausing_and_closing(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=6)
    first = lease(made, alice)
    fetched(made, alice, first)
    assert assignments.release_ahead(campaign=made, annotator=alice) == 1
    assert slots.unbalanced(made) == []
    fetched(made, alice, first)
    campaigns.pause(campaign=made, actor=None)
    first.refresh_from_db()
    assert (first.state, Assignment.objects.live().count()) == ("leased", 1)
    # A pause hands nothing out, and keeps what people have before them.
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    assert assignments.lease_ahead(campaign=made, annotator=alice, beside=first) is None
    assert assignments.why_none(made, bob) == "paused"
    assert not judgements.submit(assignment=first, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus
    campaigns.resume(campaign=made, actor=None)
    held = lease(made, bob)
    campaigns.close(campaign=made, actor=None)
    held.refresh_from_db()
    assert held.state == "released"
    assert assignments.why_none(made, bob) == "closed"
    assert slots.unbalanced(made) == []


def test_more_time_is_given_as_often_as_it_is_asked_for(alice: User) -> None:
    made = campaign([alice], pairs=2)
    held = lease(made, alice)
    for count in range(1, 13):
        Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() + timedelta(minutes=1))
        assert assignments.extend(assignment=held).extensions == count
        assert (held.expires_at - timezone.now()) > timedelta(minutes=29)


def test_a_lease_that_ran_out_comes_back_while_nobody_took_the_pair(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=2)
    held = lease(made, alice)
    time_passes(held)
    assignments.expire(campaign=made)
    assert assignments.extend(assignment=held).state == "leased"
    assert slots.unbalanced(made) == []
    time_passes(held)
    assert lease(made, bob).pair_id == held.pair_id
    with pytest.raises(LeaseLost, match="somebody else"):
        assignments.extend(assignment=held)
    assert slots.unbalanced(made) == []


def test_no_more_time_for_what_was_answered_given_back_closed_or_open_in_another_tab(alice: User) -> None:
    made = campaign([alice], pairs=5)
    answered = judge(made, alice).assignment
    with pytest.raises(LeaseLost):
        assignments.extend(assignment=answered)
    given_back = lease(made, alice)
    assignments.release(assignment=given_back)
    with pytest.raises(LeaseLost):
        assignments.extend(assignment=given_back)
    stale = lease(made, alice)
    time_passes(stale)
    assert lease(made, alice).pair_id == stale.pair_id
    with pytest.raises(LeaseLost):
        assignments.extend(assignment=stale)
    held = lease(made, alice)
    campaigns.close(campaign=made, actor=None)
    with pytest.raises(LeaseLost):
        assignments.extend(assignment=held)
    assert slots.unbalanced(made) == []


def test_a_pair_can_be_passed_on_to_one_colleague(alice: User, bob: User, carol: User, dan: User) -> None:
    made = campaign([alice, bob, carol], pairs=3)
    held = lease(made, alice)
    kept = assignments.reassign(assignment=held, to=bob, actor=dan)
    assert slots.unbalanced(made) == []
    assert AuditEntry.objects.get(verb="slot.reassigned").details["to"] == bob.pk
    others = {lease(made, carol).pair_id, lease(made, alice).pair_id}
    assert held.pair_id not in others
    assert lease(made, bob).slot_id == kept.pk
    # Alice's answer arrives after all: the place is Bob's.
    assert judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus
    assert slots.unbalanced(made) == []


def test_nobody_is_passed_a_pair_they_had_and_no_gold_or_answer_is_passed_on(alice: User, bob: User, eve: User) -> None:
    made = campaign([alice, bob], pairs=3, overlap=2)
    answered = judge(made, alice).assignment
    second = Slot.objects.get(pair=answered.pair, open=True)
    with pytest.raises(ReassignRefused, match="alice has had"):
        assignments.reassign(slot=second, to=alice, actor=None)
    with pytest.raises(ReassignRefused, match="answered"):
        assignments.reassign(slot=answered.slot, to=bob, actor=None)
    with pytest.raises(ReassignRefused, match="eve does not rate"):
        assignments.reassign(slot=second, to=eve, actor=None)
    gold = Slot.objects.create(pair=answered.pair, campaign=made, number=7, position=0, kind="gold", first_on_left=True, reserved_for=alice)
    with pytest.raises(ReassignRefused, match="one person"):
        assignments.reassign(slot=gold, to=bob, actor=None)
    held = lease(made, bob)
    with pytest.raises(ReassignRefused):
        assignments.reassign(assignment=held, to=alice, actor=None)
    held.refresh_from_db()
    assert held.state == "leased"
    assert slots.unbalanced(made) == []


def test_it_says_why_there_is_nothing(alice: User, bob: User, eve: User) -> None:
    made = campaign([alice, bob], pairs=1)
    assert assignments.why_none(made, eve) == "revoked"
    held = lease(made, alice)
    assert assignments.lease_next(campaign=made, annotator=bob) is None
    assert assignments.why_none(made, bob) == "busy"
    judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert assignments.why_none(made, bob) == "nothing_left"
    Campaign.objects.filter(pk=made.pk).update(deadline=date(2020, 1, 1))
    made.refresh_from_db()
    assert assignments.lease_next(campaign=made, annotator=bob) is None
    assert assignments.why_none(made, bob) == "deadline"


def test_the_last_day_still_counts(alice: User) -> None:
    made = campaign([alice], pairs=1)
    Campaign.objects.filter(pk=made.pk).update(deadline=timezone.localdate())
    assert lease(made, alice)


def test_what_is_left_is_exact_below_a_thousand_and_a_pair_counts_once(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=5, overlap=3)

    def seen(user: User) -> tuple[int, int, int]:
        row = Campaign.objects.for_queue(user).get(pk=made.pk)
        return row.answered, row.left, row.busy

    assert seen(alice) == (0, 5, 0)
    judge(made, alice)
    held = lease(made, alice)
    assert seen(alice) == (1, 4, 0)
    assert seen(bob) == (0, 5, 0)
    slots.withdraw(pairs=[made.pairs.get(position=4)])
    assert seen(alice) == (1, 3, 0)
    time_passes(held)
    assert seen(alice) == (1, 3, 0)


def test_progress_counts_votes_and_not_what_else_is_asked(alice: User) -> None:
    made = campaign([alice], pairs=4, overlap=2)
    first = judge(made, alice).assignment
    Slot.objects.create(pair=first.pair, campaign=made, number=7, position=0, kind="gold", first_on_left=True, reserved_for=alice)
    row = Campaign.objects.with_progress().get(pk=made.pk)
    assert (row.wanted, row.done) == (8, 1)
    slots.withdraw(pairs=[made.pairs.get(position=3)])
    assert Campaign.objects.with_progress().get(pk=made.pk).wanted == 6


def test_a_claim_is_two_statements_and_holding_on_is_one(alice: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    made = campaign([alice], pairs=6)
    judge(made, alice)
    with django_assert_num_queries(4):
        # Two of them open and close the savepoint that a test's transaction makes necessary.
        lease(made, alice)
    with django_assert_num_queries(1):
        lease(made, alice)


# The views behind the compare screen


def address(held: Assignment, verb: str) -> str:
    return f"/rate/{held.public_id}/{verb}"


def test_a_script_hears_how_much_time_there_is(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], pairs=2), alice)
    time_passes(held, minutes=29)
    response = as_alice.post(address(held, "extend/"), headers=SCRIPT)
    assert (response.status_code, response.content) == (204, b"")
    assert 1790 <= int(response.headers["X-Rounds-Expires"]) <= 1800
    held.refresh_from_db()
    assert held.extensions == 1


def test_without_script_a_button_gives_more_time_and_leads_back(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], pairs=2), alice)
    response = as_alice.post(address(held, "extend/"), follow=True)
    assert response.redirect_chain == [(address(held, ""), 302)]
    assert "You have more time" in response.content.decode()


def test_a_lease_that_is_gone_is_a_conflict_to_a_script_and_a_sentence_to_a_person(as_alice: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=2)
    held = lease(made, alice)
    time_passes(held)
    lease(made, bob)
    response = as_alice.post(address(held, "extend/"), headers=SCRIPT)
    assert response.status_code == 409
    assert "somebody else judges this pair now" in response.json()["detail"]
    assert "You can still answer" in as_alice.post(address(held, "extend/"), follow=True).content.decode()


def test_the_next_pair_comes_ahead_as_a_fragment_that_is_not_shown_yet(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=3)
    held = lease(made, alice)
    response = as_alice.post(address(held, "ahead/"), headers=SCRIPT)
    ahead = Assignment.objects.live().exclude(pk=held.pk).get()
    page = response.content.decode()
    assert response.status_code == 200
    assert page.lstrip().startswith("<form") or "<html" not in page
    assert f'action="/rate/{ahead.public_id}/"' in page
    assert ahead.shown_at is None
    shown = as_alice.post(address(ahead, "extend/?shown=1"), headers=SCRIPT)
    assert (shown.status_code, 1790 <= int(shown.headers["X-Rounds-Expires"]) <= 1800) == (204, True)
    ahead.refresh_from_db()
    assert (ahead.shown_at is not None, ahead.extensions) == (True, 0)


def test_nothing_comes_ahead_where_nothing_is_left_nor_past_the_end_of_a_session(as_alice: Client, alice: User) -> None:
    short = campaign([alice], pairs=1)
    assert as_alice.post(address(lease(short, alice), "ahead/"), headers=SCRIPT).status_code == 204
    made = campaign([alice], pairs=9)
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    sitting.planned_pairs = 2
    sitting.save()
    first = lease(made, alice)
    assert as_alice.post(address(first, "ahead/"), headers=SCRIPT).status_code == 200
    judgements.submit(assignment=first, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert as_alice.post(address(lease(made, alice), "ahead/"), headers=SCRIPT).status_code == 204


def test_leaving_gives_back_what_was_never_looked_at(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=3)
    held = lease(made, alice)
    as_alice.post(address(held, "ahead/"), headers=SCRIPT)
    response = as_alice.post(f"/rate/campaigns/{made.public_id}/leave/")
    assert response.status_code == 204
    assert list(Assignment.objects.live()) == [held]
    assert slots.unbalanced(made) == []


def test_leases_are_not_changed_by_looking(as_alice: Client, alice: User) -> None:
    held = lease(campaign([alice], pairs=2), alice)
    for verb in ("extend/", "ahead/"):
        assert as_alice.get(address(held, verb)).status_code == 405


def test_extending_and_leaving_take_few_queries(as_alice: Client, alice: User) -> None:
    made = campaign([alice], pairs=4)
    held = lease(made, alice)
    as_alice.post(address(held, "extend/"), headers=SCRIPT)
    for path in (address(held, "extend/"), f"/rate/campaigns/{made.public_id}/leave/"):
        with CaptureQueriesContext(connection) as asked:
            as_alice.post(path, headers=SCRIPT)
        assert len(asked) <= 14, [query["sql"] for query in asked]
