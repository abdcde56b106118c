"""Disputes: pairs whose votes a lead clinician has to look at, kept true to the votes in the transaction that changes them."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts import audit
from annotation import defects, slots
from annotation.models import (
    MAJOR,
    AssignmentState,
    CannotJudge,
    Dispute,
    DisputeKind,
    DisputeState,
    Judgement,
    Pair,
    Severity,
    SlotKind,
    Verdict,
)
from web.statements import prepared

# A dispute's `severity`, the worst flag below it: higher comes first.
GRADE = {"": 0, Severity.MINOR: 1, Severity.MAJOR: 2, Severity.LIFE_THREATENING: 3}
GRADE_NAMES = {0: "none", 1: "minor", 2: "major", 3: "life-threatening"}
_FOR_FIRST, _FOR_SECOND = {Verdict.FIRST_MUCH, Verdict.FIRST_SLIGHTLY}, {Verdict.SECOND_MUCH, Verdict.SECOND_SLIGHTLY}
_MUCH = {Verdict.FIRST_MUCH, Verdict.SECOND_MUCH}
_VOTES = {SlotKind.VOTE, SlotKind.REVIEW}


@dataclass(frozen=True)
class Finding:
    """What a pair's answers amount to: `kind` is None when there is nothing to settle; `version` only ever grows."""

    kind: DisputeKind | None
    severity: int
    version: int


# The row's lock first, in a statement of its own: the next one sees what was committed while this one waited.
_LOCK = "SELECT 1 FROM annotation_pair WHERE id = %s FOR NO KEY UPDATE"
# Whether anything here could open, change or report something: a dispute, a grave flag, a word against the sample, or votes for either
# side. It may say yes where `find` says no (an undone answer, gold), never the other way round.
_ANYTHING = """
SELECT EXISTS (SELECT 1 FROM annotation_dispute d WHERE d.pair_id = %(pair)s) OR coalesce((
    SELECT bool_or(
               j.harm_first = ANY(%(major)s::text[]) OR j.harm_second = ANY(%(major)s::text[])
               OR j.cannot_reason = %(defective)s::text OR j.hard = ANY(%(against)s::text[])
           )
        OR bool_or(j.verdict = ANY(%(first)s::text[])) AND bool_or(j.verdict = ANY(%(second)s::text[]))
    FROM annotation_assignment a JOIN annotation_judgement j ON j.assignment_id = a.id WHERE a.pair_id = %(pair)s
), false)
"""
_WORDS: dict[str, Any] = {
    "major": [str(level) for level in MAJOR],
    "defective": str(CannotJudge.DEFECTIVE_INPUT),
    "against": [str(chip) for chip in defects.HARD_AGAINST],
    "first": [str(verdict) for verdict in _FOR_FIRST],
    "second": [str(verdict) for verdict in _FOR_SECOND],
}


def _anything_to_consider(pair: Pair) -> bool:
    """Lock the pair; False when a look at its answers will come to nothing, as nearly always."""
    with prepared() as cursor:
        cursor.execute(_LOCK, [pair.pk])
        cursor.execute(_ANYTHING, {**_WORDS, "pair": pair.pk})
        return bool(cursor.fetchone()[0])


# No savepoint of its own: it runs within the submitting transaction, on the way of every answer.
@transaction.atomic(savepoint=False)
def consider(*, pair: Pair) -> Dispute | None:
    """Open, update or close the pair's dispute after its answers changed; None when there is and was nothing to settle.

    A sample that the answers speak against is reported. Two small queries when there is neither.

    Strongly opposed votes make one, and so does a flag of major harm or worse by anybody, a repeat or a surplus answer included
    (product.md 2.4–2.5). Slight against slight is information, not a dispute. On gold, verdicts make none. Called in the
    transaction of the change; the pair's row is locked, so that two opposed votes at once see each other.
    """
    if not _anything_to_consider(pair):
        return None
    held = (
        Pair.objects.select_for_update(of=("self",), no_key=True)
        .select_related("dispute", "campaign")
        .only("campaign__purpose", "campaign__state", "dispute")
        .get(pk=pair.pk)
    )
    dispute: Dispute | None = getattr(held, "dispute", None)
    if held.campaign.purpose == "qualify":
        return None
    answers = _answers(held)
    if reporting := _against_the_sample(answers):
        defects.consider(judgement=reporting)
    found = find(answers)
    if dispute is None:
        return None if found.kind is None else _open(held, found)
    if found.version == dispute.votes_version:
        return dispute
    return _update(held, dispute, found)


