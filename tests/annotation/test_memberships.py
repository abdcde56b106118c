"""Who may be handed pairs: added, routed by field and cohort, gated by a qualification, revoked."""

from uuid import uuid4

import pytest
from django.db.models.functions import Now

from accounts import profiles
from accounts.models import AuditEntry, User
from annotation import assignments, judgements, memberships, slots
from annotation.memberships import MembershipRefused
from annotation.models import Campaign, Membership, Slot, Verdict
from tests.annotation.build import campaign, judge, lease
from tests.cast import person

pytestmark = pytest.mark.django_db


def profile(user: User, *specialties: str) -> None:
    profiles.save(user=user, specialties=list(specialties), profession="specialist", years=4, languages=["English"])


def gated(entry: Campaign, member: User) -> Campaign:
    made = campaign([], pairs=4, opened=False)
    Campaign.objects.filter(pk=made.pk).update(qualification=entry)
    made.refresh_from_db()
    memberships.add(campaign=made, users=[member], actor=None)
    Campaign.objects.filter(pk=made.pk).update(state="open")
    made.refresh_from_db()
    return made


def qualification(**options: object) -> Campaign:
    made = campaign([], pairs=3, purpose="qualify", opened=False, **options)
    Campaign.objects.filter(pk=made.pk).update(state="open")
    made.refresh_from_db()
    return made


def test_adding_twice_adds_once_and_is_on_record(alice: User, bob: User, dan: User) -> None:
    made = campaign([], opened=False)
    assert memberships.add(campaign=made, users=[alice, bob, alice], actor=dan) == 2
    assert memberships.add(campaign=made, users=[alice], actor=dan) == 0
    entry = AuditEntry.objects.filter(verb="campaign.members_added").latest("pk")
    assert (entry.actor_id, sorted(entry.details["users"])) == (dan.pk, [alice.pk, bob.pk])


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (lambda: person("tim", "trainer"), "tim may not rate"),
        (lambda: person("robot", "annotator", simulated=True), "robot is simulated"),
    ],
)
def test_who_may_not_rate_is_refused_and_nobody_is_added(alice: User, who: object, why: str) -> None:
    made = campaign([], opened=False)
    with pytest.raises(MembershipRefused, match=why):
        memberships.add(campaign=made, users=[alice, who()], actor=None)  # type: ignore[operator]
    assert not made.memberships.exists()


def test_who_may_have_seen_how_a_study_stands_does_not_join_it(alice: User, bob: User, carol: User) -> None:
    made = campaign([alice], purpose="study")
    for role in ("trainer", "admin"):
        with pytest.raises(MembershipRefused, match="may have seen how this study stands"):
            memberships.add(campaign=made, users=[person(f"also-{role}", "annotator", role)], actor=None)
    with pytest.raises(MembershipRefused, match="carol may have seen"):
        memberships.add(campaign=made, users=[bob, carol], actor=None)
    assert list(made.memberships.values_list("user", flat=True)) == [alice.pk]
    assert memberships.add(campaign=made, users=[bob], actor=None) == 1
    # Whoever was of it already stayed blinded, and may come back.
    bob.grants.create(role="trainer")
    memberships.revoke(campaign=made, user=bob, actor=None)
    assert memberships.add(campaign=made, users=[User.objects.get(pk=bob.pk)], actor=None) == 1


def test_a_cohort_the_campaign_does_not_have_is_refused(alice: User) -> None:
    made = campaign([], opened=False)
    Campaign.objects.filter(pk=made.pk).update(cohorts=["gp", "cardiology"])
    made.refresh_from_db()
    with pytest.raises(MembershipRefused, match="gp, cardiology"):
        memberships.add(campaign=made, users=[alice], actor=None, cohort="nurses")


