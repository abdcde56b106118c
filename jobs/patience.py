"""How long code of the runner waits for the database before it lets go: a supervisor that is frozen must not hold rows for ever."""

from typing import Any

from django.db.backends.signals import connection_created

# A frozen holder of a transaction is cut off; a row that another holds, and a statement that hangs, are given up and tried again.
LIMITS = {"idle_in_transaction_session_timeout": "10s", "lock_timeout": "2s", "statement_timeout": "15s"}


def limit_every_connection() -> None:
    """For processes that run jobs or sweep: from now on every connection of this process, in whatever thread, has the limits."""
    connection_created.connect(_limit, dispatch_uid="jobs.patience")


def _limit(connection: Any, **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        for name, value in LIMITS.items():
            # Names of our own, above.
            cursor.execute(f"SET {name} = %s", [value])
