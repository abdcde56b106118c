"""L2, PostgreSQL crashes under judging: `immediate` restarts and reset connections, and no acknowledged answer may be gone."""

from __future__ import annotations

import random
import threading
import time
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, connection

from accounts.models import User
from annotation import assignments, judgements
from annotation.models import Campaign
from benchmarks.faults import checker
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from benchmarks.faults.leases import VERDICTS
from tests.annotation.build import campaign
from tests.annotation.test_claims import crowd

CLIENTS = 24


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L2", "PostgreSQL crashes", seed)
    crashes, every = (2, 2.5) if quick else (8, 5.5)
    with house.lane("crashes") as history:
        people = crowd(CLIENTS)
        made = campaign(people, pairs=300 if quick else 6000, overlap=3)
        proxy = house.proxy("postgres")
        house.use_through(proxy)
        stop = threading.Event()
        clients = [threading.Thread(target=_judge, args=(made, person, history, seed, stop, report)) for person in people]
        for client in clients:
            client.start()
        draw = random.Random(seed)
        for number in range(crashes):
            time.sleep(every * draw.uniform(0.5, 0.9))
            proxy.obey("reset")
            proxy.obey("pass")
            history.note("harness", "fault", what="reset", number=number)
            time.sleep(every * draw.uniform(0.1, 0.3))
            house.crash_postgres()
            history.note("harness", "fault", what="crash", number=number)
        time.sleep(every / 2)
        stop.set()
        for client in clients:
            client.join()
        house.use_straight()
        report.faults = len(history.of("fault"))
        checker.judgements(report, history.of("judge"))
        unknown, errors = len(history.of("judge", "unknown")), len(history.of("error"))
        report.told = {"crashes": crashes, "errors_seen": errors, "unknown_answers": unknown, "resumed_leases": len(history.of("resumed"))}
        report.expect(report.jobs > 0, "nothing was acknowledged")
        checker.close(report)
    return report


def _judge(made: Campaign, person: User, history: History, seed: int, stop: threading.Event, report: Report) -> None:
    """Claim and answer; after an error ask again: the same key, or one's own open lease, before anything new."""
    draw = random.Random(f"{seed} {person.username}")
    unsure = False
    try:
        while not stop.is_set():
            try:
                held = assignments.lease_next(campaign=made, annotator=person)
                if held is None:
                    return
                if unsure and held.extensions == 0:
                    history.note(person.username, "resumed", assignment=held.pk)
                unsure = False
                verdict, key = draw.choice(VERDICTS), uuid4()
                with history.asking(person.username, "judge", key=str(key), verdict=verdict.value, assignment=held.pk) as asked:
                    _until_answered(lambda: judgements.submit(assignment=held, verdict=verdict, key=key), person, history, stop)  # noqa: B023
                    asked.ok()
            except (DatabaseError, InterfaceError) as error:
                unsure = True
                _pause(person, history, error, stop)
    except Exception as error:
        report.wrong.append(f"{person.username}: {type(error).__name__}: {error}")
    finally:
        connection.close()


def _until_answered(send: object, person: User, history: History, stop: threading.Event) -> None:
    while True:
        try:
            send()  # type: ignore[operator]
        except (DatabaseError, InterfaceError) as error:
            if stop.is_set():
                raise
            _pause(person, history, error, stop)
        else:
            return


def _pause(person: User, history: History, error: Exception, stop: threading.Event) -> None:
    history.note(person.username, "error", what=type(error).__name__)
    connection.close()
    stop.wait(0.1)
