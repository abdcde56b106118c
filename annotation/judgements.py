"""Judgements: recorded once a key, stored by completion and never by side, amended by revisions, undone by a mark."""

import json
from copy import copy
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Now
from django.dispatch import Signal

from accounts import audit
from accounts.models import User
from annotation import answers, assignments, differences, disputes, qualifications, slots
from annotation.answers import (
    COLUMNS,
    Answer,
    AnswerRefused,
    Layout,
    Sides,
    SideVerdict,
    Span,
    by_side,
    from_sides,
    seen_from,
)
from annotation.models import (
    Assignment,
    AssignmentState,
    Campaign,
    CampaignState,
    DisputeState,
    Edit,
    ErrorSpan,
    Judgement,
    Membership,
    Pair,
)
from web.statements import prepared

__all__ = [
    "ANSWERED", "UNDO_DEPTH", "AlreadyAnswered", "Answer", "AnswerRefused", "KeyReused", "NothingToUndo", "SideVerdict", "Span", "amend",
    "by_side", "from_sides", "seen_from", "standing", "submit", "to_sides", "undo_last",
]  # fmt: skip

ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.SURPLUS)
# A pause stops handing out; what people have before them still counts.
TAKING = (CampaignState.OPEN, CampaignState.PAUSED)
UNDO_DEPTH = 10

# Sent inside the transaction that changed an answer of a study: sender is Judgement, `campaign` whose. Who reads verdicts listens.
study_heard = Signal()


class AlreadyAnswered(Exception):
    """This pair was answered before, perhaps in another tab. `judgement` is that answer; nothing was overwritten."""

    def __init__(self, judgement: Judgement, why: str = "This pair was answered before; the earlier answer stands.") -> None:
        self.judgement = judgement
        super().__init__(why)


class KeyReused(Exception):
    """An idempotency key came back with a different answer; nothing was stored."""


class NothingToUndo(Exception):
    """There is no answer that can be taken back; the message says why."""


def to_sides(shown: Layout, judgement: Judgement) -> Sides:
    """How a stored judgement reads to somebody who sees its pair as `shown`: the inverse of `from_sides`."""
    return answers.to_sides(shown, answers.of(judgement))


def submit(*, assignment: Assignment, key: UUID, answer: Answer | None = None, **said: Any) -> Judgement:
    """Record one judgement a key: sent again, the same answer is returned and nothing added. `said` are an Answer's fields, written out.

    An answer whose lease ran out takes a free slot of its pair, or is kept as surplus; so is one that arrives after closing, or from
    somebody who was taken off the campaign. With it, in the same transaction: its marks and edit, the end of its draft, the dispute or
    repeat that follows from it, and a qualification's outcome.

    Raises AlreadyAnswered when the pair has an answer under another key, KeyReused when the key has another answer, AnswerRefused when
    the answer makes no sense or lacks what the campaign asks for.
    """
    given = answer or Answer(**said)
    try:
        return _submit(assignment, given, key)
    except IntegrityError:
        # The same key came in the same moment, or this answer was given and taken back meanwhile; by now it shows.
        return _submit(assignment, given, key)


# Read again after the lock: a campaign may have closed, a lease may have ended since the page was drawn.
_HOLD = """
SELECT a.state, a.slot_id, c.state,
       coalesce((SELECT max(j.revision) FROM annotation_judgement j WHERE j.assignment_id = a.id), 0),
       EXISTS (SELECT 1 FROM annotation_judgement j WHERE j.idempotency_key = %(key)s)
FROM annotation_assignment a JOIN annotation_campaign c ON c.id = a.campaign_id
WHERE a.id = %(assignment)s FOR UPDATE OF a
"""


_SETTLE = "UPDATE annotation_assignment SET state = %s, slot_id = %s, submitted_at = statement_timestamp() WHERE id = %s"

