"""Judgements: recorded once a key, stored by completion and never by side, amended by revisions, undone by a mark."""

from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import assignments
from annotation.models import Assignment, AssignmentState, Campaign, CampaignState, CannotJudge, Judgement, Verdict


class SideVerdict(models.TextChoices):
    """What the annotator sees and presses: by side."""

    A_MUCH = "a_much", "A much better"
    A_SLIGHTLY = "a_slightly", "A slightly better"
    BOTH_ACCEPTABLE = "both_acceptable", "Both acceptable"
    B_SLIGHTLY = "b_slightly", "B slightly better"
    B_MUCH = "b_much", "B much better"
    BOTH_UNACCEPTABLE = "both_unacceptable", "Both unacceptable"
    CANNOT_JUDGE = "cannot_judge", "Cannot judge"


_IF_FIRST_IS_LEFT = {
    SideVerdict.A_MUCH: Verdict.FIRST_MUCH,
    SideVerdict.A_SLIGHTLY: Verdict.FIRST_SLIGHTLY,
    SideVerdict.B_SLIGHTLY: Verdict.SECOND_SLIGHTLY,
    SideVerdict.B_MUCH: Verdict.SECOND_MUCH,
    SideVerdict.BOTH_ACCEPTABLE: Verdict.BOTH_ACCEPTABLE,
    SideVerdict.BOTH_UNACCEPTABLE: Verdict.BOTH_UNACCEPTABLE,
    SideVerdict.CANNOT_JUDGE: Verdict.CANNOT_JUDGE,
}
_IF_FIRST_IS_RIGHT = {
    **_IF_FIRST_IS_LEFT,
    SideVerdict.A_MUCH: Verdict.SECOND_MUCH,
    SideVerdict.A_SLIGHTLY: Verdict.SECOND_SLIGHTLY,
    SideVerdict.B_SLIGHTLY: Verdict.FIRST_SLIGHTLY,
    SideVerdict.B_MUCH: Verdict.FIRST_MUCH,
}


class AlreadyAnswered(Exception):
    """This pair was answered before, perhaps in another tab. `judgement` is that answer; nothing was overwritten."""

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement
        super().__init__("This pair was answered before; the earlier answer stands.")


class KeyReused(Exception):
    """An idempotency key came back with a different answer; nothing was stored."""


class NothingToUndo(Exception):
    """There is no answer that can be taken back; the message says why."""


def by_side(assignment: Assignment, side_verdict: str) -> Verdict:
    """The verdict about completions behind what was pressed about sides A (left) and B."""
    table = _IF_FIRST_IS_LEFT if assignment.first_on_left else _IF_FIRST_IS_RIGHT
    return table[SideVerdict(side_verdict)]


def seen_from(assignment: Assignment, verdict: str) -> SideVerdict:
    """The inverse of `by_side`: how a stored verdict reads to the annotator who gave it."""
    table = _IF_FIRST_IS_LEFT if assignment.first_on_left else _IF_FIRST_IS_RIGHT
    return next(side for side, stored in table.items() if stored == verdict)


@transaction.atomic
def submit(
    *,
    assignment: Assignment,
    verdict: Verdict,
    key: UUID,
    cannot_reason: str = "",
    active_ms: int | None = None,
    rationale: str = "",
) -> Judgement:
    """Record one judgement a key: sent again, the same answer is returned and nothing added.

    An answer whose lease ran out takes a free slot of its pair, or is kept as surplus; so is one that arrives after closing.
    Raises AlreadyAnswered when the pair has an answer under another key, KeyReused when the key has another answer.
    """
    _check_reason(verdict, cannot_reason)
    # The row's lock puts a double click, a second tab and an undo in some order.
    held = Assignment.objects.select_for_update().select_related("campaign", "annotator").get(pk=assignment.pk)
    if answered := _answered(key, held, verdict, cannot_reason):
        return answered
    if held.state in (AssignmentState.SUBMITTED, AssignmentState.SURPLUS):
        raise AlreadyAnswered(_standing(held))
    surplus = not _settle(held)
    judgement = Judgement.objects.create(
        assignment=held,
        revision=_next_revision(held),
        idempotency_key=key,
        verdict=verdict,
        cannot_reason=cannot_reason,
        rationale=rationale,
        active_ms=active_ms,
        surplus=surplus,
    )
    audit.record(held.annotator, "judgement.submitted", judgement, assignment=str(held.public_id), surplus=surplus)
    return judgement


