"""Defects: samples that raters could not judge for a fault of their own, reported by their answers and sent back to the data's owner."""

from django.db import IntegrityError, transaction

from accounts import audit
from annotation.models import CannotJudge, Defect, Hard, Judgement, Sample

# Doubt that a better sample would remove; "outside my field" and "both are plausible" say nothing against it.
_HARD = {Hard.MISSING_CONTEXT, Hard.AMBIGUOUS}


@transaction.atomic
def consider(*, judgement: Judgement) -> Defect | None:
    """Report the judgement's sample when the answer speaks against it; None when it does not, or when the sample is withdrawn.

    One report is open at a time. After a lead kept a sample, only "the input is defective" opens another: chips do not ask twice.
    """
    defective = judgement.cannot_reason == CannotJudge.DEFECTIVE_INPUT
    if not defective and judgement.hard not in _HARD:
        return None
    sample = Sample.objects.get(prompts__pairs__assignments=judgement.assignment_id)
    if sample.withdrawn_at is not None:
        return None
    known = Defect.objects.filter(sample=sample).order_by("-pk").first()
    if known is not None and (known.state == "open" or not defective):
        return known
    try:
        with transaction.atomic():
            defect = Defect.objects.create(sample=sample)
    except IntegrityError:
        # A colleague reported it in the same moment.
        return Defect.objects.get(sample=sample, state="open")
    audit.record(judgement.assignment.annotator, "defect.reported", defect, sample=sample.pk)
    return defect