def _answers(pair: Pair) -> list[Judgement]:
    """Every revision of every answer, the newest of an assignment last."""
    answers = Judgement.objects.filter(assignment__pair=pair).select_related("assignment__slot", "assignment__annotator")
    return list(answers.order_by("assignment", "revision"))


def _current(answers: Iterable[Judgement]) -> list[Judgement]:
    """JudgementQuerySet.current(), of answers that were read already."""
    return list({answer.assignment_id: answer for answer in answers if answer.undone_at is None}.values())


def _against_the_sample(answers: Iterable[Judgement]) -> Judgement | None:
    """The current answer that speaks against the sample: the newest "defective input", else the newest chip."""
    against = [answer for answer in _current(answers) if defects.speaks_against(answer)]
    return max(against, key=lambda answer: (answer.cannot_reason != "", answer.pk), default=None)


def find(answers: Iterable[Judgement]) -> Finding:
    """What every revision of a pair's answers amounts to. `version` counts the revisions that bear on it and their undoing."""
    answers = list(answers)
    version = sum(1 + (answer.undone_at is not None) for answer in answers if _is_a_vote(answer) or _flagged(answer))
    current = _current(answers)
    votes = {answer.verdict for answer in current if _is_a_vote(answer) and answer.assignment.state == AssignmentState.SUBMITTED}
    severity = max((GRADE[flag] for answer in current for flag in (answer.harm_first, answer.harm_second)), default=0)
    if severity >= GRADE[Severity.MAJOR]:
        return Finding(DisputeKind.HARM, severity, version)
    opposed = bool(votes & _FOR_FIRST) and bool(votes & _FOR_SECOND) and bool(votes & _MUCH)
    return Finding(DisputeKind.OPPOSED if opposed else None, severity, version)


def _is_a_vote(answer: Judgement) -> bool:
    held = answer.assignment
    return not answer.surplus and held.repeat == 0 and held.slot.kind in _VOTES


def _flagged(answer: Judgement) -> bool:
    return answer.harm_first in MAJOR or answer.harm_second in MAJOR


def _open(pair: Pair, found: Finding) -> Dispute:
    assert found.kind is not None
    dispute = Dispute.objects.create(
        pair=pair,
        campaign_id=pair.campaign_id,
        kind=found.kind,
        severity=found.severity,
        first_on_left=secrets.randbelow(2) == 0,
        votes_version=found.version,
    )
    audit.record(None, "dispute.opened", dispute, kind=str(found.kind), severity=found.severity)
    if found.kind == DisputeKind.HARM:
        slots.add_review(pair=pair)
    return dispute


def _update(pair: Pair, dispute: Dispute, found: Finding) -> Dispute:
    """The votes below a dispute changed: it is asked (again), or it is one no more. A deferred one comes back when it got worse."""
    worse = found.severity > dispute.severity
    before = dispute.state
    if found.kind == DisputeKind.HARM:
        # A no-op where a second reader was asked already.
        slots.add_review(pair=pair)
    if found.kind is None:
        dispute.state = DisputeState.MOOT
    elif before != DisputeState.DEFERRED or worse:
        dispute.state = DisputeState.OPEN
    dispute.kind = found.kind or dispute.kind
    dispute.severity = found.severity
    dispute.votes_version = found.version
    dispute.save(update_fields=["state", "kind", "severity", "votes_version"])
    if dispute.state != before:
        audit.record(None, f"dispute.{dispute.state}", dispute, severity=found.severity, was=before)
    return dispute