# The draft goes with the answer that was made of it.
_TYPES = {"reasons": "::text[]", "axes": "::jsonb", "undone_at": "::timestamptz"}
_WRITTEN = [field.attname for field in Judgement._meta.concrete_fields if field.attname not in ("id", "submitted_at")]
_VALUES = [f"%({name})s{_TYPES.get(name, '')}" for name in _WRITTEN]
_RECORD = f"""
WITH gone AS (DELETE FROM annotation_draft WHERE assignment_id = %(assignment_id)s)
INSERT INTO annotation_judgement ({", ".join(_WRITTEN)})
VALUES ({", ".join(_VALUES)})
RETURNING id, submitted_at
"""  # noqa: S608 (our own text; values are parameters)


class _Held(NamedTuple):
    """A locked assignment with its states as they are now, its newest revision, and whether the key at hand is in use anywhere."""

    assignment: Assignment
    revision: int
    key_used: bool


@transaction.atomic
def _submit(assignment: Assignment, given: Answer, key: UUID) -> Judgement:
    if assignment.campaign.purpose == qualifications.QUALIFY:
        # Their outcome changes the membership, and who is revoked loses leases: the membership is locked before the lease, as there.
        list(Membership.objects.select_for_update().filter(campaign=assignment.campaign_id, user=assignment.annotator_id))
    held, revision, key_used = _hold(assignment, key)
    given = _settled(given, held.pair)
    if key_used or held.state in ANSWERED:
        if answered := _answered(key, held, given):
            return answered
        if stands := standing(held):
            raise AlreadyAnswered(stands)
    _refuse_if_wrong(given, held)
    surplus = not _settle(held)
    judgement = _record(held, given, key, revision=revision + 1, surplus=surplus)
    audit.record(held.annotator, "judgement.submitted", judgement, assignment=str(held.public_id), surplus=surplus)
    if not surplus and held.repeat == 0:
        slots.schedule_repeat(assignment=held)
    _consider(held)
    return judgement


def _hold(assignment: Assignment, key: UUID) -> _Held:
    """Lock the assignment: its row's lock puts a double click, a second tab and an undo in some order.

    What cannot have changed is taken from `assignment` as it was loaded; what can have is read here, in one small statement. `revision`
    and `key_used` are from before the lock was had: who comes second finds the state changed, or breaks a constraint.
    """
    with prepared() as cursor:
        cursor.execute(_HOLD, {"assignment": assignment.pk, "key": key})
        state, slot, campaign_state, revision, key_used = cursor.fetchone()
    held = copy(assignment)
    held.campaign = copy(assignment.campaign)
    held.state, held.slot_id, held.campaign.state = state, slot, campaign_state
    return _Held(held, revision, key_used)


def _settled(given: Answer, pair: Pair) -> Answer:
    """The answer without an edit that changes nothing."""
    if not given.edited_text or not given.edited or answers.edit_of(given, pair):
        return given
    return answers.without_edit(given)


def _refuse_if_wrong(given: Answer, held: Assignment) -> None:
    if faults := answers.check(given, campaign=held.campaign, pair=held.pair):
        raise AnswerRefused(faults)


def _settle(held: Assignment) -> bool:
    """Turn the lease into the slot's holder; False if the answer is surplus. `state = leased` still holds its slot, however late."""
    taking = held.campaign.state in TAKING
    if taking and held.state == AssignmentState.LEASED:
        held.state = AssignmentState.SUBMITTED
    else:
        # Who ended this lease may have closed the campaign in the same moment: `_hold` waited for the lease, not for the campaign.
        taking = Campaign.objects.filter(pk=held.campaign_id, state__in=TAKING).exists()
        mine = (
            Assignment.objects.select_for_update()
            .filter(pair=held.pair_id, annotator=held.annotator_id, repeat=held.repeat)
            .exclude(pk=held.pk)
        )
        if mine.filter(state__in=ANSWERED).exists():
            # They leased the pair again and answered it there: this answer is kept beside, holding nothing.
            return False
        for again in mine.filter(state=AssignmentState.LEASED):
            assignments.release(assignment=again)
        if held.state == AssignmentState.LEASED:
            assignments.release(assignment=held)
        slot = assignments.take_free_slot(held) if taking else None
        held.state = AssignmentState.SURPLUS if slot is None else AssignmentState.SUBMITTED
        held.slot_id = held.slot_id if slot is None else slot.pk
    with prepared() as cursor:
        cursor.execute(_SETTLE, [held.state, held.slot_id, held.pk])
    return held.state == AssignmentState.SUBMITTED


