"""Django's sessions in the database, found with one prepared statement: every request of somebody signed in asks for theirs."""

from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone

from web.statements import prepared

_FIND = """
SELECT session_key, session_data, expire_date FROM django_session WHERE session_key = %s AND expire_date > %s
"""


class SessionStore(db.SessionStore):
    def _get_session_from_db(self) -> Any:
        with prepared() as cursor:
            cursor.execute(_FIND, [self.session_key, timezone.now()])
            row = cursor.fetchone()
        if row is None:
            self._session_key = None
            return None
        return self.model(*row)