def test_pairs_go_to_those_whose_cohort_or_field_they_are_for(alice: User, bob: User) -> None:
    profile(alice, "cardiology", "emergency")
    profile(bob, "nursing")
    made = campaign([], pairs=9, opened=False)
    memberships.add(campaign=made, users=[alice], actor=None, cohort="gp")
    memberships.add(campaign=made, users=[bob], actor=None)
    assert made.memberships.get(user=alice).audiences == ["gp", "specialty:cardiology", "specialty:emergency"]
    for position, audience in enumerate(["specialty:cardiology", "gp", "", "specialty:nursing", "surgeons"]):
        Slot.objects.filter(campaign=made, position=position).update(audience=audience)
    Campaign.objects.filter(pk=made.pk).update(state="open")

    def positions(user: User) -> list[int]:
        found = []
        while held := assignments.lease_next(campaign=made, annotator=user):
            found.append(held.slot.position)
            judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
        return found

    assert Campaign.objects.for_queue(alice).get(pk=made.pk).left == 7
    assert Campaign.objects.for_queue(bob).get(pk=made.pk).left == 6
    assert positions(bob) == [2, 3, 5, 6, 7, 8]
    assert positions(alice) == [0, 1]
    assert Slot.objects.filter(campaign=made, open=True).get().audience == "surgeons"


def test_another_field_in_the_profile_means_other_pairs_at_once(alice: User) -> None:
    made = campaign([alice], pairs=2)
    Slot.objects.filter(campaign=made).update(audience="specialty:neurology")
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    profile(alice, "neurology")
    assert made.memberships.get(user=alice).audiences == ["specialty:neurology"]
    assert lease(made, alice).annotator == alice


def test_before_the_qualification_is_passed_nothing_is_handed_out(alice: User) -> None:
    entry = qualification()
    made = gated(entry, alice)
    # Whoever is to rate here is let into its qualification too.
    assert entry.memberships.filter(user=alice, active=True).exists()
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    assert assignments.why_none(made, alice) == "not_qualified"
    Membership.objects.filter(campaign=entry, user=alice).update(qualified_at=Now())
    assert memberships.refresh(user=alice) == 1
    assert lease(made, alice).annotator == alice


def test_who_has_no_try_left_is_not_active_in_the_qualification(alice: User) -> None:
    entry = qualification()
    memberships.add(campaign=entry, users=[alice], actor=None)
    Membership.objects.filter(campaign=entry, user=alice).update(failed_at=Now())
    memberships.refresh(user=alice)
    assert not entry.memberships.get(user=alice).active


def test_revoking_ends_leases_withdraws_what_was_kept_and_keeps_a_late_answer_as_surplus(alice: User, bob: User, dan: User) -> None:
    made = campaign([alice, bob], pairs=4, overlap=1)
    given = judge(made, alice)
    held = lease(made, alice)
    spare = made.slots.filter(open=True).first()
    assert spare is not None
    assignments.reassign(slot=spare, to=alice, actor=dan)
    Slot.objects.create(
        pair=given.assignment.pair, campaign=made, number=9, position=0, kind="repeat", repeat=1, first_on_left=True, reserved_for=alice
    )
    gone = memberships.revoke(campaign=made, user=alice, actor=dan)
    assert (gone.active, gone.revoked_at is not None) == (False, True)
    assert slots.unbalanced(made) == []
    spare.refresh_from_db()
    assert (spare.open, spare.reserved_for) == (True, None)
    assert made.slots.get(kind="repeat").withdrawn_at is not None
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    assert assignments.why_none(made, alice) == "revoked"
    # What she had on screen when she was taken off arrives after all.
    late = judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert late.surplus
    assert slots.unbalanced(made) == []
    given.refresh_from_db()
    assert not given.surplus
    taken = {lease(made, bob).pair_id}
    assert held.pair_id in taken
    with pytest.raises(MembershipRefused, match="alice does not rate"):
        memberships.revoke(campaign=made, user=alice, actor=dan)


def test_somebody_revoked_can_be_let_in_again(alice: User) -> None:
    made = campaign([alice], pairs=2)
    memberships.revoke(campaign=made, user=alice, actor=None)
    assert memberships.add(campaign=made, users=[alice], actor=None) == 1
    assert made.memberships.get(user=alice).active
    assert lease(made, alice).annotator == alice


def test_a_closed_campaign_takes_nobody_in(alice: User) -> None:
    made = campaign([alice])
    Campaign.objects.filter(pk=made.pk).update(state="closed")
    made.refresh_from_db()
    with pytest.raises(MembershipRefused, match="closed"):
        memberships.add(campaign=made, users=[alice], actor=None)
