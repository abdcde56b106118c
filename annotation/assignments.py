"""Leases: who is to judge which pair next. The database decides every race; nothing here counts and then inserts."""

import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.consents import ConsentMissing
from accounts.models import User
from annotation.models import Assignment, AssignmentState, Campaign, CampaignState, Membership, Slot, SlotKind
from web.statements import prepared

MAX_LEASES = 3
ATTEMPTS = 50
# A pair fetched ahead and never looked at comes back to the others soon; shown, it gets the campaign's full time.
AHEAD_MINUTES = 10
# Beyond every position: slots are numbered in a 32 bit integer.
ANYWHERE = 2**31 - 1

_FIELDS = [field.attname for field in Assignment._meta.concrete_fields]
_COLUMNS = ", ".join(f"{{0}}.{field.column}" for field in Assignment._meta.concrete_fields)

# Leases past their time, by the database's clock, give their slots back. Rows that someone else has in hand are left to them.
_ENDED = """stale AS (
    SELECT id FROM annotation_assignment
    WHERE campaign_id = %(campaign)s AND state = 'leased' AND expires_at <= statement_timestamp()
    ORDER BY id FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE annotation_assignment a SET state = 'expired' FROM stale WHERE a.id = stale.id RETURNING a.slot_id
)"""
_EXPIRE = f"WITH {_ENDED} UPDATE annotation_slot s SET open = true FROM ended WHERE s.id = ended.slot_id"  # noqa: S608 (our own text)

# One statement at the door. Stale leases end; who asks is looked up (member, consent, whether the campaign takes answers, where they
# stood last); and the lease they hold already, if any, starts anew: what is before them first, and of several the one that came before
# them last (an answer taken back), else one fetched ahead.
_ENTER = f"""
WITH {_ENDED}, freed AS (
    UPDATE annotation_slot s SET open = true FROM ended WHERE s.id = ended.slot_id
), door AS (
    SELECT m.audiences, c.lease_minutes,
           c.state = 'open' AND m.active
               AND (c.deadline IS NULL OR c.deadline >= (statement_timestamp() AT TIME ZONE %(zone)s::text)::date) AS open,
           u.simulated OR EXISTS (
               SELECT 1 FROM accounts_consent g
               WHERE g.user_id = u.id AND g.withdrawn_at IS NULL AND g.text_id = (SELECT max(id) FROM accounts_consenttext)
           ) AS consented
    FROM annotation_campaign c
    JOIN annotation_membership m ON m.campaign_id = c.id AND m.user_id = %(annotator)s
    JOIN accounts_user u ON u.id = m.user_id
    WHERE c.id = %(campaign)s
), own AS (
    UPDATE annotation_assignment a
    SET expires_at = statement_timestamp() + make_interval(mins => door.lease_minutes),
        shown_at = coalesce(a.shown_at, statement_timestamp())
    FROM door
    WHERE %(renew)s AND door.open AND door.consented AND a.state = 'leased' AND a.id = (
        SELECT l.id FROM annotation_assignment l
        WHERE l.campaign_id = %(campaign)s AND l.annotator_id = %(annotator)s AND l.state = 'leased'
          AND l.expires_at > statement_timestamp()
        ORDER BY l.shown_at IS NULL, l.leased_at DESC, l.lease_number DESC LIMIT 1
    )
    RETURNING a.*
)
SELECT door.open, door.consented, door.audiences, door.lease_minutes, (
    SELECT s.position FROM annotation_assignment a JOIN annotation_slot s ON s.id = a.slot_id
    WHERE a.annotator_id = %(annotator)s AND a.campaign_id = %(campaign)s AND s.reserved_for_id IS NULL
    ORDER BY a.id DESC LIMIT 1
), {_COLUMNS.format("own")}
FROM door LEFT JOIN own ON true
"""  # noqa: S608 (our own text; values are parameters)

