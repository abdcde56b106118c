"""L5, cancelling: in nine phases, with trainers that listen, are deaf or die at once, and in the very moment of publishing."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from django.conf import settings

from benchmarks.faults import checker, fake
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from jobs import submissions
from jobs.errors import NotCancellable
from jobs.models import ENDED, Job
from tests.workers import wait_until

PHASES = ("queued", "preparing", "tokenizing", "training", "checkpointing", "evaluating", "merging", "saving", "publishing")
BEHAVIOURS = ("cooperative", "deaf", "abrupt")
GRACE_SECONDS = 1.0


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L5", "cancelling", seed)
    each, races = (1, 8) if quick else (10, 100)
    draw = random.Random(seed)
    with house.lane("cancels") as history:
        house.sweeper()
        for name in ("w1", "w2"):
            house.worker(name, FAULTS_GRACE=str(GRACE_SECONDS))
        # A queued job is cancelled before any worker is up.
        waiting: dict[int, Path] = {}
        plan = [(phase, behaviour) for phase in PHASES for behaviour in BEHAVIOURS for _ in range(each)] + [("race", "cooperative")] * races
        draw.shuffle(plan)
        for number, (phase, behaviour) in enumerate(plan):
            pause = {"race": draw.uniform(0, 0.08)} if phase == "race" else {}
            job = fake.ask(seed=number, steps=6, pause=0.0, every=3, bytes=2000, behaviour=behaviour, hold=phase, **pause)
            if phase == "queued":
                cancel(job.pk, history, phase, behaviour)
            else:
                waiting[job.pk] = Path(settings.DATA_DIR) / "attempts" / str(job.public_id) / "1" / "held"
        phases = {job.pk: (job.spec["hold"], job.spec["behaviour"]) for job in Job.objects.all()}
        _cancel_the_held(waiting, phases, history, draw, report)
        try:
            wait_until(lambda: not Job.objects.exclude(state__in=ENDED).exists(), seconds=60, why="every job ends")
            wait_until(lambda: not checker.processes_of_ours(), seconds=5, why="no trainer is left")
        except AssertionError as late:
            report.wrong.append(str(late))
        _judge(report, history, each, races)
        checker.close(report)
    return report


def cancel(job: int, history: History, phase: str, behaviour: str) -> None:
    with history.asking("dan", "cancel", job=job, phase=phase, behaviour=behaviour) as asked:
        try:
            submissions.cancel(job=Job.objects.get(pk=job), actor=None)
        except NotCancellable:
            asked.fail()
        else:
            asked.ok()


def _cancel_the_held(
    waiting: dict[int, Path], phases: dict[int, tuple[str, str]], history: History, draw: random.Random, report: Report
) -> None:
    """Cancel each job in the moment in which it is seen to stand where it was told to stand."""
    end = time.monotonic() + 200
    while waiting and time.monotonic() < end:
        for job in [job for job, held in waiting.items() if held.exists()]:
            del waiting[job]
            if phases[job][0] == "race":
                time.sleep(draw.uniform(0, 0.08))
            cancel(job, history, *phases[job])
        time.sleep(0.02)
    report.expect(not waiting, f"{len(waiting)} jobs never came to their phase, for instance {[phases[job] for job in waiting][:3]}")


def _judge(report: Report, history: History, each: int, races: int) -> None:
    jobs = {job.pk: job for job in Job.objects.all()}
    asked = history.of("cancel")
    report.faults = len(asked)
    checker.jobs(report)
    took = sorted(
        (job.ended_at - job.cancel_requested_at).total_seconds()
        for job in jobs.values()
        if job.state == "cancelled" and job.ended_at and job.cancel_requested_at
    )
    won = Counter(one.outcome for one in asked if one.args["phase"] == "race")
    report.told = {
        "cancelled": sum(job.state == "cancelled" for job in jobs.values()),
        "races": races,
        "cancel_won": won["ok"],
        "publish_won": won["fail"],
        "p95_s": round(took[int(0.95 * len(took))], 1) if took else None,
        "longest_s": round(took[-1], 1) if took else None,
    }
    report.expect(len(asked) == each * len(PHASES) * len(BEHAVIOURS) + races, f"only {len(asked)} cancels were asked for")
    broken = [
        (one.args["phase"], one.args["behaviour"], jobs[one.args["job"]].state)
        for one in asked
        if jobs[one.args["job"]].state != {"ok": "cancelled", "fail": "succeeded"}.get(one.outcome)
    ]
    report.lost = len(broken)
    report.expect(not broken, f"{len(broken)} cancels were answered one way and ended the other, for instance {broken[:3]}")