def _record(held: Assignment, given: Answer, key: UUID, *, revision: int, surplus: bool) -> Judgement:
    """The next revision with its marks and its edit; the draft it was made from is gone with it."""
    columns: dict[str, Any] = {name: getattr(given, name) for name in COLUMNS}
    judgement = Judgement(
        assignment=held,
        revision=revision,
        idempotency_key=key,
        surplus=surplus,
        **{**columns, "reasons": list(given.reasons)},
    )
    with prepared() as cursor:
        cursor.execute(_RECORD, {**vars(judgement), "axes": json.dumps(judgement.axes)})
        judgement.pk, judgement.submitted_at = cursor.fetchone()
    judgement._state.adding, judgement._state.db = False, connection.alias
    completions = {"first": held.pair.first_id, "second": held.pair.second_id}
    if given.spans:
        ErrorSpan.objects.bulk_create(
            ErrorSpan(
                judgement=judgement, completion_id=completions[one.of], start=one.start, end=one.end, kind=one.kind, severity=one.severity
            )
            for one in given.spans
        )
    if text := answers.edit_of(given, held.pair):
        before = getattr(held.pair, given.edited).text
        Edit.objects.create(
            judgement=judgement,
            completion_id=completions[given.edited],
            text=text,
            changed_words=differences.changes(answers.unix(before), text).words,
        )
    return judgement


def _consider(held: Assignment) -> None:
    """What follows from a change of answers."""
    disputes.consider(pair=held.pair)
    if held.campaign.purpose == "qualify":
        qualifications.consider(campaign=held.campaign, user=held.annotator)
    if held.campaign.purpose == "study":
        study_heard.send(sender=Judgement, campaign=held.campaign)


def amend(*, judgement: Judgement, key: UUID, answer: Answer | None = None, **said: Any) -> Judgement:
    """Answer again: a new revision; the old one stays readable. Only while the campaign is open, and only over the answer that stands.

    Raises AlreadyAnswered when `judgement` is not that answer any more or may not be changed, KeyReused and AnswerRefused as `submit` does.
    """
    given = answer or Answer(**said)
    try:
        return _amend(judgement, given, key)
    except IntegrityError:
        # The same key came in the same moment; by now it shows.
        return _amend(judgement, given, key)


@transaction.atomic
def _amend(judgement: Judgement, given: Answer, key: UUID) -> Judgement:
    held, _, _ = _hold(judgement.assignment, key)
    given = _settled(given, held.pair)
    if answered := _answered(key, held, given):
        return answered
    stands = standing(held)
    if stands is None:
        raise AlreadyAnswered(judgement, "This answer was taken back, perhaps in another tab: answer the pair anew.")
    if stands.pk != judgement.pk:
        raise AlreadyAnswered(stands)
    if reason := _why_it_stands(held):
        raise AlreadyAnswered(stands, reason)
    _refuse_if_wrong(given, held)
    # Read after the lock was had.
    newest = held.judgements.aggregate(last=models.Max("revision"))["last"] or 0
    amended = _record(held, given, key, revision=newest + 1, surplus=stands.surplus)
    audit.record(held.annotator, "judgement.amended", amended, assignment=str(held.public_id), revision=amended.revision)
    _consider(held)
    return amended


def _why_it_stands(held: Assignment) -> str:
    """Why an answer may be neither changed nor taken back any more; "" if it may."""
    if held.campaign.state == CampaignState.CLOSED:
        return "The campaign has closed: its answers stand."
    if held.campaign.state != CampaignState.OPEN:
        return "The campaign is not open: its answers stand."
    if Membership.objects.filter(campaign=held.campaign_id, user=held.annotator_id, revoked_at__isnull=False).exists():
        return "You rate in this campaign no more: your answers stand."
    if held.campaign.purpose == "qualify":
        return "You have been told what was expected: in a qualification the first answer counts."
    if held.pair_id in _ruled([held.pair_id]):
        return "A lead clinician has ruled on this pair: the answers to it stand."
    return ""


