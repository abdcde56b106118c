"""Leases: who is to judge which pair next. The database decides every race; nothing here counts and then inserts."""

import uuid
from contextlib import nullcontext

from django.db import IntegrityError, connection, transaction

from accounts.models import User
from annotation.models import Assignment, AssignmentState, Campaign, Slot

MAX_LEASES = 3
ATTEMPTS = 50

# A lease past its time, by the database's clock, gives its slot back. Rows that someone else has in hand are left to them.
_EXPIRE = """
WITH stale AS (
    SELECT id FROM annotation_assignment
    WHERE campaign_id = %(campaign)s AND state = 'leased' AND expires_at <= statement_timestamp()
    ORDER BY id FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE annotation_assignment a SET state = 'expired' FROM stale WHERE a.id = stale.id RETURNING a.slot_id
)
UPDATE annotation_slot s SET open = true FROM ended WHERE s.id = ended.slot_id
"""

_RENEW = """
UPDATE annotation_assignment SET expires_at = statement_timestamp() + make_interval(mins => %(minutes)s)
WHERE id = (
    SELECT a.id FROM annotation_assignment a JOIN annotation_campaign c ON c.id = a.campaign_id
    WHERE a.campaign_id = %(campaign)s AND a.annotator_id = %(annotator)s AND a.state = 'leased' AND c.state = 'open'
      AND a.expires_at > statement_timestamp()
    ORDER BY a.lease_number DESC LIMIT 1
) AND state = 'leased'
RETURNING id
"""

# The claim: the first open slot, in the campaign's order, of a pair this annotator has not answered, is taken and leased in one
# statement. SKIP LOCKED lets claims pass each other; PostgreSQL reads `open` again once it has the lock. What could still go wrong
# (the same annotator in two tabs) breaks a constraint, and is tried again.
_CLAIM = """
WITH candidate AS (
    SELECT s.id FROM annotation_slot s
    WHERE s.campaign_id = %(campaign)s AND s.open AND s.position >= %(start)s
      AND EXISTS (SELECT 1 FROM annotation_campaign c WHERE c.id = s.campaign_id AND c.state = 'open')
      AND EXISTS (SELECT 1 FROM annotation_membership m WHERE m.campaign_id = s.campaign_id AND m.user_id = %(annotator)s)
      AND NOT EXISTS (
          SELECT 1 FROM annotation_assignment a
          WHERE a.pair_id = s.pair_id AND a.annotator_id = %(annotator)s AND a.state IN ('leased', 'submitted', 'surplus')
      )
    ORDER BY s.position, s.number
    LIMIT 1
    FOR UPDATE OF s SKIP LOCKED
), taken AS (
    UPDATE annotation_slot s SET open = false FROM candidate WHERE s.id = candidate.id
    RETURNING s.id, s.campaign_id, s.pair_id, s.first_on_left
)
INSERT INTO annotation_assignment
    (public_id, campaign_id, pair_id, slot_id, annotator_id, first_on_left, repeat, lease_number, state, expires_at)
SELECT %(public_id)s, campaign_id, pair_id, id, %(annotator)s, first_on_left, 0, 1, 'leased',
       statement_timestamp() + make_interval(mins => %(minutes)s)
FROM taken
RETURNING id
"""

# Where this annotator stood last: the next pair is looked for from there, so that a claim does not walk past all their answers.
_CURSOR = """
SELECT s.position FROM annotation_assignment a JOIN annotation_slot s ON s.id = a.slot_id
WHERE a.annotator_id = %(annotator)s AND a.campaign_id = %(campaign)s ORDER BY a.id DESC LIMIT 1
"""

_ANY_LEFT = """
SELECT EXISTS (
    SELECT 1 FROM annotation_slot s
    WHERE s.campaign_id = %(campaign)s AND s.open
      AND EXISTS (SELECT 1 FROM annotation_campaign c WHERE c.id = s.campaign_id AND c.state = 'open')
      AND EXISTS (SELECT 1 FROM annotation_membership m WHERE m.campaign_id = s.campaign_id AND m.user_id = %(annotator)s)
      AND NOT EXISTS (
          SELECT 1 FROM annotation_assignment a
          WHERE a.pair_id = s.pair_id AND a.annotator_id = %(annotator)s AND a.state IN ('leased', 'submitted', 'surplus')
      )
)
"""


