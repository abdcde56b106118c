"""The product broken on purpose, one mistake at a time, each before the smallest scene that must notice.

Every scene is played twice: as the product is it must be green, with the mutant it must be red. A mutant is installed in this process,
or by the variable FAULTS_MUTANTS in a worker's or sweeper's (benchmarks/faults/settings.py reads it): the product has no switch.
The third of reliability.md C4 (the audit chain's lock) has no subject in Rounds yet; the sweeper's lock stands in for it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection, transaction

from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House

# --- the mistakes ------------------------------------------------------------------------------------------------------------------


@contextmanager
def no_token() -> Iterator[None]:
    """Whoever comes to publish may: the token is the job's, whatever the claim says."""
    from jobs import claims
    from jobs.models import Job

    publish = claims._publish

    def anyone(claim: Any, *args: Any) -> Any:
        return publish(replace(claim, token=Job.objects.get(pk=claim.job).token), *args)

    with patch.object(claims, "_publish", anyone):
        yield


@contextmanager
def no_lock() -> Iterator[None]:
    """Every sweeper believes that it is alone."""
    from jobs import sweeper

    @contextmanager
    def alone() -> Iterator[bool]:
        yield True

    with patch.object(sweeper, "_alone", alone):
        yield


@contextmanager
def ring_before_commit() -> Iterator[None]:
    """The bell rings in the transaction that makes the job, not after its commit."""
    from jobs import outbox
    from jobs.models import Outbox

    def ring_now(jobs: Any) -> list[Outbox]:
        bells = Outbox.objects.bulk_create([Outbox(job=job) for job in jobs])
        outbox._try([bell.pk for bell in bells])
        return bells

    with patch.object(outbox, "ring_later", ring_now):
        yield


@contextmanager
def no_ringing() -> Iterator[None]:
    """The sweeper rings nothing."""
    from jobs import outbox, sweeper

    with patch.object(sweeper, "ring_again", lambda: 0), patch.object(outbox, "publish", lambda bells, **options: 0):
        yield


@contextmanager
def unverified_resume() -> Iterator[None]:
    """A checkpoint is what has the highest number in its name, as transformers has it."""
    import json

    from training.engine import checkpoints

    def read(path: Any, key: bytes) -> Any:
        manifest = json.loads((path / checkpoints.MANIFEST).read_text())
        return checkpoints.Checkpoint(path, manifest["step"], manifest["state"])

    with patch.object(checkpoints, "verify", read):
        yield


@contextmanager
def worker_clock() -> Iterator[None]:
    """Leases by the wall clock of whoever writes them."""
    from datetime import timedelta

    from django.db.models import DateTimeField, Value
    from django.utils import timezone

    from jobs import claims

    def now() -> Any:
        return Value(timezone.now(), output_field=DateTimeField())

    def later(seconds: float) -> Any:
        return Value(timezone.now() + timedelta(seconds=seconds), output_field=DateTimeField())

    with patch.multiple(claims, Clock=now, after=later):
        yield


@contextmanager
def late_acks() -> Iterator[None]:
    """The broker is trusted to bring a lost job back: messages are acknowledged late, and nobody looks for expired leases."""
    from celery import current_app

    from jobs import claims

    current_app.conf.task_acks_late = True
    with patch.object(claims, "reap", lambda **options: 0):
        yield


@contextmanager
def no_lifeline() -> Iterator[None]:
    """The trainer looks neither at its pipe, nor at its parent, nor at its lease."""
    from training.engine import lifeline

    with patch.multiple(lifeline, hold=lambda: None, lease_is_live=lambda folder: True):
        yield


@contextmanager
def publish_in_pieces() -> Iterator[None]:
    """What publishing writes is committed piece by piece, and each try writes a version of its own."""
    from jobs import claims
    from jobs.models import Job
    from modelhub import versions

    register = versions.register

    def anew(**what: Any) -> Any:
        number = what["metrics"]["attempt"]
        return register(**{**what, "origin": f"{what['origin']}/{number}", "name": f"{what['name']}-{number}"})

    publish = claims._publish

    def in_pieces(claim: Any, kind: Any, result: Any, staged: Any) -> Any:
        published = kind.publish(Job.objects.get(pk=claim.job), result, staged)
        return publish(claim, replace(kind, publish=lambda *args: published), result, staged)

    with patch.object(claims, "_publish", in_pieces), patch.object(versions, "register", anew):
        yield


