"""The answers behind a snapshot, one by one and by completion: what the "judgments" config of its export holds. No rater is named."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from accounts.models import Profile, Specialty
from annotation import safety
from annotation.models import Adjudication, Edit, Judgement, SlotKind, Snapshot, SnapshotEvidence

# A field shared by fewer raters of a data set could name one of them.
SHARED_BY = 3
_VOTES = {SlotKind.VOTE, SlotKind.REVIEW}


@dataclass(frozen=True)
class Row:
    """One answer as exports.JUDGMENTS describes it, and the split it belongs to."""

    split: str
    values: dict[str, Any]


def read(snapshot: Snapshot) -> list[Row]:
    """Every answer that `snapshot` was made from, in an order that follows from their content alone.

    A text that was ruled out of training when it was frozen, or whose sample was withdrawn by then, is left out.
    """
    evidence = snapshot.evidence
    found = list(
        Judgement.objects.filter(pk__in=evidence.judgements)
        .select_related(
            "assignment__pair__prompt__sample", "assignment__pair__first", "assignment__pair__second", "assignment__slot", "edit"
        )
        .prefetch_related("spans")
    )
    barred = safety.barred_by(Adjudication.objects.filter(pk__in=evidence.rulings).select_related("dispute__pair"))
    found.sort(key=_by_content)
    # Numbered in that order: a number says nothing of who joined first, and nothing outside this data set.
    order = dict.fromkeys(answer.assignment.annotator_id for answer in found)
    width = len(str(len(order)))
    names = {rater: f"r{place:0{width}}" for place, rater in enumerate(order, start=1)}
    fields = _fields(order)
    return [Row(answer.assignment.pair.prompt.sample.split, _values(answer, snapshot, names, fields, barred)) for answer in found]


def _by_content(answer: Judgement) -> tuple[Any, ...]:
    pair = answer.assignment.pair
    return (
        pair.prompt.digest, pair.first.digest, pair.second.digest, answer.verdict, answer.harm_first, answer.harm_second,
        answer.rationale, json.dumps(answer.axes, sort_keys=True), answer.reasons, answer.pk,
    )  # fmt: skip


def _fields(raters: dict[int, None]) -> dict[int, str]:
    """The main field of each rater whose field is shared by enough others."""
    profiles = dict(Profile.objects.filter(user__in=raters).values_list("user", "specialties"))
    main = {user: specialties[0] for user, specialties in profiles.items() if specialties}
    shared = Counter(main.values())
    return {user: field for user, field in main.items() if shared[field] >= SHARED_BY}


def _values(answer: Judgement, snapshot: Snapshot, names: dict[int, str], fields: dict[int, str], barred: frozenset[int]) -> dict[str, Any]:
    held, pair = answer.assignment, answer.assignment.pair
    sample = pair.prompt.sample
    edit: Edit | None = getattr(answer, "edit", None)
    gone = sample.withdrawn_at is not None and sample.withdrawn_at <= snapshot.frozen_at
    return {
        "pair_id": pair.pk,
        "sample_id": sample.external_id,
        "task_type": sample.task_type,
        "prompt": [] if gone else pair.prompt.messages,
        "first": None if gone or pair.first_id in barred else pair.first.text,
        "second": None if gone or pair.second_id in barred else pair.second.text,
        "rater": names[held.annotator_id],
        "specialty": fields.get(held.annotator_id),
        "kind": "repeat" if held.repeat else str(held.slot.kind),
        "counted": not answer.surplus and held.repeat == 0 and held.slot.kind in _VOTES,
        "shown_left": "first" if held.first_on_left else "second",
        "verdict": answer.verdict,
        "cannot_reason": answer.cannot_reason,
        "reasons": answer.reasons,
        "harm_first": {"severity": answer.harm_first, "type": answer.harm_first_type},
        "harm_second": {"severity": answer.harm_second, "type": answer.harm_second_type},
        "axes": json.dumps(answer.axes, sort_keys=True),
        "hard": answer.hard,
        "rationale": answer.rationale,
        "spans": [
            {
                "of": _which(span.completion_id, pair.first_id),
                "start": span.start,
                "end": span.end,
                "kind": span.kind,
                "severity": span.severity,
            }
            for span in answer.spans.all()
        ],
        "edited": _which(edit.completion_id, pair.first_id) if edit else "",
        "edited_text": None if edit is None or gone or edit.completion_id in barred else edit.text,
        "active_ms": answer.active_ms,
    }


def _which(completion: int, first: int) -> str:
    return "first" if completion == first else "second"


def cohorts(snapshot: Snapshot) -> tuple[dict[str, int], int]:
    """(raters by main field, as its label, where enough share it; the rest). Who they are cannot be told from it."""
    evidence = SnapshotEvidence.objects.filter(snapshot=snapshot).first()
    if evidence is None:
        return {}, 0
    spoke = Judgement.objects.filter(pk__in=evidence.judgements).values_list("assignment__annotator", flat=True).distinct().order_by()
    raters = dict.fromkeys(spoke)
    shared = Counter(Specialty(field).label for field in _fields(raters).values())
    return dict(sorted(shared.items())), len(raters) - shared.total()