def lease_next(*, campaign: Campaign, annotator: User) -> Assignment | None:
    """The pair this annotator is to judge now: one they hold already, renewed, else the next free one; None when none is left for them.

    Stale leases of the campaign are given back first, by the database's clock. Never a pair they have answered, never more holders
    than slots; two requests at once get the same lease.
    """
    expire(campaign=campaign)
    for _ in range(ATTEMPTS):
        found = _renew(campaign, annotator)
        if found is None:
            try:
                # One statement needs no transaction of its own; inside one, a broken constraint must not end it.
                with transaction.atomic() if connection.in_atomic_block else nullcontext():
                    found = _claim(campaign, annotator)
            except IntegrityError:
                continue
        if found is not None:
            return Assignment.objects.for_annotator(annotator).get(pk=found)
        if not _any_left(campaign, annotator):
            return None
        # Every open slot was in somebody's hand at that moment; some of them may let go.
    return None


def _renew(campaign: Campaign, annotator: User) -> int | None:
    """The annotator's own open lease, the one reopened last first, with its time started anew; None if they hold none."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"campaign": campaign.pk, "annotator": annotator.pk, "minutes": campaign.lease_minutes})
        row = cursor.fetchone()
    return int(row[0]) if row else None


def _claim(campaign: Campaign, annotator: User) -> int | None:
    values = {"campaign": campaign.pk, "annotator": annotator.pk, "minutes": campaign.lease_minutes}
    with connection.cursor() as cursor:
        cursor.execute(_CURSOR, values)
        stood = cursor.fetchone()
        for start in dict.fromkeys((stood[0] if stood else 0, 0)):
            cursor.execute(_CLAIM, {**values, "public_id": uuid.uuid4(), "start": start})
            if row := cursor.fetchone():
                return int(row[0])
    return None


def _any_left(campaign: Campaign, annotator: User) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_ANY_LEFT, {"campaign": campaign.pk, "annotator": annotator.pk})
        return bool(cursor.fetchone()[0])


def expire(*, campaign: Campaign) -> None:
    """Give back the slots of leases whose time is over. Late answers are still welcome: see judgements.submit."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, {"campaign": campaign.pk})


@transaction.atomic
def release(*, assignment: Assignment) -> bool:
    """Give a lease back unanswered; False if it was no lease any more."""
    freed = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.LEASED).update(state=AssignmentState.RELEASED) == 1
    if freed:
        Slot.objects.filter(pk=assignment.slot_id).update(open=True)
    return freed


@transaction.atomic
def release_all(*, campaign: Campaign) -> int:
    """End every lease of a campaign, when it closes."""
    held = list(Assignment.objects.select_for_update().filter(campaign=campaign, state=AssignmentState.LEASED).order_by("pk"))
    Assignment.objects.filter(pk__in=[a.pk for a in held]).update(state=AssignmentState.RELEASED)
    Slot.objects.filter(pk__in=[a.slot_id for a in held]).update(open=True)
    return len(held)


def take_free_slot(assignment: Assignment) -> Slot | None:
    """An open slot of the assignment's pair, taken for it, or None. Called inside the submitting transaction."""
    slot = Slot.objects.select_for_update(skip_locked=True).filter(pair_id=assignment.pair_id, open=True).order_by("number").first()
    if slot is not None:
        Slot.objects.filter(pk=slot.pk).update(open=False)
    return slot


def free_lease_number(assignment: Assignment) -> int | None:
    """The lowest lease number its annotator does not use in the campaign, or None at three open leases."""
    used = set(
        Assignment.objects.filter(
            campaign=assignment.campaign_id, annotator=assignment.annotator_id, state=AssignmentState.LEASED
        ).values_list("lease_number", flat=True)
    )
    return next((number for number in range(1, MAX_LEASES + 1) if number not in used), None)
