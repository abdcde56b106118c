"""What becomes a dispute, what does not, and what becomes of it when the votes change."""

import threading
import time
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry, User
from annotation import campaigns, disputes, golds, judgements
from annotation.models import Campaign, Dispute, DisputeState, Judgement, Pair, Slot, SlotKind, Verdict
from tests.annotation.build import campaign, lease
from tests.cast import person

pytestmark = pytest.mark.django_db


def answer(made: Campaign, rater: User, verdict: Verdict, **said: str) -> Judgement:
    """Lease the next pair and answer it; `harm_first="major"` flags the first completion."""
    for side in ("first", "second"):
        if said.get(f"harm_{side}"):
            said.setdefault(f"harm_{side}_type", "unsafe_advice")
    return judgements.submit(assignment=lease(made, rater), verdict=verdict, key=uuid4(), **said)


@pytest.fixture
def doubled(alice: User, bob: User) -> Campaign:
    """One pair, to be judged twice."""
    return campaign([alice, bob], pairs=1, overlap=2)


def state_of(made: Campaign) -> tuple[str, str, int] | None:
    found = Dispute.objects.filter(campaign=made).first()
    return found and (str(found.kind), str(found.state), found.severity)


@pytest.mark.parametrize(
    ("first", "second", "disputed"),
    [
        (Verdict.FIRST_MUCH, Verdict.SECOND_MUCH, True),
        (Verdict.FIRST_MUCH, Verdict.SECOND_SLIGHTLY, True),
        (Verdict.FIRST_SLIGHTLY, Verdict.SECOND_MUCH, True),
        (Verdict.FIRST_SLIGHTLY, Verdict.SECOND_SLIGHTLY, False),
        (Verdict.FIRST_MUCH, Verdict.FIRST_SLIGHTLY, False),
        (Verdict.FIRST_MUCH, Verdict.BOTH_ACCEPTABLE, False),
        (Verdict.FIRST_MUCH, Verdict.BOTH_UNACCEPTABLE, False),
    ],
)
def test_opposed_votes_are_a_dispute_when_one_of_them_is_strong(
    doubled: Campaign, alice: User, bob: User, first: Verdict, second: Verdict, disputed: bool
) -> None:
    answer(doubled, alice, first)
    assert state_of(doubled) is None
    answer(doubled, bob, second)
    assert state_of(doubled) == (("opposed", "open", 0) if disputed else None)


@pytest.mark.parametrize(("harm", "severity"), [("minor", None), ("major", 2), ("life_threatening", 3)])
def test_one_flag_of_major_harm_is_enough(doubled: Campaign, alice: User, harm: str, severity: int | None) -> None:
    answer(doubled, alice, Verdict.FIRST_SLIGHTLY, harm_second=harm)
    assert state_of(doubled) == (None if severity is None else ("harm", "open", severity))


def test_a_flag_on_a_pair_with_one_vote_gets_a_second_reader(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1)
    answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    review = Slot.objects.get(kind=SlotKind.REVIEW)
    assert review.open
    assert review.pair.dispute.kind == "harm"
    # Bob reads it too; whatever he says, nobody is asked a third time.
    answer(made, bob, Verdict.FIRST_MUCH, harm_first="life_threatening")
    assert Slot.objects.filter(kind=SlotKind.REVIEW).count() == 1
    assert state_of(made) == ("harm", "open", 3)


def test_two_votes_are_readers_enough(doubled: Campaign, alice: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH, harm_first="major")
    assert not Slot.objects.filter(kind=SlotKind.REVIEW).exists()


def test_an_answer_taken_back_makes_the_dispute_moot_and_given_again_opens_it(doubled: Campaign, alice: User, bob: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH)
    answer(doubled, bob, Verdict.SECOND_MUCH)
    before = Dispute.objects.get()
    judgements.undo_last(campaign=doubled, annotator=bob)
    after = Dispute.objects.get()
    assert (after.state, after.votes_version > before.votes_version) == (DisputeState.MOOT, True)
    answer(doubled, bob, Verdict.SECOND_SLIGHTLY)
    again = Dispute.objects.get()
    assert (again.state, again.votes_version > after.votes_version) == (DisputeState.OPEN, True)


