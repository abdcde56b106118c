"""Gold, second readers and repeats look like any other pair, and the books balance whatever is added or withdrawn."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import User
from annotation import assignments, judgements, memberships, sittings, slots
from annotation.models import Assignment, Campaign, Gold, Pair, Slot, SlotKind, Verdict
from tests.annotation.build import campaign, judge, lease

pytestmark = pytest.mark.django_db


def with_gold(made: Campaign, count: int) -> list[Pair]:
    """The last `count` pairs become gold: their votes are nobody's any more."""
    pairs = list(made.pairs.order_by("-position")[:count])
    Gold.objects.bulk_create([Gold(pair=pair, accepts=["first_much"], origin="written") for pair in pairs])
    Slot.objects.filter(pair__in=pairs).delete()
    return pairs


def repeating(*people: User, share: float = 0.5, **options: object) -> Campaign:
    made = campaign(people, opened=False, **options)
    Campaign.objects.filter(pk=made.pk).update(repeat_share=share, repeat_after_hours=20)
    from annotation import campaigns

    return campaigns.open(campaign=made, actor=None)


def a_day_passes(made: Campaign) -> None:
    made.slots.filter(available_from__isnull=False).update(available_from=F("available_from") - timedelta(hours=21))


def everything(made: Campaign, annotator: User) -> list[Assignment]:
    """Judge until nothing is left; the assignments in the order they came."""
    seen = []
    while held := assignments.lease_next(campaign=made, annotator=annotator):
        judgements.submit(assignment=held, verdict=Verdict.FIRST_SLIGHTLY, key=uuid4())
        seen.append(held)
    return seen


def test_gold_is_dealt_to_each_once_and_spread_over_what_is_left(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=30)
    with_gold(made, 5)
    assert slots.deal_gold(campaign=made, user=alice) == 5
    assert slots.deal_gold(campaign=made, user=alice) == 0
    assert slots.deal_gold(campaign=made, user=bob) == 5
    dealt = Slot.objects.filter(campaign=made, kind=SlotKind.GOLD)
    assert dealt.filter(reserved_for=alice).count() == 5
    last = made.slots.filter(kind=SlotKind.VOTE).order_by("-position")[0].position
    assert all(0 <= position <= last for position in dealt.values_list("position", flat=True))
    assert len(set(dealt.values_list("position", flat=True))) > 5
    assert slots.unbalanced(made) == []


def test_each_is_asked_their_own_gold_among_the_rest_and_nobody_elses(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=30)
    gold = {pair.pk for pair in with_gold(made, 5)}
    for person in (alice, bob):
        slots.deal_gold(campaign=made, user=person)
    seen = everything(made, alice)
    assert len(seen) == 25 + 5
    places = [place for place, held in enumerate(seen) if held.pair_id in gold]
    assert len(places) == 5
    # Not all in one row at the beginning or the end: they come where the draw put them.
    assert places != list(range(5))
    assert places != list(range(25, 30))
    assert {held.pair_id for held in everything(made, bob)} == gold
    assert slots.unbalanced(made) == []


def test_gold_is_asked_in_order_in_a_qualification_and_swapped_at_the_second_try(alice: User) -> None:
    made = campaign([alice], pairs=6, purpose="qualify", opened=False)
    gold = with_gold(made, 6)
    Campaign.objects.filter(pk=made.pk).update(state="open")
    made.refresh_from_db()
    assert slots.deal_gold(campaign=made, user=alice) == 6
    order = [pair.pk for pair in sorted(gold, key=lambda pair: pair.position)]
    first = []
    while held := assignments.lease_next(campaign=made, annotator=alice):
        Assignment.objects.filter(pk=held.pk).update(state="submitted", submitted_at=Now())
        first.append(held)
    assert [held.pair_id for held in first] == order
    assert slots.deal_gold(campaign=made, user=alice, repeat=1) == 6
    second = lease(made, alice)
    assert (second.pair_id, second.repeat, second.first_on_left) == (order[0], 1, not first[0].first_on_left)


def test_a_repeat_comes_on_a_later_day_with_its_sides_swapped(alice: User) -> None:
    made = repeating(alice, pairs=12)
    firsts = {held.pair_id: held for held in everything(made, alice)}
    waiting = made.slots.filter(kind=SlotKind.REPEAT)
    assert 0 < waiting.count() < 12
    assert assignments.why_none(made, alice) == "busy"
    a_day_passes(made)
    again = everything(made, alice)
    assert {held.pair_id for held in again} == set(waiting.values_list("pair", flat=True))
    for held in again:
        assert held.repeat == 1
        assert held.first_on_left is not firsts[held.pair_id].first_on_left
    assert assignments.why_none(made, alice) == "nothing_left"
    assert slots.unbalanced(made) == []


