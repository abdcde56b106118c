"""Defects: samples that raters could not judge for a fault of their own, reported by their answers and sent back to the data's owner."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import slots
from annotation.models import Adjudication, CannotJudge, Defect, Hard, Judgement, Outcome, Pair, Sample

# Doubt that a better sample would remove; "outside my field" and "both are plausible" say nothing against it.
HARD_AGAINST = {Hard.MISSING_CONTEXT, Hard.AMBIGUOUS}


class DefectRefused(Exception):
    """A report cannot be settled so; the message says why. Nothing was changed."""


def speaks_against(answer: Judgement) -> bool:
    """Whether an answer says that the sample itself is at fault."""
    return answer.cannot_reason == CannotJudge.DEFECTIVE_INPUT or answer.hard in HARD_AGAINST


@transaction.atomic(savepoint=False)
def consider(*, judgement: Judgement) -> Defect | None:
    """Report the judgement's sample when the answer speaks against it; None when it does not, or when the sample is withdrawn.

    One report is open at a time. After a lead kept a sample, only a later "the input is defective" opens another: chips do not ask twice.
    """
    if not speaks_against(judgement):
        return None
    sample = Sample.objects.get(prompts__pairs__assignments=judgement.assignment_id)
    known = Defect.objects.filter(sample=sample).order_by("-pk").first()
    if known is not None and (known.state == "open" or not judgement.cannot_reason or not _after(judgement, known)):
        return known
    return report(sample=sample, actor=judgement.assignment.annotator)


def _after(judgement: Judgement, settled: Defect) -> bool:
    return settled.decided_at is None or judgement.submitted_at > settled.decided_at


@transaction.atomic(savepoint=False)
def report(*, sample: Sample, actor: User, note: str = "") -> Defect | None:
    """Send a sample back to whoever owns the data: the report that is open, or a new one; None when it is withdrawn already.

    A note (a lead's words) is added to the ones that are there.
    """
    if sample.withdrawn_at is not None:
        return None
    try:
        with transaction.atomic():
            defect, new = Defect.objects.select_for_update().get_or_create(sample=sample, state="open", defaults={"note": note})
    except IntegrityError:
        # A colleague reported it in the same moment.
        defect, new = Defect.objects.select_for_update().get(sample=sample, state="open"), False
    if new:
        audit.record(actor, "defect.reported", defect, sample=sample.pk)
    elif note and note not in defect.note:
        defect.note = f"{defect.note}\n\n{note}".strip()
        defect.save(update_fields=["note"])
    return defect


@transaction.atomic
def decide(*, defect: Defect, actor: User, decision: str, note: str = "", replaced_by: Sample | None = None) -> Defect:
    """Settle an open report: "kept" (back as it is), "withdrawn", or "fixed" (withdrawn, and another sample stands in its place).

    A withdrawn sample is handed out no more, its leases end, and no new snapshot holds it; what was answered stays. Its replacement is
    an imported sample that becomes part of the next campaign. Raises DefectRefused.
    """
    held = Defect.objects.select_for_update(of=("self",)).select_related("sample").get(pk=defect.pk)
    if held.state != "open":
        raise DefectRefused(f"This report was settled before: {held.get_state_display().lower()}. Nothing was changed.")
    if decision not in {"kept", "withdrawn", "fixed"}:
        raise DefectRefused("Choose what becomes of the sample.")
    if decision == "fixed":
        _check_replacement(held.sample, replaced_by)
    elif replaced_by is not None:
        raise DefectRefused("Only a replaced sample has another in its place.")
    withdrawn = 0
    if decision != "kept":
        Sample.objects.filter(pk=held.sample_id, withdrawn_at__isnull=True).update(withdrawn_at=Now())
        withdrawn = slots.withdraw(pairs=Pair.objects.filter(prompt__sample=held.sample_id))
    held.state, held.decided_by, held.replaced_by = decision, actor, replaced_by
    held.note = "\n\n".join(words for words in (held.note, note.strip()) if words)
    held.decided_at = Now()
    held.save(update_fields=["state", "decided_by", "replaced_by", "note", "decided_at"])
    audit.record(actor, f"defect.{decision}", held, sample=held.sample_id, slots=withdrawn, replaced_by=replaced_by and replaced_by.pk)
    held.refresh_from_db()
    return held


def _check_replacement(sample: Sample, replaced_by: Sample | None) -> None:
    if replaced_by is None:
        raise DefectRefused("Name the imported sample that takes its place.")
    if replaced_by.pk == sample.pk or not Sample.objects.usable().filter(pk=replaced_by.pk).exists():
        raise DefectRefused("Name another sample, one that is not withdrawn or in quarantine.")


class Reported(NamedTuple):
    """Why raters (and leads) speak against a sample: how many current answers for each reason, and how many pairs it is in."""

    defective: int
    missing_context: int
    ambiguous: int
    ruled: int
    pairs: int


def reasons(found: Sequence[Defect]) -> dict[int, Reported]:
    """What stands against each report's sample now, by sample id, in three queries however many there are."""
    samples = [defect.sample_id for defect in found]
    sample = "assignment__pair__prompt__sample"
    spoken = Judgement.objects.current().filter(**{f"{sample}__in": samples})
    counted = {
        row[sample]: row
        for row in spoken.values(sample).annotate(
            defective=Count("pk", filter=Q(cannot_reason=CannotJudge.DEFECTIVE_INPUT)),
            missing_context=Count("pk", filter=Q(hard=Hard.MISSING_CONTEXT)),
            ambiguous=Count("pk", filter=Q(hard=Hard.AMBIGUOUS)),
        )
    }
    rulings = Adjudication.objects.newest().filter(outcome=Outcome.DEFECTIVE, dispute__pair__prompt__sample__in=samples)
    ruled = Counter(rulings.values_list("dispute__pair__prompt__sample", flat=True))
    pairs = Counter(_samples_of_pairs(samples))
    nothing = {"defective": 0, "missing_context": 0, "ambiguous": 0}
    return {pk: Reported(**{name: counted.get(pk, nothing)[name] for name in nothing}, ruled=ruled[pk], pairs=pairs[pk]) for pk in samples}


def _samples_of_pairs(samples: Iterable[int]) -> Iterable[int]:
    return Pair.objects.filter(prompt__sample__in=samples).values_list("prompt__sample", flat=True)
