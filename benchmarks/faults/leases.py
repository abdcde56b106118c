"""L1, the race for leases: 64 people at once on every pair, answers sent twice, a tenth of the leases abandoned."""

from __future__ import annotations

import random
import threading
import time
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now

from accounts.models import User
from annotation import assignments, judgements
from annotation.models import Assignment, Campaign, Verdict
from benchmarks.faults import checker
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from tests.annotation.build import campaign
from tests.annotation.test_claims import crowd
from tests.threads import connect

VERDICTS = [Verdict.FIRST_MUCH, Verdict.FIRST_SLIGHTLY, Verdict.SECOND_SLIGHTLY, Verdict.SECOND_MUCH]


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L1", "lease race", seed)
    threads, pairs, overlap = (16, 60, 3) if quick else (64, 2000, 3)
    with house.lane("leases") as history:
        people = crowd(threads)
        made = campaign(people, pairs=pairs, overlap=overlap)
        began = time.monotonic()
        claims = race(made, people, history, seed, report)
        seconds = time.monotonic() - began
        report.faults = len(history.of("abandon")) + len(history.of("again"))
        report.told = {"claims_per_second": round(claims / seconds), "threads": threads, "pairs": pairs, "overlap": overlap}
        checker.judgements(report, history.of("judge"))
        wanted = pairs * overlap
        held = Assignment.objects.filter(campaign=made, state="submitted").count()
        report.expect(held == wanted, f"{held} places are filled, not {wanted}")
        report.expect(not made.slots.filter(open=True).exists(), "a place was left open")
        checker.close(report)
    return report


def race(made: Campaign, people: list[User], history: History, seed: int, report: Report, abandoned: float = 0.1) -> int:
    """Everybody claims and answers until nothing is left; how many leases were granted."""
    granted: list[int] = []
    ready = threading.Barrier(len(people))

    def work(person: User, number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        count = 0
        try:
            connect()
            ready.wait(timeout=120)
            while held := assignments.lease_next(campaign=made, annotator=person):
                count += 1
                if draw.random() < abandoned:
                    # As somebody who closes the page and comes back much later.
                    Assignment.objects.filter(pk=held.pk, state="leased").update(expires_at=Now())
                    history.note(person.username, "abandon", assignment=held.pk)
                    continue
                answer(held, person, draw, history)
        except Exception as error:
            report.wrong.append(f"{person.username}: {type(error).__name__}: {error}")
            ready.abort()
        finally:
            granted.append(count)
            connection.close()

    workers = [threading.Thread(target=work, args=(person, number)) for number, person in enumerate(people)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(granted)


def answer(held: Assignment, person: User, draw: random.Random, history: History) -> None:
    """One answer; every third is sent again with the same key, as a double click does."""
    verdict, key = draw.choice(VERDICTS), uuid4()
    with history.asking(person.username, "judge", key=str(key), verdict=verdict.value, assignment=held.pk) as asked:
        saved = judgements.submit(assignment=held, verdict=verdict, key=key)
        asked.ok(judgement=saved.pk)
    if draw.random() < 0.33:
        with history.asking(person.username, "again", key=str(key)) as asked:
            same = judgements.submit(assignment=held, verdict=verdict, key=key)
            asked.ok(same=same.pk == saved.pk)
