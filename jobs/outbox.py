"""Bells to ring. A bell is written in the transaction that made it necessary, so a committed job always runs;
ringing it is a hint to the broker that may fail, be lost or come twice."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import F, QuerySet
from kombu.exceptions import ChannelError, KombuError, OperationalError

from jobs.clock import Clock
from jobs.models import Job, Outbox

log = logging.getLogger(__name__)

# Seconds a request waits for a broker that is down or says nothing: what it does not take at once the sweeper sends, who has time.
AT_ONCE = 0.25
PATIENTLY = 2.0


def ring_later(jobs: Iterable[Job]) -> list[Outbox]:
    """Write a bell for each job in the current transaction, and try once to ring it after the commit."""
    bells = Outbox.objects.bulk_create([Outbox(job=job) for job in jobs])
    if bells:
        # Robust: a broker that is down must not skip other callbacks, nor fail the request.
        transaction.on_commit(lambda: _try([bell.pk for bell in bells]), robust=True)
    return bells


def _try(bells: list[int]) -> None:
    try:
        publish(Outbox.objects.filter(pk__in=bells), patience=AT_ONCE)
    except (OSError, KombuError) as error:
        log.warning("The broker did not take %d bells (%s); the sweeper will ring them.", len(bells), type(error).__name__)


@contextmanager
def connect_to_broker(*, patience: float) -> Iterator[Any]:
    """A connection to the broker that gives up after `patience` seconds, and at once when it is refused.

    Left alone, redis-py tries a silent broker three times more, and kombu sleeps two seconds after a refusal. Raises OSError or
    KombuError: what the broker's own library raises in mid-conversation is turned into the latter.
    """
    timeouts = {"socket_timeout": patience, "socket_connect_timeout": patience, "retry_on_timeout": False, "max_retries": 0}
    connection = current_app.connection_for_write(connect_timeout=patience, transport_options=timeouts)
    try:
        with connection:
            yield connection
    except (KombuError, ChannelError):
        raise
    except (*connection.connection_errors, *connection.channel_errors) as away:
        raise OperationalError(type(away).__name__) from away


def publish(bells: QuerySet[Outbox], *, limit: int = 200, patience: float = PATIENTLY) -> int:
    """Send those of `bells` that are unpublished, oldest first; returns how many went out.

    Raises the broker's error (OSError or KombuError) at the first bell it does not take: the rest would only wait as long each.
    """
    waiting = list(bells.filter(published_at__isnull=True).order_by("pk").values_list("pk", "job_id", "job__queue")[:limit])
    if not waiting:
        return 0
    with connect_to_broker(patience=patience) as broker:
        for bell, job, queue in waiting:
            Outbox.objects.filter(pk=bell).update(tries=F("tries") + 1)
            # By name: the task's module imports the runner, which imports this one. Its arguments are logged: ids only.
            current_app.send_task("jobs.ring", args=[job], queue=queue, connection=broker, retry=False, ignore_result=True)
            Outbox.objects.filter(pk=bell).update(published_at=Clock())
    return len(waiting)
