"""Signs of life: the sweeper and every worker leave one each few seconds, so that a page can say what is not running."""

import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from celery import current_app, signals
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Q

from jobs.clock import Clock, after
from jobs.models import Pulse

log = logging.getLogger(__name__)

SWEEPER = "sweeper"
BEAT_SECONDS = 5
ALIVE_SECONDS = 20


@dataclass(frozen=True)
class Missing:
    """Something that should run and does not: what it is, what happens without it, and the command that starts it."""

    what: str
    without: str
    command: str


def beat(name: str, queues: list[str]) -> None:
    Pulse.objects.bulk_create(
        [Pulse(name=name[:120], queues=queues, at=Clock())],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["queues", "at"],
    )


def alive(*, queue: str) -> bool:
    """Whether a worker that serves `queue` was heard of lately."""
    return Pulse.objects.filter(at__gt=after(-ALIVE_SECONDS), queues__contains=[queue]).exists()


def missing(queues: tuple[str, ...] = ("compute",)) -> list[Missing]:
    """What is not running, in one query."""
    heard = Pulse.objects.filter(at__gt=after(-ALIVE_SECONDS)).filter(Q(name=SWEEPER) | Q(queues__overlap=list(queues)))
    names: set[str] = set()
    served: set[str] = set()
    for pulse in heard:
        names.add(pulse.name)
        served.update(pulse.queues)
    found = [
        Missing(f"No worker serves the queue “{queue}”.", "Waiting jobs do not start.", f"celery -A config.celery worker -Q {queue}")
        for queue in queues
        if queue not in served
    ]
    if SWEEPER not in names:
        found.append(Missing("The sweeper is not running.", "Jobs whose worker died are not tried again.", "python manage.py sweep"))
    return found


def forget_old() -> None:
    Pulse.objects.filter(at__lt=after(-86_400)).delete()


# --- in a worker's main process ----------------------------------------------------------------------------------------------------

_last_beat = 0.0


@signals.heartbeat_sent.connect
def _worker_lives(sender: Any, **kwargs: Any) -> None:
    """Celery's own heartbeat, each two seconds; ours rides on every third."""
    global _last_beat
    if time.monotonic() - _last_beat < BEAT_SECONDS:
        return
    _last_beat = time.monotonic()
    try:
        beat(f"worker:{sender.eventer.hostname}", sorted(current_app.amqp.queues.consume_from))
    except (DatabaseError, InterfaceError) as error:
        log.warning("No sign of life was left: %s.", type(error).__name__)
    finally:
        # The pool's children are forked from this process: they must find no open connection.
        connection.close()


@signals.worker_shutting_down.connect
def _tell_the_slots(**kwargs: Any) -> None:
    """Slots that hold a job stop its child and give the job back, instead of keeping this worker alive until the training ends."""
    from billiard.process import active_children

    for child in active_children():
        if child.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGUSR2)


@signals.worker_process_init.connect
def _idle_slots_do_not_mind(**kwargs: Any) -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@signals.worker_shutdown.connect
def _worker_gone(sender: Any, **kwargs: Any) -> None:
    try:
        Pulse.objects.filter(name=f"worker:{getattr(sender, 'hostname', '')}").delete()
    except (DatabaseError, InterfaceError):
        return
    finally:
        connection.close()