def _ruled(pairs: list[int]) -> set[int]:
    return set(Pair.objects.filter(pk__in=pairs, dispute__state=DisputeState.RULED).values_list("pk", flat=True))


def undo_last(*, campaign: Campaign, annotator: User) -> Assignment:
    """Take back the annotator's last answer in an open campaign: it stays on record, marked, and its pair is theirs to judge again.

    Undoing an amendment brings the answer before it back. Ten deep; where more pairs would be open than a rater may hold, one is
    given back: one never looked at, never answered, or taken back first. Raises NothingToUndo.
    """
    try:
        return _undo_last(campaign, annotator)
    except IntegrityError:
        # Another tab took the lease number in the same moment; by now it shows.
        return _undo_last(campaign, annotator)


@transaction.atomic
def _undo_last(campaign: Campaign, annotator: User) -> Assignment:
    if Campaign.objects.filter(pk=campaign.pk, state=CampaignState.OPEN).count() != 1:
        raise NothingToUndo("The campaign is not open: its answers stand.")
    last = Judgement.objects.undoable(campaign, annotator).first()
    if last is None:
        raise NothingToUndo("There is no answer to take back.")
    later = Judgement.objects.filter(assignment__campaign=campaign, assignment__annotator=annotator, pk__gt=last.pk)
    if later.values("assignment").distinct().count() >= UNDO_DEPTH:
        raise NothingToUndo(f"The last {UNDO_DEPTH} answers can be taken back; earlier ones can be changed from your history.")
    held = Assignment.objects.select_for_update(of=("self",)).select_related("campaign", "annotator", "pair").get(pk=last.assignment_id)
    if reason := _why_it_stands(held):
        raise NothingToUndo(reason)
    if held.state != AssignmentState.SUBMITTED or not Judgement.objects.filter(pk=last.pk, undone_at__isnull=True).update(undone_at=Now()):
        raise NothingToUndo("That answer was taken back already.")
    if not held.judgements.filter(undone_at__isnull=True).exists():
        _reopen(held)
        slots.moot_repeat(assignment=held)
    audit.record(annotator, "judgement.undone", last, assignment=str(held.public_id))
    _consider(held)
    held.refresh_from_db()
    return held


def _reopen(held: Assignment) -> None:
    """A taken-back answer's pair is before its annotator again, as a lease."""
    number = assignments.free_lease_number(held)
    if number is None:
        number = _make_room(held)
    expires = Now() + timedelta(minutes=held.campaign.lease_minutes)
    Assignment.objects.filter(pk=held.pk).update(
        state=AssignmentState.LEASED, lease_number=number, leased_at=Now(), shown_at=Now(), expires_at=expires, submitted_at=None
    )


def _make_room(held: Assignment) -> int:
    """Give one of the annotator's three leases back to the campaign, the one least missed; returns its number."""
    leases = Assignment.objects.filter(campaign=held.campaign_id, annotator=held.annotator_id, state=AssignmentState.LEASED)
    answered = set(leases.filter(judgements__isnull=False).values_list("pk", flat=True))
    least, *_ = sorted(leases, key=lambda lease: (lease.shown_at is not None, lease.pk in answered, lease.leased_at))
    assignments.release(assignment=least)
    return least.lease_number


def standing(held: Assignment) -> Judgement | None:
    """The answer that holds: the newest revision that was not taken back."""
    return held.judgements.filter(undone_at__isnull=True).order_by("-revision").first()


def _answered(key: UUID, held: Assignment, given: Answer) -> Judgement | None:
    """What was stored under `key`, if it says the same. Raises KeyReused if it does not."""
    known = Judgement.objects.filter(idempotency_key=key).select_related("assignment__pair", "edit").first()
    if known is None:
        return None
    if known.assignment_id != held.pk or not answers.of(known).says_the_same(given):
        raise KeyReused("This form was sent before with another answer; the first one stands.")
    return known