IN_PROCESSES = {"worker_clock": worker_clock, "late_acks": late_acks, "no_lifeline": no_lifeline}


_installed: list[AbstractContextManager[None]] = []


def install() -> None:
    """Install, for good, the mutants that this process's settings name."""
    for name in settings.FAULTS_MUTANTS:
        # Held on to: a generator that is collected runs to its end, and takes the mutant away.
        _installed.append(IN_PROCESSES[name]())
        _installed[-1].__enter__()


# --- the scenes --------------------------------------------------------------------------------------------------------------------


def race(house: House, seed: int, mutant: str = "") -> Report:
    """L1 in small."""
    from annotation import assignments
    from benchmarks.faults import checker, leases
    from benchmarks.mutants import count_then_insert
    from tests.annotation.build import campaign
    from tests.annotation.test_claims import crowd

    report = Report("L1", "race", seed)
    with house.lane("race") as history:
        people = crowd(16)
        made = campaign(people, pairs=40, overlap=3)
        # Somebody who counts never comes to an end.
        budget = iter(range(140))

        def counting(**who: Any) -> Any:
            return None if next(budget, None) is None else count_then_insert.lease_next(**who)

        if mutant:
            with count_then_insert.no_constraint(), patch.object(assignments, "lease_next", counting):
                with patch.object(leases, "answer", _mark):
                    leases.race(made, people, history, seed, report, abandoned=0.0)
                checker.close(report)
        else:
            leases.race(made, people, history, seed, report)
            checker.close(report)
    return report


def _mark(held: Any, *others: Any) -> None:
    type(held).objects.filter(pk=held.pk).update(state="submitted")


def zombie(house: House, seed: int, mutant: str = "") -> Report:
    """A holder falls silent, another takes over and is about to publish; then the first one speaks up."""
    from benchmarks.faults import checker, fake
    from jobs import claims, kinds
    from jobs.clock import after
    from jobs.errors import Cancelled, LeaseLost
    from jobs.models import Job

    report = Report("L3", "zombie", seed)
    with house.lane("zombie") as history, no_token() if mutant else _as_it_is():
        staged = _a_model()
        for _ in range(3):
            job = fake.ask(seed=1, steps=0)
            first = claims.claim(job_id=job.pk, worker="here:1:first")
            assert first is not None
            Job.objects.filter(pk=job.pk).update(lease_until=after(-1))
            _swept_back(job)
            second = claims.claim(job_id=job.pk, worker="here:2:second")
            assert second is not None
            claims.begin_publish(second)
            for claim in (first, second):
                with history.asking(f"attempt {claim.number}", "publish", job=job.pk) as asked:
                    try:
                        result = {"metrics": {"attempt": claim.number}}
                        claims.publish(claim, kind=kinds.get("fake"), result=result, staged=staged)
                        asked.ok()
                    except (LeaseLost, Cancelled):
                        asked.fail()
        checker.jobs(report)
        checker.close(report)
    return report


def sweepers(house: House, seed: int, mutant: str = "") -> Report:
    """Three sweepers at the same moment, and jobs whose bells were lost."""
    from benchmarks.faults import clocks, fake

    report = Report("L10", "sweepers", seed)
    with house.lane("sweepers"), no_lock() if mutant else _as_it_is():
        for number in range(30):
            fake.ask(seed=number)
        house.redis("FLUSHALL")
        time.sleep(settings.FAULTS_RING_AGAIN + 0.3)
        clocks.sweep_together(3)
        doubled = clocks.bells_too_many()
        report.expect(not doubled, f"{len(doubled)} bells too many")
    return report


def early_bell(house: House, seed: int, mutant: str = "") -> Report:
    """Somebody listens while jobs are asked for in transactions that take a while, or come to nothing."""
    from benchmarks.faults import fake
    from jobs.models import Job

    report = Report("L4", "early bell", seed)
    with house.lane("early") as history, ring_before_commit() if mutant else _as_it_is(), listening(history):
        for number in range(6):
            with transaction.atomic():
                fake.ask(seed=number)
                time.sleep(0.2)
                transaction.set_rollback(bool(number % 2))
        time.sleep(0.5)
        heard = history.of("bell")
        strangers = [one.args["job"] for one in heard if one.outcome == "fail"]
        report.expect(len(heard) >= Job.objects.count(), "not every bell was heard")
        report.expect(not strangers, f"bells rang for jobs that were not there: {strangers}")
    return report