def test_an_amended_flag_counts_as_it_stands_now(doubled: Campaign, alice: User) -> None:
    given = answer(doubled, alice, Verdict.FIRST_MUCH, harm_first="major")
    judgements.amend(judgement=given, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert state_of(doubled) == ("harm", "moot", 0)


def test_a_deferred_dispute_comes_back_when_it_gets_graver(doubled: Campaign, alice: User, bob: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH, harm_first="major")
    Dispute.objects.update(state=DisputeState.DEFERRED)
    answer(doubled, bob, Verdict.FIRST_MUCH, harm_first="major")
    assert state_of(doubled) == ("harm", "deferred", 2)
    last = Judgement.objects.order_by("-pk")[0]
    judgements.amend(judgement=last, verdict=Verdict.FIRST_MUCH, harm_first="life_threatening", harm_first_type="wrong_dose", key=uuid4())
    assert state_of(doubled) == ("harm", "open", 3)


def test_considering_again_what_did_not_change_changes_nothing(doubled: Campaign, alice: User, bob: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH)
    answer(doubled, bob, Verdict.SECOND_MUCH)
    Dispute.objects.update(state=DisputeState.RULED)
    before = Dispute.objects.values().get()
    disputes.consider(pair=Pair.objects.get())
    assert Dispute.objects.values().get() == before


def test_late_and_repeated_answers_flag_but_do_not_vote(doubled: Campaign, alice: User, bob: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH)
    given = answer(doubled, bob, Verdict.SECOND_MUCH)
    Judgement.objects.filter(pk=given.pk).update(surplus=True)
    assert disputes.find(Judgement.objects.select_related("assignment__slot")).kind is None
    Judgement.objects.filter(pk=given.pk).update(surplus=False)
    assert disputes.find(Judgement.objects.select_related("assignment__slot")).kind == "opposed"
    third = person("third", "annotator")
    made = campaign([third], pairs=1)
    flagged = answer(made, third, Verdict.FIRST_MUCH, harm_first="major")
    flagged.assignment.repeat = 1
    flagged.surplus = True
    assert disputes.find([flagged]).kind == "harm"


def test_verdicts_on_a_pair_whose_answer_is_known_make_no_dispute_but_harm_does(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, opened=False)
    golds.mark(pair=Pair.objects.get(), accepts=["first_much"], explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    answer(made, alice, Verdict.FIRST_MUCH)
    given = answer(made, bob, Verdict.SECOND_MUCH)
    assert not Dispute.objects.exists()
    judgements.amend(judgement=given, verdict=Verdict.SECOND_MUCH, harm_first="major", harm_first_type="other", key=uuid4())
    assert Dispute.objects.get().kind == "harm"


def test_undisputed_pairs_cost_two_queries(doubled: Campaign, alice: User, bob: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH)
    answer(doubled, bob, Verdict.FIRST_SLIGHTLY)
    pair = Pair.objects.get()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert disputes.consider(pair=pair) is None
    assert len(queries) == 2


def test_opening_is_on_record_without_a_word_of_the_texts(doubled: Campaign, alice: User) -> None:
    answer(doubled, alice, Verdict.FIRST_MUCH, harm_first="major", rationale="Doubles the dose of warfarin.")
    entry = AuditEntry.objects.get(verb="dispute.opened")
    assert entry.details == {"kind": "harm", "severity": 2}
    assert entry.object_id == str(Dispute.objects.get().public_id)


@pytest.mark.django_db(transaction=True)
def test_two_opposed_votes_at_the_same_moment_see_each_other(doubled: Campaign, alice: User, bob: User) -> None:
    held = {rater.pk: lease(doubled, rater) for rater in (alice, bob)}
    voted = threading.Event()

    def first() -> None:
        with transaction.atomic():
            judgements.submit(assignment=held[alice.pk], verdict=Verdict.FIRST_MUCH, key=uuid4())
            voted.set()
            time.sleep(0.5)  # Bob's vote is under way; hers is not committed yet.
        connection.close()

    def second() -> None:
        voted.wait()
        judgements.submit(assignment=held[bob.pk], verdict=Verdict.SECOND_MUCH, key=uuid4())
        connection.close()

    hands = [threading.Thread(target=hand) for hand in (first, second)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert state_of(doubled) == ("opposed", "open", 0)
