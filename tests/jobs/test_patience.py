"""A supervisor that is frozen holds no row for ever."""

import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection, transaction

from jobs import claims, patience
from jobs.models import Job
from tests.jobs.conftest import ask
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def limited() -> Iterator[None]:
    """The limits on this test's own connection alone; a worker sets them on each that it opens."""
    patience._limit(connection)
    yield
    connection.close()


def test_every_limit_is_on_the_connection(limited: None) -> None:
    with connection.cursor() as cursor:
        found = {}
        for name in patience.LIMITS:
            cursor.execute(f"SHOW {name}")
            found[name] = cursor.fetchone()[0]
    assert found == {"idle_in_transaction_session_timeout": "10s", "lock_timeout": "2s", "statement_timeout": "15s"}


def test_a_row_that_another_holds_is_given_up_and_asked_for_again(runner: str) -> None:
    """Cut short here: a frozen cancel holds the row, the heartbeat does not wait for it for ever."""
    held = claims.claim(job_id=ask().pk, worker="w")
    assert held is not None

    def hold() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get()
            locked.set()
            free.wait(20)

    locked, free = threading.Event(), threading.Event()

    def beat() -> str:
        locked.wait(20)
        patience._limit(connection)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        try:
            claims.heartbeat(held)
        except OperationalError as refused:
            return type(refused.__cause__).__name__
        finally:
            free.set()
        return "waited"

    assert at_once(hold, beat) == [None, "LockNotAvailable"]
    assert claims.heartbeat(held) == ("running", False)
