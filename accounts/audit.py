"""The audit trail's one door. Verbs call it inside their own transaction: no change without an entry, no entry without the change."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import models

from accounts.models import AuditEntry, User
from web.requests import current_request_id


def record(actor: User | AnonymousUser | None, verb: str, subject: models.Model, **details: Any) -> AuditEntry:
    """Write who did `verb` to `subject`. `details` are ids, counts and digests; clinical text has no place here."""
    known = actor if isinstance(actor, User) else None
    return AuditEntry.objects.create(
        actor_id=known.pk if known else None,
        actor_name=known.username if known else "",
        verb=verb,
        object_type=subject._meta.label_lower,
        object_id=str(getattr(subject, "public_id", subject.pk)),
        request_id=current_request_id(),
        details=details,
    )