def test_which_answers_are_repeated_follows_from_the_seed(alice: User, bob: User) -> None:
    made = repeating(alice, bob, pairs=60, overlap=2, share=0.25)
    for person in (alice, bob):
        everything(made, person)
    mine, theirs = (set(made.slots.filter(kind="repeat", reserved_for=person).values_list("pair", flat=True)) for person in (alice, bob))
    assert mine != theirs
    # A quarter of 120, give or take four standard deviations.
    assert 11 <= len(mine) + len(theirs) <= 49


def test_a_repeat_never_comes_in_the_sitting_of_its_first_answer(alice: User) -> None:
    made = repeating(alice, pairs=12)
    sitting = sittings.start(campaign=made, annotator=alice, minutes=30)
    everything(made, alice)
    a_day_passes(made)
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    sittings.end(sitting=sitting)
    assert lease(made, alice).repeat == 1


def test_a_repeat_is_moot_when_its_answer_is_taken_back_and_returns_with_the_next_answer(alice: User) -> None:
    made = repeating(alice, pairs=12)
    held = next(held for _ in range(12) if (held := judge(made, alice).assignment) and made.slots.filter(kind="repeat").exists())
    assert judgements.undo_last(campaign=made, annotator=alice).pk == held.pk
    assert made.slots.get(kind="repeat").withdrawn_at is not None
    assert slots.unbalanced(made) == []
    judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert made.slots.filter(kind="repeat", withdrawn_at__isnull=True).count() == 1
    assert slots.unbalanced(made) == []


def test_a_second_reader_is_asked_once_where_the_campaign_stands(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=20)
    flagged = judge(made, alice).assignment
    for _ in range(5):
        judge(made, alice)
    added = slots.add_review(pair=flagged.pair)
    assert added is not None
    assert (added.kind, added.open, added.first_on_left) == (SlotKind.REVIEW, True, not flagged.first_on_left)
    assert slots.add_review(pair=flagged.pair) is None
    assert Slot.objects.filter(pair=flagged.pair).count() == 2
    # Bob meets it at once, though its pair stood first; Alice, who judged it, never.
    assert lease(made, bob).pair_id in {flagged.pair_id, made.slots.get(position=6, kind="vote").pair_id}
    assert [held.pair_id for held in everything(made, bob)].count(flagged.pair_id) == 1
    assert slots.unbalanced(made) == []


def test_a_pair_with_two_votes_or_in_a_closed_campaign_gets_no_further_reader(alice: User, bob: User) -> None:
    double = campaign([alice, bob], pairs=2, overlap=2)
    assert slots.add_review(pair=double.pairs.first()) is None
    single = campaign([alice], pairs=2)
    pair = judge(single, alice).assignment.pair
    Campaign.objects.filter(pk=single.pk).update(state="closed")
    assert slots.add_review(pair=pair) is None


def test_withdrawn_pairs_are_handed_to_nobody_and_what_was_answered_stays(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=3, overlap=2)
    answered = judge(made, alice).assignment
    held = lease(made, alice)
    assert slots.withdraw(pairs=[answered.pair, held.pair]) == 3
    held.refresh_from_db()
    assert held.state == "released"
    assert slots.unbalanced(made) == []
    left = {one.pair_id for one in everything(made, bob)}
    assert left == {made.pairs.get(position=2).pk}
    # The answer under way when it was withdrawn is kept, and holds nothing.
    assert judgements.submit(assignment=held, verdict=Verdict.BOTH_UNACCEPTABLE, key=uuid4(), rationale="Garbled.").surplus
    assert slots.unbalanced(made) == []


def test_a_slot_that_two_states_claim_or_none_is_unbalanced(alice: User) -> None:
    made = campaign([alice], pairs=3)
    held = lease(made, alice)
    assert slots.unbalanced(made) == []
    Assignment.objects.filter(pk=held.pk).update(state="released")
    assert [row["slot"] for row in slots.unbalanced(made)] == [held.slot_id]
    Slot.objects.filter(pk=held.slot_id).update(open=True)
    assert slots.unbalanced(made) == []
    Assignment.objects.filter(pk=held.pk).update(state="submitted")
    assert slots.unbalanced(made) == [{"slot": held.slot_id, "kind": "vote", "open": True, "withdrawn": False, "holders": 1}]


def test_a_member_is_dealt_gold_on_joining_an_open_campaign(alice: User, bob: User) -> None:
    made = campaign([alice], pairs=10)
    with_gold(made, 2)
    memberships.add(campaign=made, users=[bob], actor=None)
    assert made.slots.filter(kind="gold", reserved_for=bob).count() == 2