def forgetful_broker(house: House, seed: int, mutant: str = "") -> Report:
    """L4 in small: the broker forgets its messages, and the sweeper sweeps."""
    from benchmarks.faults import fake
    from jobs import sweeper

    report = Report("L4", "forgetful broker", seed)
    with house.lane("forgetful") as history, no_ringing() if mutant else _as_it_is():
        jobs = {fake.ask(seed=number).pk for number in range(4)}
        house.redis("FLUSHALL")
        with listening(history):
            end = time.monotonic() + settings.FAULTS_RING_AGAIN + 4
            while time.monotonic() < end:
                sweeper.sweep()
                if {one.args["job"] for one in history.of("bell")} >= jobs:
                    break
                time.sleep(0.3)
        unheard = jobs - {one.args["job"] for one in history.of("bell")}
        report.expect(not unheard, f"I6 {len(unheard)} jobs will never be rung")
    return report


def torn_resume(house: House, seed: int, mutant: str = "") -> Report:
    """L7 in small: the newest kept checkpoint is torn."""
    from benchmarks.faults import checker, torn

    report = Report("L7", "torn resume", seed)
    with house.lane("tornresume") as history, unverified_resume() if mutant else _as_it_is():
        # Odd numbers tear the bulk, which only a digest can tell.
        torn.resume(1, "flip", random.Random(seed), history, report)
        checker.close(report)
    return report


def wrong_clock(house: House, seed: int, mutant: str = "") -> Report:
    """L10 in small: a worker whose clock is an hour slow."""
    from benchmarks.faults import fake
    from jobs.models import ENDED, Attempt, Job
    from tests.workers import wait_until

    report = Report("L10", "wrong clock", seed)
    with house.lane("wrongclock"):
        house.environment["ROUNDS_LEASE_SECONDS"] = "8"
        house.sweeper(every=0.2)
        house.worker("slow", slots=2, FAULTS_SKEW="-3600", FAULTS_MUTANTS=mutant)
        for number in range(2):
            fake.ask(seed=number, steps=20, pause=0.05)
        over = lambda: Job.objects.filter(state__in=ENDED).count() == 2 or Attempt.objects.filter(reason="lease_expired").exists()  # noqa: E731
        try:
            wait_until(over, seconds=40, why="the jobs end")
        except AssertionError as late:
            report.wrong.append(str(late))
        stolen = Attempt.objects.filter(reason="lease_expired").count()
        report.expect(not stolen, f"I5 {stolen} leases were taken from a living holder")
    return report


def killed_slot(house: House, seed: int, mutant: str = "") -> Report:
    """L3 in small: one slot is killed; its trainer must go, its job must come back."""
    from benchmarks.faults import checker, fake, kills
    from config.embedded import processes
    from jobs.models import Job
    from tests.workers import wait_until

    report = Report("L3", "killed slot", seed)
    with house.lane("killedslot"):
        house.sweeper(every=0.3, FAULTS_MUTANTS=mutant)
        house.worker("w1", slots=1, FAULTS_MUTANTS=mutant)
        job = fake.ask(seed=1, steps=60, pause=0.1, every=20)
        wait_until(kills.victims, seconds=40, why="the trainer runs", every=0.05)
        victim = kills.victims()[0]
        kills.kill(victim.slot)
        left = processes.wait_gone([victim.trainer], seconds=kills.ORPHAN_SECONDS)
        report.expect(not left, "I9 the trainer outlived its supervisor")
        for pid in left:
            kills.kill(pid)
        if not left:
            try:
                wait_until(lambda: Job.objects.get(pk=job.pk).attempts > 1, seconds=15, why="the job is taken up again")
            except AssertionError as late:
                report.wrong.append(f"I6 {late}")
        report.told["processes"] = len(checker.processes_of_ours())
    return report