# The claim: a slot of the annotator's own that is due, else the first open one for people like them, in the campaign's order, of a
# pair they have not answered, is taken and leased in one statement. SKIP LOCKED lets claims pass each other; PostgreSQL reads `open`
# again once it has the lock. What could still go wrong (the same annotator in two tabs) breaks a constraint, and is tried again.
# An own slot is due once its place in the order is reached; a repeat waits for its day, and never comes in the sitting of the answer
# that it repeats. Each audience is looked up by itself: nobody walks past what is for others. OFFSET 0 keeps "have they had it?" a look
# into an index for each slot passed, whatever the statistics say; joined, it would read all that the annotator ever had.
_CLAIM = f"""
WITH door AS (
    SELECT 1 FROM annotation_campaign c JOIN annotation_membership m ON m.campaign_id = c.id
    WHERE c.id = %(campaign)s AND c.state = 'open' AND m.user_id = %(annotator)s AND m.active
), mine AS (
    SELECT s.id FROM annotation_slot s
    WHERE s.reserved_for_id = %(annotator)s AND s.campaign_id = %(campaign)s AND s.open AND s.position <= %(upto)s
      AND (s.available_from IS NULL OR s.available_from <= statement_timestamp())
      AND EXISTS (SELECT 1 FROM door)
      AND NOT EXISTS (
          SELECT 1 FROM annotation_assignment a
          WHERE a.pair_id = s.pair_id AND a.annotator_id = %(annotator)s AND a.state IN ('leased', 'submitted', 'surplus')
            AND (a.repeat = s.repeat OR a.state = 'leased')
          OFFSET 0
      )
      AND (s.kind <> 'repeat' OR NOT EXISTS (
          SELECT 1 FROM annotation_sitting t
          JOIN annotation_assignment f ON f.annotator_id = t.annotator_id AND f.pair_id = s.pair_id
          WHERE t.campaign_id = s.campaign_id AND t.annotator_id = %(annotator)s AND t.ended_at IS NULL
            AND f.state IN ('submitted', 'surplus') AND f.submitted_at >= t.started_at
      ))
    ORDER BY s.position, s.number
    LIMIT 1
    FOR UPDATE OF s SKIP LOCKED
), others AS (
    SELECT found.id FROM unnest(%(audiences)s::text[]) AS audience(name) CROSS JOIN LATERAL (
        SELECT s.id, s.position, s.number FROM annotation_slot s
        WHERE s.campaign_id = %(campaign)s AND s.audience = audience.name AND s.open AND s.reserved_for_id IS NULL
          AND s.position >= %(start)s
          AND EXISTS (SELECT 1 FROM door)
          AND NOT EXISTS (
              SELECT 1 FROM annotation_assignment a
              WHERE a.pair_id = s.pair_id AND a.annotator_id = %(annotator)s AND a.state IN ('leased', 'submitted', 'surplus')
              OFFSET 0
          )
        ORDER BY s.position, s.number
        LIMIT 1
        FOR UPDATE OF s SKIP LOCKED
    ) AS found
    WHERE NOT EXISTS (SELECT 1 FROM mine)
    ORDER BY found.position, found.number
    LIMIT 1
), taken AS (
    UPDATE annotation_slot s SET open = false
    WHERE s.id = (SELECT id FROM mine UNION ALL SELECT id FROM others)
    RETURNING s.id, s.campaign_id, s.pair_id, s.first_on_left, s.repeat
)
INSERT INTO annotation_assignment
    (public_id, campaign_id, pair_id, slot_id, annotator_id, first_on_left, repeat, lease_number, state, shown_at, expires_at)
SELECT %(public_id)s, campaign_id, pair_id, id, %(annotator)s, first_on_left, repeat, %(number)s, 'leased',
       CASE WHEN %(shown)s THEN statement_timestamp() END, statement_timestamp() + make_interval(mins => %(minutes)s)
FROM taken
RETURNING {_COLUMNS.format("annotation_assignment")}
"""  # noqa: S608 (our own text; values are parameters)

# What this annotator could be handed now, whoever has it in hand at this moment.
_ANY_LEFT = """
SELECT EXISTS (
    SELECT 1 FROM annotation_slot s
    WHERE s.campaign_id = %(campaign)s AND s.open AND s.reserved_for_id IS NULL AND s.audience = ANY(%(audiences)s::text[])
      AND NOT EXISTS (
          SELECT 1 FROM annotation_assignment a
          WHERE a.pair_id = s.pair_id AND a.annotator_id = %(annotator)s AND a.state IN ('leased', 'submitted', 'surplus')
          OFFSET 0
      )
)
"""


