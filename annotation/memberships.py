"""Who rates in a campaign: added, revoked, and kept in step with what they are qualified for and what fields are theirs."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Profile, Role, User
from annotation import assignments, slots
from annotation.models import Campaign, CampaignState, Membership, Slot

# Who may open the page of a study in which they do not rate (training/views/studying.py).
SEE_STUDIES = (Role.TRAINER, Role.ADMIN, Role.ADJUDICATOR)


class MembershipRefused(Exception):
    """Somebody may not rate in this campaign; the message says who and what to change."""


@transaction.atomic
def add(*, campaign: Campaign, users: Iterable[User], actor: User | None, cohort: str = "") -> int:
    """Let `users` rate in `campaign`, and in the campaign that qualifies for it; returns how many are new or come back.

    `cohort` is kept as it is for those who rate already, unless one is named. Simulated raters belong in simulated campaigns only.
    Raises MembershipRefused for somebody who may not rate, for a cohort the campaign does not have, and for who may have seen how a study
    under way stands.
    """
    people = list({person.pk: person for person in users}.values())
    _check(campaign, people, cohort)
    if campaign.qualification_id is not None and campaign.qualification is not None:
        _join(campaign.qualification, people, actor, "")
    return _join(campaign, people, actor, cohort)


def _check(campaign: Campaign, people: list[User], cohort: str) -> None:
    if campaign.state == CampaignState.CLOSED:
        raise MembershipRefused("A closed campaign takes nobody in.")
    if cohort and campaign.cohorts and cohort not in campaign.cohorts:
        raise MembershipRefused(f"This campaign has no cohort “{cohort}”: its cohorts are {', '.join(campaign.cohorts)}.")
    # Whoever rated in a study from its start never saw its page.
    late = campaign.purpose == "study" and campaign.state != CampaignState.DRAFT
    blinded = set(campaign.memberships.values_list("user", flat=True)) if late else set()
    for person in people:
        if late and person.pk not in blinded and person.has_role(*SEE_STUDIES):
            raise MembershipRefused(f"{person.username} may have seen how this study stands, so they cannot join it while it is under way.")
        if not person.has_role(Role.ANNOTATOR, Role.ADJUDICATOR):
            raise MembershipRefused(f"{person.username} may not rate: give them the clinician's role first.")
        if person.simulated and not campaign.simulated:
            raise MembershipRefused(f"{person.username} is simulated and may rate in simulated campaigns only.")


def _join(campaign: Campaign, people: list[User], actor: User | None, cohort: str) -> int:
    joined = []
    for person in people:
        membership, made = Membership.objects.select_for_update().get_or_create(
            campaign=campaign, user=person, defaults={"cohort": cohort, "active": False}
        )
        back = membership.revoked_at is not None
        if made or back:
            joined.append(person.pk)
        membership.revoked_at = None
        membership.cohort = cohort or membership.cohort
        _bring_up_to_date(membership, campaign, person)
    if joined:
        audit.record(actor, "campaign.members_added", campaign, users=joined, cohort=cohort)
    return len(joined)


@transaction.atomic
def refresh(*, user: User) -> int:
    """Look at every membership of `user` anew: their fields, and whether they are qualified. Returns how many changed.

    Called when their profile changed, and when they passed or failed a qualification.
    """
    changed = 0
    mine = Membership.objects.select_for_update(of=("self",)).filter(user=user).exclude(campaign__state=CampaignState.CLOSED)
    for membership in mine.select_related("campaign").order_by("campaign"):
        before = (membership.active, membership.audiences)
        _bring_up_to_date(membership, membership.campaign, user)
        changed += before != (membership.active, membership.audiences)
    return changed


def _bring_up_to_date(membership: Membership, campaign: Campaign, user: User) -> None:
    """Set what a membership follows from, deal the gold of those who may begin, and take leases from those who may not go on."""
    before = membership.active
    membership.audiences = _audiences(membership.cohort, user)
    membership.active = membership.revoked_at is None and membership.failed_at is None and _qualified(campaign, user)
    membership.save(update_fields=["cohort", "audiences", "active", "revoked_at"])
    if membership.active and campaign.state != CampaignState.DRAFT:
        slots.deal_gold(campaign=campaign, user=user, repeat=membership.attempt - 1 if campaign.purpose == "qualify" else 0)
    elif before and not membership.active:
        assignments.release_all(campaign=campaign, annotator=user)


def _audiences(cohort: str, user: User) -> list[str]:
    """What the claim compares with a slot's audience."""
    profile = Profile.objects.filter(user=user).first()
    fields = [f"specialty:{name}" for name in profile.specialties] if profile else []
    return [cohort, *fields] if cohort else fields


def _qualified(campaign: Campaign, user: User) -> bool:
    if campaign.qualification_id is None:
        return True
    return Membership.objects.filter(campaign=campaign.qualification_id, user=user, qualified_at__isnull=False).exists()


@transaction.atomic
def revoke(*, campaign: Campaign, user: User, actor: User | None) -> Membership:
    """Hand nothing more to `user`: their leases end, slots kept for them are withdrawn or free for others again.

    What they answered stays; an answer that still arrives is kept as surplus. Raises MembershipRefused if they do not rate here.
    """
    membership = Membership.objects.select_for_update().filter(campaign=campaign, user=user, revoked_at__isnull=True).first()
    if membership is None:
        raise MembershipRefused(f"{user.username} does not rate in this campaign.")
    Membership.objects.filter(pk=membership.pk).update(active=False, revoked_at=Now())
    released = assignments.release_all(campaign=campaign, annotator=user)
    mine = Slot.objects.filter(campaign=campaign, reserved_for=user)
    # A vote reassigned to them goes back to everybody; their gold and repeats are nobody else's.
    mine.filter(kind__in=slots.VOTES, open=True).update(reserved_for=None)
    withdrawn = mine.filter(open=True).update(open=False, withdrawn_at=Now())
    audit.record(actor, "campaign.member_revoked", campaign, user=user.pk, leases=released, slots=withdrawn)
    membership.refresh_from_db()
    return membership


def refresh_when_profile_changes(sender: object, *, user: User, **_: Any) -> None:
    """Receives accounts.profiles.changed: other fields mean other pairs."""
    refresh(user=user)
