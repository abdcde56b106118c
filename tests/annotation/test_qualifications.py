"""The qualification's rules: first answers count, two tries, a lead's grant, and the campaign behind it opens on passing."""

import pytest

from accounts.models import AuditEntry, User
from annotation import assignments, judgements, memberships, qualifications
from annotation.models import Assignment, Campaign, Judgement, Membership, Slot, Verdict
from annotation.qualifications import NotQualifying
from tests.annotation.build import campaign, judge, qualification

pytestmark = pytest.mark.django_db
RIGHT, WRONG = Verdict.FIRST_SLIGHTLY, Verdict.SECOND_MUCH


def attempt(qualifying: Campaign, rater: User, right: int, wrong: int) -> list[Judgement]:
    return [judge(qualifying, rater, verdict) for verdict in [RIGHT] * right + [WRONG] * wrong]


@pytest.fixture
def qualifying(alice: User) -> Campaign:
    """Five pairs; at a share of 0.8, four have to be right."""
    return qualification([alice], pairs=5)


@pytest.fixture
def gated(qualifying: Campaign, alice: User) -> Campaign:
    return campaign([alice], pairs=3, qualification=qualifying, name="Behind it")


def may_rate(user: User, made: Campaign) -> bool:
    return Membership.objects.get(user=user, campaign=made).active


@pytest.mark.parametrize(("share", "total", "needed"), [(0.8, 5, 4), (0.8, 8, 7), (0.8, 10, 8), (0.7, 10, 7), (1.0, 8, 8), (0.0, 8, 0)])
def test_the_pass_share_is_rounded_up(share: float, total: int, needed: int) -> None:
    assert qualifications.needed(Campaign(pass_share=share), total) == needed


def test_passing_opens_the_campaign_behind_it(qualifying: Campaign, gated: Campaign, alice: User) -> None:
    assert assignments.lease_next(campaign=gated, annotator=alice) is None
    attempt(qualifying, alice, 3, 1)
    assert not may_rate(alice, gated)
    attempt(qualifying, alice, 1, 0)
    standing = qualifications.standing(campaign=qualifying, user=alice)
    assert standing is not None
    assert (standing.passed, standing.failed, standing.right, standing.total) == (True, False, 4, 5)
    assert may_rate(alice, gated)
    assert assignments.lease_next(campaign=gated, annotator=alice) is not None
    assert qualifications.gate(campaign=gated, user=alice) is None
    assert AuditEntry.objects.get(verb="qualification.passed").details == {"user": alice.pk, "attempt": 1, "right": 4, "asked": 5}


def test_after_a_first_try_the_same_pairs_come_again_with_their_sides_swapped(qualifying: Campaign, alice: User) -> None:
    attempt(qualifying, alice, 3, 2)
    standing = qualifications.standing(campaign=qualifying, user=alice)
    assert standing is not None
    assert (standing.attempt, standing.answered, standing.right, standing.needed) == (2, 0, 3, 4)
    attempt(qualifying, alice, 5, 0)
    sides = {}
    for held in Assignment.objects.filter(campaign=qualifying, annotator=alice):
        sides.setdefault(held.pair_id, {})[held.repeat] = held.first_on_left
    assert len(sides) == 5
    assert all(set(shown) == {0, 1} and shown[0] != shown[1] for shown in sides.values())
    again = qualifications.standing(campaign=qualifying, user=alice)
    assert again is not None
    assert (again.passed, again.right) == (True, 5)


def test_the_score_is_told_at_the_end_of_a_try_and_not_on_the_way(qualifying: Campaign, alice: User) -> None:
    attempt(qualifying, alice, 2, 1)
    standing = qualifications.standing(campaign=qualifying, user=alice)
    assert standing is not None
    assert (standing.answered, standing.right) == (3, None)


