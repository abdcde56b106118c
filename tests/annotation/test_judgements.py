"""Leases and answers: nothing lost, nothing doubled, nothing overwritten."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import AuditEntry, User
from annotation import adjudications, assignments, campaigns, judgements, memberships, slots
from annotation.judgements import AlreadyAnswered, Answer, AnswerRefused, KeyReused, NothingToUndo, SideVerdict, Span
from annotation.models import Assignment, Campaign, Dispute, Draft, Edit, ErrorSpan, Judgement, Slot, Verdict
from annotation.views import rating
from tests.annotation.build import campaign, judge, lease, qualification

pytestmark = pytest.mark.django_db


def expire_now(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def books_balance(of: Campaign) -> None:
    """Every slot is open, withdrawn, or has exactly one holder."""
    assert slots.unbalanced(of) == []


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


def test_undo_is_ten_deep_and_never_holds_more_than_three_pairs(alice: User) -> None:
    made = campaign([alice], pairs=14)
    given = [judge(made, alice) for _ in range(12)]
    lease(made, alice)
    for last in reversed(given[2:]):
        reopened = judgements.undo_last(campaign=made, annotator=alice)
        assert reopened.pk == last.assignment_id
        assert lease(made, alice).pk == reopened.pk
        assert made.assignments.filter(state="leased").count() <= 3
        books_balance(made)
    with pytest.raises(NothingToUndo, match="The last 10 answers"):
        judgements.undo_last(campaign=made, annotator=alice)
    assert Judgement.objects.filter(undone_at__isnull=True).count() == 2
    # What went back to the campaign on the way comes to her again, until all is judged.
    while (held := assignments.lease_next(campaign=made, annotator=alice)) is not None:
        judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert Judgement.objects.votes().count() == 14
    books_balance(made)


def test_answering_again_after_an_undo_does_not_use_the_ten_up(alice: User) -> None:
    made = campaign([alice], pairs=3)
    judge(made, alice)
    for _ in range(15):
        reopened = judgements.undo_last(campaign=made, annotator=alice)
        judgements.submit(assignment=reopened, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert Judgement.objects.get(undone_at__isnull=True).revision == 16


def test_making_room_gives_back_what_was_never_looked_at_first(alice: User) -> None:
    made = campaign([alice])
    for _ in range(3):
        judge(made, alice)
    shown = lease(made, alice)
    ahead = assignments.lease_ahead(campaign=made, annotator=alice, beside=shown)
    assert ahead is not None
    for _ in range(2):
        judgements.undo_last(campaign=made, annotator=alice)
    ahead.refresh_from_db()
    shown.refresh_from_db()
    assert (ahead.state, shown.state) == ("released", "leased")
    judgements.undo_last(campaign=made, annotator=alice)
    shown.refresh_from_db()
    assert shown.state == "released"
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


def test_answering_takes_a_fixed_number_of_queries(alice: User, bob: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    made = campaign([alice, bob], pairs=60, repeat_share=0.5, seed=3)
    for _ in range(2):
        held = lease(made, alice)
        while _is_repeated(held):
            judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
            held = lease(made, alice)
        # As the page's view loads it.
        held = rating.assignments_of(alice).select_related("annotator").get(pk=held.pk)
        # Two are the savepoint of the test's own transaction.
        with django_assert_num_queries(2 + 6):
            judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
        for _ in range(20):
            judge(made, alice)


def _is_repeated(held: Assignment) -> bool:
    return slots._asked_again(held.campaign, held)


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


FULL = Answer(
    verdict=Verdict.FIRST_SLIGHTLY,
    reasons=("facts", "safer"),
    harm_second="major",
    harm_second_type="fabrication",
    hard="both_plausible",
    rationale="The second invents a dose.",
    spans=(Span("second", 0, 6, "fabrication", "major"), Span("first", 3, 3, "omission", "minor")),
    edited="first",
    edited_text="Answer 1: chest pain, no infarction, home.",
    active_ms=31_000,
)


def test_everything_an_answer_says_is_stored_by_completion(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    Draft.objects.create(assignment=held, answer={"verdict": "a_much"})
    stored = judgements.submit(assignment=held, answer=FULL, key=uuid4())
    assert (stored.reasons, stored.harm_second, stored.harm_second_type, stored.harm_first) == (
        ["facts", "safer"], "major", "fabrication", "",
    )  # fmt: skip
    assert (stored.hard, stored.rationale, stored.active_ms) == ("both_plausible", "The second invents a dose.", 31_000)
    spans = {(span.completion_id, span.start, span.end, span.kind, span.severity) for span in ErrorSpan.objects.all()}
    assert spans == {(held.pair.second_id, 0, 6, "fabrication", "major"), (held.pair.first_id, 3, 3, "omission", "minor")}
    edit = Edit.objects.get(judgement=stored)
    assert (edit.completion_id, edit.text) == (held.pair.first_id, "Answer 1: chest pain, no infarction, home.")
    # "1 to case n:" became "1:", and ", home" was put in.
    assert edit.changed_words == 5
    assert not Draft.objects.exists()


@pytest.mark.parametrize("first_on_left", [True, False])
def test_a_stored_answer_reads_back_as_it_was_given(alice: User, first_on_left: bool) -> None:
    held = lease(campaign([alice]), alice)
    Assignment.objects.filter(pk=held.pk).update(first_on_left=first_on_left)
    said = {
        "verdict": "a_slightly", "cannot_reason": "", "reasons": ["concise"], "axes": {}, "harm_a": "", "harm_a_type": "",
        "harm_b": "minor", "harm_b_type": "omission", "hard": "", "rationale": "B leaves the dose out.", "edited": "Better.",
        "edited_side": "a", "active_ms": 5,
        "spans": [{"side": "b", "start": 1, "end": 1, "kind": "omission", "severity": "minor"}],
    }  # fmt: skip
    held.refresh_from_db()
    stored = judgements.submit(assignment=held, answer=judgements.from_sides(held, said), key=uuid4())
    assert judgements.to_sides(held, Judgement.objects.get(pk=stored.pk)) == said


def test_a_key_sent_again_must_say_the_same_in_every_part(alice: User) -> None:
    held, key = lease(campaign([alice]), alice), uuid4()
    first = judgements.submit(assignment=held, answer=FULL, key=key)
    assert judgements.submit(assignment=held, answer=replace(FULL, active_ms=99_000), key=key) == first
    for other in (
        {"reasons": ("facts",)}, {"harm_second": "minor"}, {"rationale": ""}, {"spans": FULL.spans[:1]}, {"edited_text": "Other."},
        {"edited": "", "edited_text": ""}, {"hard": ""},
    ):  # fmt: skip
        with pytest.raises(KeyReused):
            judgements.submit(assignment=held, answer=replace(FULL, **other), key=key)
    assert Judgement.objects.count() == 1


def test_a_key_of_another_pair_is_refused(alice: User) -> None:
    made, key = campaign([alice]), uuid4()
    judgements.submit(assignment=lease(made, alice), verdict=Verdict.FIRST_MUCH, key=key)
    with pytest.raises(KeyReused):
        judgements.submit(assignment=lease(made, alice), verdict=Verdict.FIRST_MUCH, key=key)


def test_an_edit_that_changes_nothing_is_not_kept(alice: User) -> None:
    held = lease(campaign([alice]), alice)
    unchanged = replace(FULL, edited="second", edited_text=held.pair.second.text)
    judgements.submit(assignment=held, answer=unchanged, key=(key := uuid4()))
    assert not Edit.objects.exists()
    assert judgements.submit(assignment=held, answer=unchanged, key=key).revision == 1


def test_what_the_campaign_asks_for_is_required_and_nothing_is_stored_without(alice: User) -> None:
    made = campaign([alice], rationale_when=["flag"])
    held = lease(made, alice)
    with pytest.raises(AnswerRefused) as refused:
        judgements.submit(assignment=held, answer=replace(FULL, rationale="", reasons=("kindness",)), key=uuid4())
    assert set(refused.value.faults) == {"rationale", "reasons"}
    assert not Judgement.objects.exists()
    held.refresh_from_db()
    assert held.state == "leased"
    assert judgements.submit(assignment=held, answer=FULL, key=uuid4()).revision == 1


def test_a_major_flag_reaches_the_lead_and_undoing_it_takes_it_back(alice: User) -> None:
    made = campaign([alice])
    judgements.submit(assignment=lease(made, alice), answer=FULL, key=uuid4())
    assert Dispute.objects.get().state == "open"
    judgements.undo_last(campaign=made, annotator=alice)
    assert Dispute.objects.get().state == "moot"


def test_an_amendment_carries_marks_and_edit_of_its_own(alice: User) -> None:
    made = campaign([alice])
    first = judgements.submit(assignment=lease(made, alice), answer=FULL, key=uuid4())
    key = uuid4()
    second = judgements.amend(judgement=first, answer=replace(FULL, spans=(), edited="", edited_text=""), key=key)
    assert (second.revision, second.spans.count(), first.spans.count()) == (2, 0, 2)
    assert Edit.objects.get().judgement == first
    assert judgements.amend(judgement=first, answer=replace(FULL, spans=(), edited="", edited_text=""), key=key) == second


def test_an_answer_taken_back_in_another_tab_cannot_be_amended(alice: User) -> None:
    made = campaign([alice])
    first = judge(made, alice)
    judgements.undo_last(campaign=made, annotator=alice)
    with pytest.raises(AlreadyAnswered, match="taken back"):
        judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())


def test_what_a_lead_has_ruled_on_stands(alice: User, carol: User) -> None:
    made = campaign([alice])
    first = judgements.submit(assignment=lease(made, alice), answer=FULL, key=uuid4())
    dispute = Dispute.objects.get()
    ruling = adjudications.Ruling(outcome="first", rationale="As flagged.")
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=ruling, votes_version=dispute.votes_version, key=uuid4())
    with pytest.raises(NothingToUndo, match="ruled"):
        judgements.undo_last(campaign=made, annotator=alice)
    with pytest.raises(AlreadyAnswered, match="ruled"):
        judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())


def test_in_a_qualification_the_first_answer_stands(alice: User) -> None:
    made = qualification([alice])
    first = judge(made, alice)
    with pytest.raises(NothingToUndo, match="first answer counts"):
        judgements.undo_last(campaign=made, annotator=alice)
    with pytest.raises(AlreadyAnswered, match="first answer counts"):
        judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())


def test_answering_a_whole_qualification_passes_it(alice: User) -> None:
    made = qualification([alice], pairs=4)
    for _ in range(4):
        judge(made, alice, Verdict.FIRST_MUCH)
    assert made.memberships.get(user=alice).qualified_at is not None


def test_a_pause_keeps_what_people_have_before_them(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    campaigns.pause(campaign=made, actor=None)
    held.refresh_from_db()
    assert judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus is False
    with pytest.raises(NothingToUndo, match="not open"):
        judgements.undo_last(campaign=made, annotator=alice)
    books_balance(made)


def test_an_answer_of_somebody_taken_off_is_kept_as_surplus(alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    memberships.revoke(campaign=made, user=alice, actor=None)
    kept = judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert kept.surplus is True
    assert Judgement.objects.votes().count() == 0
    books_balance(made)


def test_undoing_an_answer_withdraws_its_repeat_and_answering_again_asks_for_it_again(alice: User) -> None:
    made = campaign([alice], repeat_share=0.5, seed=5, pairs=12)
    held = lease(made, alice)
    while not _is_repeated(held):
        judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
        held = lease(made, alice)
    repeats = Slot.objects.filter(kind="repeat", pair=held.pair)
    judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert [slot.open for slot in repeats] == [True]
    judgements.undo_last(campaign=made, annotator=alice)
    assert [slot.open for slot in repeats.all()] == [False]
    judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert repeats.filter(open=True).count() == 1
    assert slots.unbalanced(made) == []


def test_a_repeat_is_answered_and_taken_back_like_any_other(alice: User) -> None:
    made = campaign([alice], repeat_share=0.5, seed=5, pairs=12)
    while assignments.lease_next(campaign=made, annotator=alice) is not None:
        judge(made, alice)
    Slot.objects.filter(kind="repeat").update(available_from=timezone.now() - timedelta(hours=1))
    again = lease(made, alice)
    assert (again.repeat, again.first_on_left) == (1, not Assignment.objects.get(pair=again.pair, repeat=0).first_on_left)
    judgements.submit(assignment=again, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert Judgement.objects.votes().count() == 12
    assert judgements.undo_last(campaign=made, annotator=alice).pk == again.pk
    assert Slot.objects.filter(kind="repeat", withdrawn_at__isnull=False).count() == 0
    assert slots.unbalanced(made) == []


def test_a_draft_that_a_late_answer_leaves_is_gone_too(alice: User) -> None:
    made = campaign([alice])
    late = lease(made, alice)
    Draft.objects.create(assignment=late, answer={})
    expire_now(late)
    judgements.submit(assignment=late, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert not Draft.objects.exists()
