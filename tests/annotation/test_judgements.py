"""Leases and answers: nothing lost, nothing doubled, nothing overwritten."""

import contextlib
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import AuditEntry, User
from annotation import assignments, campaigns, judgements
from annotation.judgements import AlreadyAnswered, KeyReused, NothingToUndo, SideVerdict
from annotation.models import Assignment, Campaign, Judgement, Slot, Verdict
from tests.annotation.build import campaign, judge, lease

pytestmark = pytest.mark.django_db


def expire_now(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def books_balance(of: Campaign) -> None:
    """Every slot is open, or has exactly one holder."""
    for slot in Slot.objects.filter(campaign=of):
        holders = slot.assignments.filter(state__in=["leased", "submitted"]).count()
        assert holders == (0 if slot.open else 1), slot


def test_a_lease_is_renewed_until_it_is_answered(alice: User) -> None:
    made = campaign([alice])
    first = lease(made, alice)
    Assignment.objects.filter(pk=first.pk).update(expires_at=F("expires_at") - timedelta(minutes=20))
    again = lease(made, alice)
    assert again.pk == first.pk
    assert again.expires_at >= first.expires_at
    judgements.submit(assignment=first, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert lease(made, alice).pk != first.pk
    books_balance(made)


def test_nobody_judges_a_pair_twice_and_the_queue_ends(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=5, overlap=2)
    for annotator in (alice, bob):
        for _ in range(5):
            judge(made, annotator)
        assert assignments.lease_next(campaign=made, annotator=annotator) is None
    assert made.assignments.filter(state="submitted").count() == 10
    assert made.assignments.values("pair", "annotator").distinct().count() == 10
    books_balance(made)


def test_two_annotators_of_one_pair_see_it_with_sides_exchanged(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    assert lease(made, alice).first_on_left is not lease(made, bob).first_on_left


def test_only_members_of_an_open_campaign_get_a_lease(alice: User, eve: User) -> None:
    made = campaign([alice], opened=False)
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    campaigns.open(campaign=made, actor=None)
    assert assignments.lease_next(campaign=made, annotator=eve) is None


def test_a_stale_lease_goes_to_someone_else(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    stale = lease(made, alice)
    assert assignments.lease_next(campaign=made, annotator=bob) is None
    expire_now(stale)
    taken = lease(made, bob)
    assert taken.slot_id == stale.slot_id
    stale.refresh_from_db()
    assert stale.state == "expired"
    books_balance(made)


def test_a_late_answer_holds_its_slot_while_nobody_else_took_it(alice: User) -> None:
    made = campaign([alice], pairs=1)
    late = lease(made, alice)
    expire_now(late)
    assert judgements.submit(assignment=late, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus is False
    books_balance(made)


def test_a_late_answer_takes_a_free_slot(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    late = lease(made, alice)
    expire_now(late)
    judge(made, bob)
    late.refresh_from_db()
    assert late.state == "expired"
    assert judgements.submit(assignment=late, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus is False
    assert made.slots.filter(open=True).count() == 0
    books_balance(made)


def test_a_late_answer_without_a_free_slot_is_kept_as_surplus(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    late = lease(made, alice)
    expire_now(late)
    judge(made, bob)
    kept = judgements.submit(assignment=late, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert kept.surplus is True
    late.refresh_from_db()
    assert late.state == "surplus"
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    books_balance(made)


def test_a_late_answer_replaces_the_same_persons_second_lease(alice: User) -> None:
    made = campaign([alice], pairs=1)
    late = lease(made, alice)
    expire_now(late)
    second = lease(made, alice)
    assert second.pk != late.pk
    assert judgements.submit(assignment=late, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus is False
    second.refresh_from_db()
    assert second.state == "released"
    books_balance(made)


def test_a_late_answer_beside_the_same_persons_second_answer_is_kept_too(alice: User) -> None:
    made = campaign([alice], pairs=1)
    late = lease(made, alice)
    expire_now(late)
    judge(made, alice, Verdict.SECOND_MUCH)
    kept = judgements.submit(assignment=late, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert kept.surplus is True
    assert Judgement.objects.count() == 2
    books_balance(made)


def test_an_answer_after_closing_is_kept_as_surplus(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    campaigns.close(campaign=made, actor=None)
    assert judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus is True
    books_balance(made)


def test_a_key_sent_again_gives_the_same_answer(alice: User) -> None:
    made = campaign([alice])
    held, key = lease(made, alice), uuid4()
    answers = {judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=key).pk for _ in range(3)}
    assert len(answers) == Judgement.objects.count() == 1
    with pytest.raises(KeyReused):
        judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=key)


def test_a_second_tab_does_not_overwrite(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    first = judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    with pytest.raises(AlreadyAnswered) as error:
        judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert error.value.judgement.pk == first.pk
    assert Judgement.objects.get().verdict == "first_much"


@pytest.mark.parametrize("first_on_left", [True, False])
def test_what_is_pressed_by_side_is_stored_by_completion(first_on_left: bool) -> None:
    shown = Assignment(first_on_left=first_on_left)
    left, right = ("first", "second") if first_on_left else ("second", "first")
    assert judgements.by_side(shown, "a_much") == f"{left}_much"
    assert judgements.by_side(shown, "a_slightly") == f"{left}_slightly"
    assert judgements.by_side(shown, "b_slightly") == f"{right}_slightly"
    assert judgements.by_side(shown, "b_much") == f"{right}_much"
    for same in ("both_acceptable", "both_unacceptable", "cannot_judge"):
        assert judgements.by_side(shown, same) == same
    for side in SideVerdict.values:
        assert judgements.seen_from(shown, judgements.by_side(shown, side)) == side


def test_cannot_judge_needs_a_reason_and_nothing_else_has_one(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    for verdict, reason in ((Verdict.CANNOT_JUDGE, ""), (Verdict.FIRST_MUCH, "outside_field"), (Verdict.CANNOT_JUDGE, "tired")):
        with pytest.raises(ValueError, match="reason"):
            judgements.submit(assignment=held, verdict=verdict, key=uuid4(), cannot_reason=reason)
    assert judge(made, alice, Verdict.CANNOT_JUDGE, "defective_input").cannot_reason == "defective_input"


def test_undo_takes_the_last_answer_back_and_reopens_its_pair(alice: User) -> None:
    made = campaign([alice])
    judge(made, alice)
    second = judge(made, alice)
    upcoming = lease(made, alice)
    reopened = judgements.undo_last(campaign=made, annotator=alice)
    assert reopened.pk == second.assignment_id
    assert (reopened.state, reopened.lease_number) == ("leased", 2)
    assert lease(made, alice).pk == reopened.pk
    again = judgements.submit(assignment=reopened, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert again.revision == 2
    assert lease(made, alice).pk == upcoming.pk
    assert list(Judgement.objects.current().filter(assignment=reopened)) == [again]
    assert Judgement.objects.filter(assignment=reopened).count() == 2
    assert AuditEntry.objects.filter(verb="judgement.undone").count() == 1
    books_balance(made)


def test_undo_goes_back_until_three_pairs_are_open(alice: User) -> None:
    made = campaign([alice])
    for _ in range(4):
        judge(made, alice)
    for _ in range(3):
        judgements.undo_last(campaign=made, annotator=alice)
    with pytest.raises(NothingToUndo, match="3 pairs are open"):
        judgements.undo_last(campaign=made, annotator=alice)
    assert made.assignments.filter(state="leased").count() == 3
    books_balance(made)


def test_there_is_nothing_to_undo_of_others_or_after_closing(alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    judge(made, alice)
    with pytest.raises(NothingToUndo, match="no answer"):
        judgements.undo_last(campaign=made, annotator=bob)
    campaigns.close(campaign=made, actor=None)
    with pytest.raises(NothingToUndo, match="not open"):
        judgements.undo_last(campaign=made, annotator=alice)


def test_an_amendment_is_a_new_revision_and_can_be_undone(alice: User) -> None:
    made = campaign([alice])
    first = judge(made, alice, Verdict.FIRST_MUCH)
    second = judgements.amend(judgement=first, verdict=Verdict.FIRST_SLIGHTLY, key=uuid4())
    assert list(Judgement.objects.current()) == [second]
    with pytest.raises(AlreadyAnswered):
        judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert judgements.undo_last(campaign=made, annotator=alice).state == "submitted"
    assert list(Judgement.objects.current()) == [first]


def test_the_database_refuses_to_change_or_delete_an_answer(alice: User) -> None:
    judge(campaign([alice]), alice)
    for change in (lambda: Judgement.objects.update(verdict="second_much"), lambda: Judgement.objects.all().delete()):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_the_database_refuses_a_second_holder_and_a_fourth_lease(alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    values = {"campaign": made, "pair": held.pair, "first_on_left": True, "expires_at": held.expires_at}
    with pytest.raises(IntegrityError, match="one_holder_per_slot"), transaction.atomic():
        Assignment.objects.create(slot=held.slot, annotator=bob, **values)
    other = made.slots.filter(open=True).first()
    assert other is not None
    values["pair"] = other.pair
    with pytest.raises(IntegrityError, match="at_most_three_open_leases"), transaction.atomic():
        Assignment.objects.create(slot=other, annotator=alice, lease_number=4, **values)


def test_release_gives_the_pair_back(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    held = lease(made, alice)
    assert assignments.release(assignment=held)
    assert not assignments.release(assignment=held)
    assert lease(made, bob).pair_id == held.pair_id
    books_balance(made)


def test_leasing_and_answering_take_a_fixed_number_of_queries(
    alice: User, bob: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    made = campaign([alice, bob], pairs=60)
    with django_assert_num_queries(7):
        held = assignments.lease_next(campaign=made, annotator=alice)
    assert held is not None
    with django_assert_num_queries(8):
        judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    for _ in range(20):
        judge(made, alice)
    with django_assert_num_queries(7):
        assert assignments.lease_next(campaign=made, annotator=alice) is not None


def test_audit_entries_hold_no_verdict_and_no_text(alice: User) -> None:
    judge(campaign([alice]), alice)
    entry = AuditEntry.objects.get(verb="judgement.submitted")
    assert set(entry.details) == {"assignment", "surplus"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_two_people_do_in_whatever_order_the_books_balance(alice: User, bob: User, seed: int) -> None:
    draw = random.Random(seed)
    made = campaign([alice, bob], pairs=6, overlap=2)
    given = 0
    for _ in range(70):
        person = draw.choice([alice, bob])
        action = draw.choice(["lease", "answer", "answer", "late answer", "expire", "undo", "amend", "release"])
        mine = list(Assignment.objects.filter(campaign=made, annotator=person))
        unanswered = [held for held in mine if held.state in ("leased", "expired", "released")]
        if action == "lease":
            assignments.lease_next(campaign=made, annotator=person)
        elif action in ("answer", "late answer"):
            held = (
                draw.choice(unanswered)
                if unanswered and action == "late answer"
                else assignments.lease_next(campaign=made, annotator=person)
            )
            if held is not None:
                judgements.submit(assignment=held, verdict=Verdict(draw.choice(Verdict.values[:6])), key=uuid4())
                given += 1
        elif action == "expire" and mine:
            Assignment.objects.filter(pk=draw.choice(mine).pk, state="leased").update(expires_at=timezone.now() - timedelta(seconds=1))
        elif action == "release" and mine:
            assignments.release(assignment=draw.choice(mine))
        elif action == "undo":
            with contextlib.suppress(NothingToUndo):
                judgements.undo_last(campaign=made, annotator=person)
        elif action == "amend" and (standing := Judgement.objects.undoable(made, person).first()):
            judgements.amend(judgement=standing, verdict=Verdict.BOTH_ACCEPTABLE, key=uuid4())
            given += 1
        books_balance(made)
        # Nothing given was ever lost.
        assert Judgement.objects.filter(assignment__campaign=made).count() == given
    assert given > 10