def broken_publish(house: House, seed: int, mutant: str = "") -> Report:
    """The database goes away after the version was written and before the job has ended; the job is tried again."""
    from django.db import OperationalError

    from benchmarks.faults import checker, fake
    from jobs import claims, kinds
    from jobs.models import Job

    report = Report("L3", "broken publish", seed)
    with house.lane("broken"), publish_in_pieces() if mutant else _as_it_is():
        kind = kinds.get("fake")
        staged = _a_model()
        job = fake.ask(seed=1, steps=0)

        def half(*args: Any) -> Any:
            kind.publish(*args)
            raise OperationalError("the connection was cut")

        first = claims.claim(job_id=job.pk, worker="here:1:first")
        assert first is not None
        claims.begin_publish(first)
        cut = replace(kind, publish=half)
        try:
            claims.publish(first, kind=cut, result={"metrics": {"attempt": 1}}, staged=staged)
        except OperationalError:
            claims.retry(first, code="internal_error", detail="OperationalError")
        _swept_back(Job.objects.get(pk=job.pk))
        second = claims.claim(job_id=job.pk, worker="here:2:second")
        assert second is not None
        claims.begin_publish(second)
        claims.publish(second, kind=kind, result={"metrics": {"attempt": 2}}, staged=staged)
        checker.jobs(report)
        checker.close(report)
    return report


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _a_model() -> Any:
    from benchmarks.faults import machines

    return machines._a_model()


def _swept_back(job: Any) -> None:
    """Sweep until the job waits for somebody to claim it."""
    from benchmarks.faults import inhouse

    job.refresh_from_db()
    inhouse.come_back(job)
    assert job.state == "queued", job.state


@contextmanager
def listening(history: History) -> Iterator[None]:
    """A worker that only hears: takes each bell off the queue and looks at once whether its job is there."""
    from celery import current_app

    from benchmarks.faults.house import QUEUE
    from jobs.models import Job

    done = threading.Event()

    def hear() -> None:
        import json

        with current_app.connection_for_read() as broker:
            channel: Any = broker.default_channel
            while not done.is_set():
                message = channel.basic_get(QUEUE, no_ack=True)
                if message is None:
                    time.sleep(0.02)
                    continue
                job = json.loads(message.body)[0][0]
                with history.asking("ears", "bell", job=job) as asked:
                    there = Job.objects.filter(pk=job).exists()
                    (asked.ok if there else asked.fail)()
        connection.close()

    ears = threading.Thread(target=hear)
    ears.start()
    try:
        yield
    finally:
        done.set()
        ears.join()


@dataclass(frozen=True)
class Mutant:
    number: int
    what: str
    scene: Callable[..., Report]
    name: str


MUTANTS = (
    Mutant(1, "count, then insert, without the constraint", race, "count_then_insert"),
    Mutant(2, "no token in publish", zombie, "no_token"),
    Mutant(3, "no lock among sweepers (stands in for the audit chain's)", sweepers, "no_lock"),
    Mutant(4, "the bell rings before the commit", early_bell, "ring_before_commit"),
    Mutant(5, "no sweeper rings again", forgetful_broker, "no_ringing"),
    Mutant(6, "resume without verification", torn_resume, "unverified_resume"),
    Mutant(7, "the worker's clock", wrong_clock, "worker_clock"),
    Mutant(8, "late acknowledgement as the only safety", killed_slot, "late_acks"),
    Mutant(9, "no life line", killed_slot, "no_lifeline"),
    Mutant(10, "publishing in pieces, tried again", broken_publish, "publish_in_pieces"),
)


def run(house: House, seed: int, say: Callable[[str], None], only: set[int] | None = None) -> tuple[int, list[str]]:
    """Every scene as it is, and with its mutant. How many mutants were caught, and what is wrong: scenes that are red by themselves."""
    caught, wrong, healthy = 0, list[str](), dict[Callable[..., Report], bool]()
    for mutant in MUTANTS:
        if only and mutant.number not in only:
            continue
        if mutant.scene not in healthy:
            found = mutant.scene(house, seed)
            house.drop()
            healthy[mutant.scene] = not found.wrong
            wrong += [f"{found.title}, unbroken: {each}" for each in found.wrong]
        found = mutant.scene(house, seed, mutant.name)
        house.drop()
        red = bool(found.wrong)
        caught += red and healthy[mutant.scene]
        say(f"M{mutant.number:<3} {'caught' if red else 'MISSED'} {mutant.what:<60} {(found.wrong or ['green'])[0][:120]}")
    return caught, wrong