class LeaseLost(Exception):
    """The pair is not this annotator's any more: its time was over and somebody else has it, or it was given back."""


class ReassignRefused(Exception):
    """This cannot be given to that person; the message says why."""


class _Door(NamedTuple):
    """What _ENTER found: whether pairs are handed out to this annotator, for which audiences, from where on; and their own lease."""

    open: bool
    consented: bool
    audiences: list[str]
    minutes: int
    stood: int
    held: Assignment | None


def lease_next(*, campaign: Campaign, annotator: User) -> Assignment | None:
    """The pair this annotator is to judge now: one they hold already, renewed, else the next free one; None when none is for them.

    What it returns counts as shown. Stale leases of the campaign are given back first, by the database's clock. Never a pair they have
    answered (a repeat on its day apart), never more holders than slots; two requests at once get the same lease. `why_none` says why
    there is none. Raises ConsentMissing before consent.
    """
    for _ in range(ATTEMPTS):
        door = _enter(campaign, annotator)
        if door is None or not door.open:
            return None
        if door.held is not None:
            return door.held
        try:
            found = _claim(campaign, annotator, door, number=1, shown=True)
        except IntegrityError:
            # Another tab of theirs was faster: its lease is theirs.
            continue
        if found is not None or not _any_left(campaign, annotator, door):
            return found
        # Every open slot was in somebody's hand at that moment; some of them may let go.
    return None


def lease_ahead(*, campaign: Campaign, annotator: User, beside: Assignment) -> Assignment | None:
    """One pair more than the one before them, to be ready when they are; None when there is none, or three leases are open.

    Asked again it returns the same one. It is not theirs for long until it is shown: see `show`. Raises ConsentMissing before consent.
    """
    for _ in range(ATTEMPTS):
        mine = list(
            Assignment.objects.live()
            .filter(campaign=campaign, annotator=annotator)
            .exclude(pk=beside.pk)
            .order_by(models.F("leased_at").desc())
        )
        ahead = next((lease for lease in mine if lease.shown_at is None), None)
        number = _lowest_free(lease.lease_number for lease in [*mine, beside])
        if ahead is not None or number is None:
            return ahead
        door = _enter(campaign, annotator, renew=False)
        if door is None or not door.open:
            return None
        try:
            return _claim(campaign, annotator, door, number=number, shown=False)
        except IntegrityError:
            continue
    return None


def _enter(campaign: Campaign, annotator: User, *, renew: bool = True) -> _Door | None:
    """None for somebody who is no member. Raises ConsentMissing."""
    values: dict[str, Any] = {"campaign": campaign.pk, "annotator": annotator.pk, "zone": settings.TIME_ZONE, "renew": renew}
    with prepared() as cursor:
        cursor.execute(_ENTER, values)
        row = cursor.fetchone()
    if row is None:
        return None
    door = _Door(row[0], row[1], ["", *row[2]], row[3], row[4] or 0, _assignment(row[5:], campaign, annotator))
    if not door.consented:
        raise ConsentMissing("Read and agree to how your judgements are used first.")
    return door


def _claim(campaign: Campaign, annotator: User, door: _Door, *, number: int, shown: bool) -> Assignment | None:
    """From where the annotator stood; then from the beginning; then what is kept for them and was not due yet.

    So a claim does not walk past all their answers. Raises IntegrityError when another tab of theirs claimed at the same moment.
    """
    values: dict[str, Any] = {
        "campaign": campaign.pk,
        "annotator": annotator.pk,
        "audiences": door.audiences,
        "number": number,
        "shown": shown,
        "minutes": door.minutes if shown else min(door.minutes, AHEAD_MINUTES),
    }
    rounds = dict.fromkeys([(door.stood, door.stood), (0, door.stood), (ANYWHERE, ANYWHERE)])
    for start, upto in rounds:
        # One statement needs no transaction of its own; inside one, a broken constraint must not end it.
        with _savepoint(), prepared() as cursor:
            cursor.execute(_CLAIM, {**values, "public_id": uuid.uuid4(), "start": start, "upto": upto})
            if row := cursor.fetchone():
                return _assignment(row, campaign, annotator)
    return None


