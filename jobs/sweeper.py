"""What keeps promises when messages, workers or brokers do not: one pass each few seconds, under one advisory lock."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Count, Exists, OuterRef
from kombu.exceptions import ChannelError, KombuError

from jobs import claims, disk, keeping, outbox, pulses
from jobs.clock import after
from jobs.models import Job, Outbox

log = logging.getLogger(__name__)

LOCK = 0x526F756E6473  # "Rounds": any number, the same for every sweeper of a database
RING_AGAIN_SECONDS = 20
# A pass comes each few seconds; what it missed is found by the thorough one (`forget_old`).
CLEARED_SECONDS = 120


@contextmanager
def _alone() -> Iterator[bool]:
    """True for the one sweeper of this database. The lock ends with the connection, so a killed sweeper holds nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        row = cursor.fetchone()
        held = bool(row and row[0])
    try:
        yield held
    finally:
        if held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def sweep() -> dict[str, int] | None:
    """One pass; returns what it did, or None when another sweeper is at it. Running it twice does nothing more."""
    with _alone() as alone:
        if not alone:
            return None
        pulses.beat(pulses.SWEEPER, [])
        did = {
            "reaped": claims.reap(salvage=keeping.salvage), "queued_again": claims.requeue(), "unpaused": claims.unpause(room=disk.missing),
            "orphans": 0, "rung_again": 0, "published": 0, "deaf": pulses.warn_of_the_deaf(),
        }  # fmt: skip
        while failed := claims.fail_orphans():
            did["orphans"] += failed
        keeping.clear_ended(within=CLEARED_SECONDS)
        did["rung_again"] = ring_again()
        try:
            did["published"] = outbox.publish(Outbox.objects.all())
        except (OSError, KombuError) as error:
            log.warning("The broker takes no bells (%s); they are kept.", type(error).__name__)
        return did


def ring_again(*, older_than: float = RING_AGAIN_SECONDS) -> int:
    """A new bell for jobs that could run and were not rung for `older_than` seconds; returns how many.

    Jobs that wait because every slot is busy still have their message: only queues that hold fewer messages than jobs are rung.
    """
    lately = Outbox.objects.filter(job=OuterRef("pk"), created_at__gt=after(-older_than))
    forgotten = Job.objects.claimable().filter(~Exists(lately), run_after__lt=after(-older_than))
    rung = 0
    for queue, count in forgotten.order_by().values_list("queue").annotate(Count("pk")):
        if _messages(queue) < count:
            rung += len(outbox.ring_later(forgotten.filter(queue=queue).order_by("pk")[:200]))
    return rung


def _messages(queue: str) -> int:
    """How many messages wait in the broker; 0 when it cannot say."""
    try:
        with outbox.connect_to_broker(patience=outbox.PATIENTLY) as broker:
            channel = broker.default_channel
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except (OSError, KombuError, ChannelError):
        return 0


def also_forget(what: str, forget: Callable[[], int]) -> None:
    """Have `forget` called with the rest that is cleared away; it says how many of `what` went. Apps name theirs in `AppConfig.ready`."""
    _forgotten[what] = forget


_forgotten: dict[str, Callable[[], int]] = {}


@dataclass
class _Look:
    """What an app wants looked at, how often in seconds, and when it had its last turn in this process."""

    verb: Callable[[], dict[str, int]]
    every: float
    last: float = float("-inf")


_looks: dict[str, _Look] = {}


def also_look(what: str, verb: Callable[[], dict[str, int]], *, every: float = 0) -> None:
    """Have `verb` called about `every` seconds, beside the jobs' own passes: it takes what steps can be taken and says what it did. It may
    take long, be called by several sweepers at once, and be killed at any moment. Apps name theirs in `AppConfig.ready`."""
    _looks[what] = _Look(verb, every)


def look() -> dict[str, int]:
    """Every look whose turn it is; what they did together. One that fails does not keep the others from theirs."""
    did: dict[str, int] = {}
    for what, one in _looks.items():
        if time.monotonic() - one.last < one.every:
            continue
        one.last = time.monotonic()
        try:
            did |= one.verb()
        except (OperationalError, InterfaceError) as error:
            log.warning("The look at %s waits for the database (%s).", what, type(error).__name__)
            connection.close()
        except Exception as error:
            # Its message may hold anything that was read.
            log.error("The look at %s failed (%s).\n%s", what, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))  # noqa: TRY400
    return did


def _keep_looking(stopped: Callable[[], bool], every: float) -> None:
    """In a thread of its own: bells and leases wait for no look."""
    try:
        while not stopped():
            did = look()
            if any(did.values()):
                log.info("Looked: %s.", ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in did.items() if count))
            _rest(stopped, every)
    finally:
        connection.close()


def forget_old() -> None:
    """Bells that rang a day ago, signs of life of workers long gone, what ended jobs left on the disk, and what apps have named."""
    for what, forget in _forgotten.items():
        if gone := forget():
            log.info("Cleared away %d %s.", gone, what)
    if cleared := keeping.sweep():
        log.info("Cleared what %d ended jobs had left in their folders.", cleared)
    Outbox.objects.filter(published_at__lt=after(-86_400)).delete()
    pulses.forget_old()


def run(*, stopped: Callable[[], bool], every: float) -> None:
    """Sweep until `stopped` says so. A database that is away is waited for."""
    # A daemon: what it has begun when we end is rolled back, and taken again by the next sweeper.
    Thread(target=_keep_looking, args=(stopped, every), name="looks", daemon=True).start()
    passes = 0
    while not stopped():
        try:
            did = sweep()
            if did and any(did.values()):
                log.info("Swept: %s.", ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in did.items() if count))
            if passes % 300 == 0:
                forget_old()
            passes += 1
        except OSError as error:
            log.warning("A folder could not be cleared (%s).", type(error).__name__)
        except (OperationalError, InterfaceError) as error:
            log.warning("The database is away (%s).", type(error).__name__)
            connection.close()
        _rest(stopped, every)


def _rest(stopped: Callable[[], bool], every: float) -> None:
    pause_ends = time.monotonic() + every
    while not stopped() and time.monotonic() < pause_ends:
        time.sleep(min(0.1, every))
