"""How long code of the runner waits for the database before it lets go: a supervisor that is frozen must not hold rows for ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.backends.signals import connection_created

# Who only reads holds no row that anybody waits for: a statement may take longer, and so may what is made of its rows before the next.
READING = {"statement_timeout": "30min", "idle_in_transaction_session_timeout": "5min"}
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


def take_longer(**limits: str) -> None:
    """Other limits until the transaction under way ends, by the settings' names; their memory too, if it is named."""
    with connection.cursor() as cursor:
        for name, value in limits.items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])


@contextmanager
def reading() -> Iterator[None]:
    """A transaction that only reads, with patience for it. It sees everything as it was at its beginning, however long it takes."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        take_longer(**READING)
        yield
