"""Drafts: an answer under way, kept on the server field by field as the form sends it, so that nothing stays in a browser."""

import json
import re
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.http import QueryDict

from annotation import judgements
from annotation.answer_form import LISTS, QUOTE_FIELDS, JudgementForm
from annotation.judgements import ANSWERED, AlreadyAnswered
from annotation.models import Assignment, Draft

MAX_BYTES = 100_000
FIELDS = {*JudgementForm.base_fields, *QUOTE_FIELDS} - {"draft_number"}
_AXIS = re.compile(r"axis-[a-z0-9_-]{1,60}")
_NUMBERS = range(2**31)


class DraftTooLong(ValueError):
    """More than is kept of an answer under way; what was kept before stands."""


def read(sent: QueryDict) -> tuple[dict[str, Any], int]:
    """A form's fields and the draft's number out of what was sent; unknown fields are left out.

    NUL, which no database can store, becomes U+FFFD, for a draft refuses nothing; the answer will.
    """
    fields: dict[str, Any] = {}
    for name in sent:
        if name in FIELDS or _AXIS.fullmatch(name):
            values = [value.replace("\x00", "\ufffd") for value in sent.getlist(name)]
            fields[name] = values if name in LISTS else values[-1]
    written = sent.get("draft_number") or "0"
    return fields, int(written) if written.isdecimal() and len(written) < 11 and int(written) in _NUMBERS else 0


@transaction.atomic
def save(*, assignment: Assignment, fields: dict[str, Any], number: int) -> bool:
    """Keep the draft unless a newer one is there (then False): `number` grows with every one, whatever order they arrive in.

    Raises AlreadyAnswered when the pair has an answer that this draft does not amend, DraftTooLong beyond 100 kB.
    """
    if len(json.dumps(fields, ensure_ascii=False).encode()) > MAX_BYTES:
        raise DraftTooLong(f"More than {MAX_BYTES // 1000} kB: shorten it, or send the answer; what was kept before stands.")
    # An answer holds this lock too: after it no draft is left over.
    held = Assignment.objects.select_for_update(of=("self",)).get(pk=assignment.pk)
    if held.state in ANSWERED:
        stands = judgements.standing(held)
        if stands is not None and fields.get("amends") != str(stands.revision):
            raise AlreadyAnswered(stands)
    mine = Draft.objects.filter(assignment=held)
    if mine.filter(number__lte=number).update(answer=fields, number=number, saved_at=Now()):
        return True
    _, made = Draft.objects.get_or_create(assignment=held, defaults={"answer": fields, "number": number})
    return made
