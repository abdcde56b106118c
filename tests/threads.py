"""Things that happen at the same moment: each in a thread with a database connection of its own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import OperationalError, close_old_connections, connection


def connect() -> None:
    """Other test runs may use the same server: wait for a connection rather than fail for want of one."""
    for _ in range(300):
        try:
            connection.ensure_connection()
        except OperationalError:
            time.sleep(0.1)
        else:
            return
    connection.ensure_connection()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Start all calls at the same moment; what each returned or raised, in their order."""
    ready = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        try:
            connect()
            ready.wait(timeout=120)
            return call()
        except Exception as raised:  # the answer: whoever asked looks at each
            return raised
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        done = list(pool.map(one, calls))
    close_old_connections()
    return done