def _settle(held: Assignment) -> bool:
    """Turn the lease into the slot's holder; False if the answer is surplus. `state = leased` still holds its slot, however late."""
    if held.campaign.state == CampaignState.OPEN and held.state == AssignmentState.LEASED:
        held.state = AssignmentState.SUBMITTED
    else:
        mine = (
            Assignment.objects.select_for_update()
            .filter(pair=held.pair_id, annotator=held.annotator_id, repeat=held.repeat)
            .exclude(pk=held.pk)
        )
        if mine.filter(state__in=[AssignmentState.SUBMITTED, AssignmentState.SURPLUS]).exists():
            # They leased the pair again and answered it there: this answer is kept beside, holding nothing.
            return False
        for again in mine.filter(state=AssignmentState.LEASED):
            assignments.release(assignment=again)
        if held.state == AssignmentState.LEASED:
            assignments.release(assignment=held)
        slot = assignments.take_free_slot(held) if held.campaign.state == CampaignState.OPEN else None
        held.state = AssignmentState.SURPLUS if slot is None else AssignmentState.SUBMITTED
        held.slot = slot or held.slot
    Assignment.objects.filter(pk=held.pk).update(state=held.state, slot=held.slot_id, submitted_at=Now())
    return held.state == AssignmentState.SUBMITTED


@transaction.atomic
def amend(
    *, judgement: Judgement, verdict: Verdict, key: UUID, cannot_reason: str = "", active_ms: int | None = None, rationale: str = ""
) -> Judgement:
    """Answer again: a new revision; the old one stays readable. Only while the campaign is open, and only over the answer that stands.

    Raises AlreadyAnswered when `judgement` is not that answer any more.
    """
    _check_reason(verdict, cannot_reason)
    held = Assignment.objects.select_for_update().select_related("campaign", "annotator").get(pk=judgement.assignment_id)
    if answered := _answered(key, held, verdict, cannot_reason):
        return answered
    standing = _standing(held)
    if standing.pk != judgement.pk or held.campaign.state != CampaignState.OPEN:
        raise AlreadyAnswered(standing)
    amended = Judgement.objects.create(
        assignment=held,
        revision=_next_revision(held),
        idempotency_key=key,
        verdict=verdict,
        cannot_reason=cannot_reason,
        rationale=rationale,
        active_ms=active_ms,
        surplus=standing.surplus,
    )
    audit.record(held.annotator, "judgement.amended", amended, assignment=str(held.public_id), revision=amended.revision)
    return amended


def undo_last(*, campaign: Campaign, annotator: User) -> Assignment:
    """Take back the annotator's last answer in an open campaign: it stays on record, marked, and its pair is theirs to judge again.

    Undoing an amendment brings the answer before it back. Raises NothingToUndo.
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
    held = Assignment.objects.select_for_update().get(pk=last.assignment_id)
    if held.state != AssignmentState.SUBMITTED or not Judgement.objects.filter(pk=last.pk, undone_at__isnull=True).update(undone_at=Now()):
        raise NothingToUndo("That answer was taken back already.")
    if not held.judgements.filter(undone_at__isnull=True).exists():
        number = assignments.free_lease_number(held)
        if number is None:
            raise NothingToUndo(f"{assignments.MAX_LEASES} pairs are open already: answer one of them first.")
        expires = Now() + timedelta(minutes=campaign.lease_minutes)
        Assignment.objects.filter(pk=held.pk).update(
            state=AssignmentState.LEASED, lease_number=number, leased_at=Now(), expires_at=expires, submitted_at=None
        )
    audit.record(annotator, "judgement.undone", last, assignment=str(held.public_id))
    held.refresh_from_db()
    return held


def _answered(key: UUID, held: Assignment, verdict: str, cannot_reason: str) -> Judgement | None:
    known = Judgement.objects.filter(idempotency_key=key).first()
    if known is None:
        return None
    if (known.assignment_id, known.verdict, known.cannot_reason) != (held.pk, verdict, cannot_reason):
        raise KeyReused("This form was sent before with another answer; the first one stands.")
    return known


def _standing(held: Assignment) -> Judgement:
    return held.judgements.filter(undone_at__isnull=True).order_by("-revision")[0]


def _next_revision(held: Assignment) -> int:
    return int(held.judgements.aggregate(last=models.Max("revision"))["last"] or 0) + 1


def _check_reason(verdict: str, cannot_reason: str) -> None:
    if (verdict == Verdict.CANNOT_JUDGE) != bool(cannot_reason) or (cannot_reason and cannot_reason not in CannotJudge.values):
        raise ValueError("“Cannot judge” takes one of its reasons; no other verdict takes one.")