def test_when_no_try_is_left_nothing_is_handed_out_and_the_leads_can_grant_another(
    qualifying: Campaign, gated: Campaign, alice: User, carol: User
) -> None:
    attempt(qualifying, alice, 0, 5)
    attempt(qualifying, alice, 3, 2)
    standing = qualifications.standing(campaign=qualifying, user=alice)
    assert standing is not None
    assert (standing.failed, standing.right, standing.attempt) == (True, 3, 2)
    assert AuditEntry.objects.get(verb="qualification.failed").details["right"] == 3
    assert assignments.lease_next(campaign=qualifying, annotator=alice) is None
    assert not may_rate(alice, gated)

    qualifications.grant(campaign=qualifying, user=alice, actor=carol)
    granted = qualifications.standing(campaign=qualifying, user=alice)
    assert granted is not None
    assert (granted.failed, granted.attempt, granted.attempts) == (False, 3, 3)
    attempt(qualifying, alice, 5, 0)
    assert may_rate(alice, gated)
    assert AuditEntry.objects.get(verb="qualification.granted").actor_name == "carol"


def test_another_try_is_for_those_who_have_none_left(qualifying: Campaign, alice: User, carol: User, eve: User) -> None:
    for user in (alice, eve):
        with pytest.raises(NotQualifying, match="no try left"):
            qualifications.grant(campaign=qualifying, user=user, actor=carol)


def test_the_first_answer_counts(qualifying: Campaign, alice: User) -> None:
    judge(qualifying, alice, WRONG)
    with pytest.raises(judgements.NothingToUndo):
        judgements.undo_last(campaign=qualifying, annotator=alice)
    attempt(qualifying, alice, 4, 0)
    assert qualifications.score(campaign=qualifying, user=alice, attempt=1) == (4, 5)


def test_feedback_says_what_was_expected_as_this_rater_saw_the_sides(qualifying: Campaign, alice: User) -> None:
    judgement = judge(qualifying, alice, WRONG)
    told = qualifications.feedback(judgement=judgement)
    assert told is not None
    left = judgement.assignment.first_on_left
    assert (told.right, told.number, told.total) == (False, 1, 5)
    assert told.expected == (("a_much", "a_slightly") if left else ("b_slightly", "b_much"))
    assert told.expected_words == ("A much better or A slightly better" if left else "B slightly better or B much better")
    assert told.explanation == "Because of reason 1."
    good = qualifications.feedback(judgement=judge(qualifying, alice, RIGHT))
    assert good is not None
    assert (good.right, good.number) == (True, 2)


def test_in_any_other_campaign_gold_gives_no_feedback(alice: User) -> None:
    made = campaign([alice], pairs=1)
    assert qualifications.feedback(judgement=judge(made, alice)) is None


def test_sides_turn_as_the_judgements_do(alice: User) -> None:
    for left in (True, False):
        held = Assignment(first_on_left=left)
        for verdict in Verdict:
            assert qualifications.by_side(verdict, left) == judgements.seen_from(held, verdict)


def test_only_members_of_a_campaign_that_asks_for_it_may_take_it(qualifying: Campaign, gated: Campaign, bob: User, eve: User) -> None:
    with pytest.raises(NotQualifying, match="No campaign of yours"):
        qualifications.enrol(campaign=qualifying, user=eve)
    memberships.add(campaign=gated, users=[bob], actor=None)
    Membership.objects.filter(campaign=qualifying, user=bob).delete()
    qualifications.enrol(campaign=qualifying, user=bob)
    assert Slot.objects.filter(campaign=qualifying, reserved_for=bob, kind="gold").count() == 5


def test_a_pair_whose_sample_is_withdrawn_leaves_the_try_shorter_and_not_stuck(qualifying: Campaign, alice: User) -> None:
    from annotation import slots

    attempt(qualifying, alice, 4, 0)
    last = Slot.objects.get(campaign=qualifying, reserved_for=alice, open=True)
    slots.withdraw(pairs=[last.pair])
    assert qualifications.consider(campaign=qualifying, user=alice) == "passed"