def _savepoint() -> AbstractContextManager[Any]:
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _assignment(row: Iterable[Any], campaign: Campaign, annotator: User) -> Assignment | None:
    values = list(row)
    if values[0] is None:
        return None
    held = Assignment.from_db(connection.alias, _FIELDS, values)
    held.campaign, held.annotator = campaign, annotator
    return held


def _any_left(campaign: Campaign, annotator: User, door: _Door) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_ANY_LEFT, {"campaign": campaign.pk, "annotator": annotator.pk, "audiences": door.audiences})
        return bool(cursor.fetchone()[0])


def why_none(campaign: Campaign, annotator: User) -> str:
    """Why `lease_next` has nothing: "closed", "paused", "deadline", "revoked", "not_qualified", "busy" (in colleagues' hands, or a
    repeat of theirs waits for its day) or "nothing_left"."""
    known = Campaign.objects.for_queue(annotator).filter(pk=campaign.pk).first()
    membership = Membership.objects.filter(campaign=campaign, user=annotator).first()
    if known is None or membership is None or membership.revoked_at is not None:
        return "revoked"
    if known.state != CampaignState.OPEN:
        return "closed" if known.state == CampaignState.CLOSED else "paused"
    if known.overdue:
        return "deadline"
    if not membership.active:
        return "not_qualified"
    return "busy" if known.busy else "nothing_left"  # type: ignore[attr-defined]


