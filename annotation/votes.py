"""The answers to a disputed pair as a lead reads them: by the lead's sides, without a name, with the marks in the texts."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from annotation import answers
from annotation.marks import Mark, Marked, cut
from annotation.models import (
    Adjudication,
    AssignmentState,
    CannotJudge,
    Dispute,
    DisputeState,
    Edit,
    Hard,
    Harm,
    Judgement,
    Severity,
    SlotKind,
)


@dataclass(frozen=True)
class Flag:
    """Harm seen on a side ("A" or "B"), in words."""

    side: str
    severity: str
    kind: str
    major: bool


@dataclass(frozen=True)
class Vote:
    """One answer, by the lead's sides. `notes` say what sets it apart: asked again, late, new since the last ruling.

    `swapped`: the rater saw the sides the other way round, so that "A" in their own words is the lead's B.
    """

    rater: int
    verdict: str
    reason: str
    flags: tuple[Flag, ...]
    reasons: tuple[str, ...]
    axes: tuple[tuple[str, str], ...]
    hard: str
    rationale: str
    swapped: bool
    marks: int
    edited_side: str
    edited_words: int
    edited_text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Hearing:
    """All a lead needs to rule: both texts cut at the raters' marks, and the votes."""

    a: Marked
    b: Marked
    votes: list[Vote]


def hear(dispute: Dispute, *, last: Adjudication | None) -> Hearing:
    """Read a dispute's answers in three queries. `dispute` comes with its pair, both texts and its campaign's rubric.

    Raters are numbered in an order drawn for the dispute: who came first is nobody's business here.
    """
    found = list(
        Judgement.objects.speaking()
        .filter(assignment__pair=dispute.pair_id)
        .select_related("assignment__slot", "edit")
        .prefetch_related("spans")
    )
    raters = {answer.assignment.annotator_id for answer in found}
    drawn = sorted(raters, key=lambda rater: sha256(f"{dispute.public_id}:{rater}".encode()).digest())
    number = {rater: place for place, rater in enumerate(drawn, start=1)}
    found.sort(key=lambda answer: (number[answer.assignment.annotator_id], answer.assignment.repeat, answer.pk))
    rubric = dispute.campaign.rubric.content
    votes = [_vote(dispute, answer, number[answer.assignment.annotator_id], rubric, last) for answer in found]
    marks = _marks(dispute, found, number, rubric)
    texts = {"first": dispute.pair.first.text, "second": dispute.pair.second.text}
    a, b = (answers.which_of(dispute, side) for side in ("a", "b"))
    return Hearing(a=cut(texts[a], marks[a]), b=cut(texts[b], marks[b]), votes=votes)


def _vote(dispute: Dispute, answer: Judgement, rater: int, rubric: dict[str, Any], last: Adjudication | None) -> Vote:
    edit: Edit | None = getattr(answer, "edit", None)
    labels = {one["key"]: one["label"] for one in rubric.get("reasons", [])}
    return Vote(
        rater=rater,
        verdict=answers.seen_from(dispute, answer.verdict).label,
        reason=CannotJudge(answer.cannot_reason).label if answer.cannot_reason else "",
        flags=tuple(_flags(dispute, answer)),
        reasons=tuple(labels.get(key, key) for key in answer.reasons),
        axes=tuple(_axes(dispute, answer, rubric)),
        hard=Hard(answer.hard).label if answer.hard else "",
        rationale=answer.rationale,
        swapped=answer.assignment.first_on_left != dispute.first_on_left,
        marks=len(answer.spans.all()),
        edited_side="" if edit is None else _letter(dispute, "first" if edit.completion_id == dispute.pair.first_id else "second"),
        edited_words=edit.changed_words if edit else 0,
        edited_text=edit.text if edit else "",
        notes=tuple(_notes(dispute, answer, last)),
    )


def _letter(dispute: Dispute, of: str) -> str:
    return answers.side_of(dispute, of).upper()


def _flags(dispute: Dispute, answer: Judgement) -> Iterable[Flag]:
    found = []
    for of, severity, kind in (
        ("first", answer.harm_first, answer.harm_first_type),
        ("second", answer.harm_second, answer.harm_second_type),
    ):
        if severity:
            major = severity in (Severity.MAJOR, Severity.LIFE_THREATENING)
            found.append(Flag(_letter(dispute, of), Severity(severity).label, Harm(kind).label, major))
    return sorted(found, key=lambda flag: flag.side)


def _axes(dispute: Dispute, answer: Judgement, rubric: dict[str, Any]) -> Iterable[tuple[str, str]]:
    said = answers.to_sides(dispute, answers.Answer(verdict=answer.verdict, axes=answer.axes))["axes"]
    for axis in rubric.get("axes", []):
        value = said.get(axis["key"])
        if isinstance(value, dict):
            yield axis["label"], f"A {value.get('a', '–')}, B {value.get('b', '–')}"
        elif value is not None:
            yield axis["label"], _leaning(value)


def _leaning(value: int) -> str:
    """A comparing scale's step in words, positive for A."""
    if value == 0:
        return "equal"
    return f"{'A' if value > 0 else 'B'}{' much' if abs(value) == 2 else ''} better"


def _notes(dispute: Dispute, answer: Judgement, last: Adjudication | None) -> Iterable[str]:
    if answer.assignment.slot.kind == SlotKind.REVIEW:
        yield "second reader"
    if answer.assignment.repeat:
        yield "asked again later, not counted"
    elif answer.surplus or answer.assignment.state != AssignmentState.SUBMITTED:
        yield "came late, not counted"
    if last is not None and answer.submitted_at > last.decided_at:
        yield "new since the ruling" if answer.revision == 1 else "changed since the ruling"


def _marks(dispute: Dispute, found: Iterable[Judgement], number: dict[int, int], rubric: dict[str, Any]) -> dict[str, list[Mark]]:
    kinds = {one["key"]: one["label"] for one in rubric.get("spans", [])}
    marks: dict[str, list[Mark]] = {"first": [], "second": []}
    for answer in found:
        for span in answer.spans.all():
            of = "first" if span.completion_id == dispute.pair.first_id else "second"
            kind, severity = kinds.get(span.kind, span.kind), Severity(span.severity).label.lower()
            marks[of].append(Mark(span.start, span.end, f"rater {number[answer.assignment.annotator_id]}: {kind}, {severity}"))
    return marks


def changed_since(dispute: Dispute, last: Adjudication | None) -> bool:
    """Whether the votes are no longer those the last ruling was given on."""
    return last is not None and (last.votes_version != dispute.votes_version or dispute.state != DisputeState.RULED)
