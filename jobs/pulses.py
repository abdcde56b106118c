"""Signs of life: the sweeper and every worker leave one each few seconds, so that a page can say what is not running."""

import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billiard.process import active_children
from celery import current_app, signals
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Exists, F, OuterRef, Q

from jobs import devices, patience
from jobs.clock import Clock, after
from jobs.machine import Load
from jobs.models import HELD, Attempt, Job, Outbox, Pulse

log = logging.getLogger(__name__)

SWEEPER = "sweeper"
BEAT_SECONDS = 5
ALIVE_SECONDS = 20
# How long a job that could run may lie, and for how long after that a slot may be free beside it, until the worker is taken for deaf.
# With the time to start anew it is less than the minute within which every job is to start.
LYING_SECONDS, DEAF_SECONDS = 25, 10


@dataclass(frozen=True)
class Missing:
    """Something that should run and does not: what it is, what happens without it, and the command that starts it."""

    what: str
    without: str
    command: str


def beat(name: str, queues: list[str], *, slots: Iterable[int] = (), machine: dict[str, Any] | None = None) -> None:
    """Leave a sign of life; a worker tells the processes that are its slots, and what its machine is doing."""
    sign = Pulse(name=name[:120], queues=queues, at=Clock(), host=devices.here(), slots=sorted(slots), machine=machine or {})
    Pulse.objects.bulk_create(
        [sign], update_conflicts=True, unique_fields=["name"], update_fields=["queues", "at", "host", "slots", "machine"]
    )


@dataclass(frozen=True)
class Worker:
    """A worker that is alive: what its slots hold, and what is wrong with it, if anything."""

    name: str
    host: str
    queues: list[str]
    slots: int
    holds: list[Job]
    machine: dict[str, Any]
    warning: str
    at: datetime

    @property
    def idle(self) -> int:
        """Slots that hold nothing."""
        return max(0, self.slots - len(self.holds))


def workers() -> list[Worker]:
    """Those heard of lately, with what each is doing, in two queries: an attempt is known by the machine and process that holds it."""
    heard = list(Pulse.objects.filter(at__gt=after(-ALIVE_SECONDS)).exclude(name=SWEEPER).order_by("name"))
    holders: dict[tuple[str, int], list[Job]] = {}
    if heard:
        under_way = Attempt.objects.filter(job__state__in=HELD, token=F("job__token"), ended_at=None)
        for attempt in under_way.select_related("job").order_by("pk"):
            holders.setdefault((attempt.host, attempt.pid), []).append(attempt.job)
    return [
        Worker(
            name=pulse.name.removeprefix("worker:"), host=pulse.host, queues=pulse.queues, slots=len(pulse.slots),
            holds=[job for pid in pulse.slots for job in holders.get((pulse.host, pid), [])],
            machine=pulse.machine, warning=pulse.warning, at=pulse.at,
        )
        for pulse in heard
    ]  # fmt: skip


def warn_of_the_deaf() -> int:
    """Find workers beside whose free slots work lies, say so on their rows, and ask those that hold nothing to start anew; how many.

    A bell is rung again each few seconds, so a job that could run, was rung for since it could, and still lies there though a slot has
    been free for a while means a worker that is connected and hears nothing. A job that waits for a GPU is nobody's fault.
    """
    # Whatever it waited for ended before that bell: an earlier one was heard, and rightly nothing done.
    before = Job.waits_for.through.objects.filter(from_job_id=OuterRef("job_id"), to_job__ended_at__gt=OuterRef("published_at"))
    rung = Outbox.objects.filter(~Exists(before), published_at__gte=F("job__run_after"), published_at__lt=after(-LYING_SECONDS))
    lying = list(Job.objects.claimable().filter(Exists(rung.filter(job=OuterRef("pk")))).values_list("queue", "needs_device"))
    found = workers() if lying else []
    full = {host for host in {worker.host for worker in found} if devices.all_held(host)}
    missing_out = [
        worker for worker in found
        if worker.idle and any(queue in worker.queues and not (needs and worker.host in full) for queue, needs in lying)
    ]  # fmt: skip
    names = {f"worker:{worker.name}" for worker in missing_out}
    Pulse.objects.filter(deaf_since__isnull=False).exclude(name__in=names).update(deaf_since=None, warning="", restart_asked_at=None)
    Pulse.objects.filter(name__in=names, deaf_since=None).update(deaf_since=Clock())
    deaf = Pulse.objects.filter(name__in=names, deaf_since__lt=after(-DEAF_SECONDS), warning="")
    asked = deaf.filter(name__in=[f"worker:{worker.name}" for worker in missing_out if not worker.holds]).update(restart_asked_at=Clock())
    told = deaf.update(warning="Work waits in its queue and a slot of it is free, but it does not take any.")
    if told:
        log.warning("%d workers do not hear their bells; %d of them, which hold nothing, were asked to start anew.", told, asked)
    return told


def alive(*, queue: str) -> bool:
    """Whether a worker that serves `queue` was heard of lately."""
    return Pulse.objects.filter(at__gt=after(-ALIVE_SECONDS), queues__contains=[queue]).exists()


def hosts(*, queue: str) -> list[str]:
    """The machines whose workers serve `queue` and were heard of lately, in one query."""
    heard = Pulse.objects.filter(at__gt=after(-ALIVE_SECONDS), queues__contains=[queue])
    return sorted(set(heard.values_list("host", flat=True)))


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
_load = Load()


@signals.worker_init.connect
def _worker_begins(**kwargs: Any) -> None:
    """Before the pool is forked: its slots have the limits too."""
    patience.limit_every_connection()
    try:
        if count := devices.register():
            log.info("This machine has %d GPUs; each runs one job at a time.", count)
    except (DatabaseError, InterfaceError) as error:
        log.warning("The GPUs of this machine were not written down: %s.", type(error).__name__)
    finally:
        connection.close()


@signals.heartbeat_sent.connect
def _worker_lives(sender: Any, **kwargs: Any) -> None:
    """Celery's own heartbeat, each two seconds; ours rides on every third."""
    global _last_beat
    if time.monotonic() - _last_beat < BEAT_SECONDS:
        return
    _last_beat = time.monotonic()
    name = f"worker:{sender.eventer.hostname}"[:120]
    slots = [child.pid for child in active_children() if child.pid is not None]
    try:
        beat(name, sorted(current_app.amqp.queues.consume_from), slots=slots, machine=_load.figures())
        # Cleared as it is read: the worker that is started in our place is not asked again.
        if Pulse.objects.filter(name=name, restart_asked_at__isnull=False).update(restart_asked_at=None):
            log.warning("Work was left lying beside this idle worker: it ends, to be started anew.")
            os.kill(os.getpid(), signal.SIGTERM)
    except (DatabaseError, InterfaceError) as error:
        log.warning("No sign of life was left: %s.", type(error).__name__)
    finally:
        # The pool's children are forked from this process: they must find no open connection.
        connection.close()


@signals.worker_shutting_down.connect
def _tell_the_slots(**kwargs: Any) -> None:
    """Slots that hold a job stop its child and give the job back, instead of keeping this worker alive until the training ends."""
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