def expire(*, campaign: Campaign) -> None:
    """Give back the slots of leases whose time is over. Late answers are still welcome: see judgements.submit."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, {"campaign": campaign.pk})


def extend(*, assignment: Assignment) -> Assignment:
    """Start the lease anew because its annotator asked for more time, as often as they like (WCAG 2.2.1 asks for ten times).

    A lease whose time is over comes back while its pair is still free for them. Raises LeaseLost otherwise.
    """
    return _start_anew(assignment, extensions=models.F("extensions") + 1)


def show(*, assignment: Assignment) -> Assignment:
    """A pair fetched ahead is before its annotator now: its full time begins. Raises LeaseLost like `extend`."""
    return _start_anew(assignment, shown_at=models.functions.Coalesce("shown_at", Now()))


def _start_anew(assignment: Assignment, **changes: Any) -> Assignment:
    try:
        with transaction.atomic():
            return _restart(assignment, changes)
    except IntegrityError as taken:
        # They hold the pair, or that lease number, in another tab.
        raise LeaseLost("This pair is open in another tab.") from taken


def _restart(assignment: Assignment, changes: dict[str, Any]) -> Assignment:
    held = Assignment.objects.select_for_update(of=("self",)).select_related("campaign").get(pk=assignment.pk)
    if held.campaign.state not in (CampaignState.OPEN, CampaignState.PAUSED) or not _is_active(held):
        raise LeaseLost("Pairs of this campaign are not handed out any more.")
    if held.state == AssignmentState.EXPIRED:
        number, slot = free_lease_number(held), take_free_slot(held)
        if number is None or slot is None:
            raise LeaseLost("The time was over, and somebody else judges this pair now.")
        changes = {**changes, "state": AssignmentState.LEASED, "lease_number": number, "slot": slot}
    elif held.state != AssignmentState.LEASED:
        raise LeaseLost("This pair was answered or given back.")
    expires = Now() + timedelta(minutes=held.campaign.lease_minutes)
    Assignment.objects.filter(pk=held.pk).update(expires_at=expires, **changes)
    assignment.refresh_from_db()
    return assignment


def _is_active(assignment: Assignment) -> bool:
    return Membership.objects.filter(campaign=assignment.campaign_id, user=assignment.annotator_id, active=True).exists()


@transaction.atomic
def release(*, assignment: Assignment) -> bool:
    """Give a lease back unanswered; False if it was no lease any more."""
    return _release(Assignment.objects.filter(pk=assignment.pk)) == 1


@transaction.atomic
def release_all(*, campaign: Campaign, annotator: User | None = None) -> int:
    """End every lease of a campaign, when it closes; or those of one annotator, when they leave it. Returns how many."""
    return _release(_whose(campaign, annotator))


@transaction.atomic
def release_ahead(*, campaign: Campaign, annotator: User | None = None) -> int:
    """Give back the leases that were fetched ahead and never shown: of one annotator, or of all when a campaign pauses."""
    return _release(_whose(campaign, annotator).filter(shown_at__isnull=True))


def _whose(campaign: Campaign, annotator: User | None) -> models.QuerySet[Assignment]:
    leases = Assignment.objects.filter(campaign=campaign)
    return leases if annotator is None else leases.filter(annotator=annotator)


def _release(leases: models.QuerySet[Assignment]) -> int:
    """Assignments are locked before their slots, in one order, as everywhere."""
    held = list(leases.select_for_update().filter(state=AssignmentState.LEASED).order_by("pk").values_list("pk", "slot"))
    Assignment.objects.filter(pk__in=[lease for lease, _ in held]).update(state=AssignmentState.RELEASED)
    Slot.objects.filter(pk__in=[slot for _, slot in held]).update(open=True)
    return len(held)


@transaction.atomic
def reassign(*, to: User, actor: User | None, assignment: Assignment | None = None, slot: Slot | None = None) -> Slot:
    """Keep a lease's slot, or an open one, for `to`: nobody else is handed it. An answer of the old holder may still arrive late.

    Raises ReassignRefused for an answered slot, for gold and repeats (they are one person's), and for somebody who has had the pair or
    is not rating in the campaign.
    """
    if assignment is not None:
        _release(Assignment.objects.filter(pk=assignment.pk))
    wanted: int = assignment.slot_id if assignment is not None else slot.pk if slot is not None else 0
    found = Slot.objects.select_for_update(of=("self",)).select_related("campaign").filter(pk=wanted).first()
    if found is None or not found.open:
        raise ReassignRefused("This pair is answered, withdrawn or in somebody's hands.")
    if found.kind not in (SlotKind.VOTE, SlotKind.REVIEW):
        raise ReassignRefused("This pair is kept for one person.")
    if not Membership.objects.filter(campaign=found.campaign, user=to, active=True).exists():
        raise ReassignRefused(f"{to.username} does not rate in this campaign.")
    had = [AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SURPLUS]
    if Assignment.objects.filter(pair=found.pair_id, annotator=to, state__in=had).exists():
        raise ReassignRefused(f"{to.username} has had this pair already.")
    found.reserved_for = to
    found.save(update_fields=["reserved_for"])
    audit.record(actor, "slot.reassigned", found, campaign=str(found.campaign.public_id), to=to.pk)
    return found


def take_free_slot(assignment: Assignment) -> Slot | None:
    """An open slot of the assignment's pair that its annotator could be handed, taken for it, or None.

    Called inside the transaction that answers late or asks for more time. None for somebody who was revoked.
    """
    member = Membership.objects.filter(campaign=assignment.campaign_id, user=assignment.annotator_id, active=True).first()
    if member is None:
        return None
    theirs = models.Q(reserved_for=assignment.annotator_id, repeat=assignment.repeat)
    if not assignment.repeat:
        theirs |= models.Q(reserved_for__isnull=True, audience__in=["", *member.audiences])
    slot = (
        Slot.objects.select_for_update(skip_locked=True)
        .filter(theirs, pair_id=assignment.pair_id, open=True)
        .order_by("reserved_for", "number")
        .first()
    )
    if slot is not None:
        Slot.objects.filter(pk=slot.pk).update(open=False)
    return slot


def free_lease_number(assignment: Assignment) -> int | None:
    """The lowest lease number its annotator does not use in the campaign, or None at three open leases."""
    return _lowest_free(
        Assignment.objects.filter(
            campaign=assignment.campaign_id, annotator=assignment.annotator_id, state=AssignmentState.LEASED
        ).values_list("lease_number", flat=True)
    )


def _lowest_free(used: Iterable[int]) -> int | None:
    taken = set(used)
    return next((number for number in range(1, MAX_LEASES + 1) if number not in taken), None)
