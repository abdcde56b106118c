"""The audit trail's one door. Verbs call it inside their own transaction: no change without an entry, no entry without the change."""

import json
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import connection, models

from accounts.models import AuditEntry, User
from web.requests import current_request_id
from web.statements import prepared

# Written out: no change is made without it.
_WRITE = """
INSERT INTO accounts_auditentry (actor_id, actor_name, verb, object_type, object_id, request_id, details)
VALUES (%s::bigint, %s, %s, %s, %s, %s, %s::jsonb) RETURNING id, at
"""


def record(actor: User | AnonymousUser | None, verb: str, subject: models.Model, **details: Any) -> AuditEntry:
    """Write who did `verb` to `subject`. `details` are ids, counts and digests; clinical text has no place here."""
    known = actor if isinstance(actor, User) else None
    entry = AuditEntry(
        actor_id=known.pk if known else None,
        actor_name=known.username if known else "",
        verb=verb,
        object_type=subject._meta.label_lower,
        object_id=str(getattr(subject, "public_id", subject.pk)),
        request_id=current_request_id(),
        details=details,
    )
    with prepared() as cursor:
        written = (entry.actor_name, entry.verb, entry.object_type, entry.object_id, entry.request_id, json.dumps(details))
        cursor.execute(_WRITE, [entry.actor_id, *written])
        entry.pk, entry.at = cursor.fetchone()
    entry._state.adding, entry._state.db = False, connection.alias
    return entry
