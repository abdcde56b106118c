"""L3, the kill loop: trainers, slots and whole workers are killed with -9, or frozen beyond twice their lease, while bells ring twice.

Not killed is an attempt of a job that has had an attempt without progress before: three of them fail a job, as they should, and this
lane is about the jobs that go on.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from benchmarks.faults import checker, fake
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import LEASE_SECONDS, House
from config.embedded import processes
from jobs import outbox
from jobs.models import ENDED, HELD, Attempt, Job

MOST_REWORK = 0.15
FROZEN_SECONDS = 2 * LEASE_SECONDS + 1
# A trainer may outlive its supervisor by this.
ORPHAN_SECONDS = 5.0
# What the workers say their machine has; every fifth job wants one.
GPUS = "gpu-a,gpu-b"
# What is broken, and how often of a hundred.
FAULTS = {"kill trainer": 52, "kill slot": 24, "kill worker": 4, "freeze slot": 12, "freeze trainer": 8}


@dataclass(frozen=True)
class Victim:
    """A running attempt: the job, which attempt, its supervisor's and its trainer's process."""

    job: int
    number: int
    slot: int
    trainer: int


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L3", "kill loop", seed)
    count, faults = (12, 9) if quick else (300, 225)
    with house.lane("kills") as history:
        house.environment["ROUNDS_GPUS"] = GPUS
        house.sweeper()
        for name in ("w1", "w2"):
            house.worker(name)
        for number in range(count):
            fake.ask(kind="fake" if number % 5 else "fake-gpu", seed=number, steps=40, pause=0.02 if quick else 0.025)
        loop = Loop(house, history, random.Random(seed), report)
        watch = Watch(loop.frozen)
        watch.start()
        end = time.monotonic() + (100 if quick else 240)
        while (ended := Job.objects.filter(state__in=ENDED).count()) < count and time.monotonic() < end:
            # Faults keep pace with the jobs, so that the last of them still meets running ones.
            if loop.done < faults and loop.done <= faults * (ended + 1) / (0.94 * count):
                loop.strike()
            time.sleep(0.05 if loop.done < faults else 0.3)
        loop.thaw_all()
        watch.stop()
        report.faults = loop.done
        report.told = {
            **{name.replace(" ", "_"): len([one for one in history.of("fault") if one.args["what"] == name]) for name in FAULTS},
            "duplicate_rings": len(history.of("ring")),
            "gpu_attempts": Attempt.objects.exclude(device="").count(),
            "most_attempts": max(Job.objects.values_list("attempts", flat=True)),
        }
        checker.jobs(report)
        again = checker.rework(report)
        report.expect(report.published == count, f"{report.published} of {count} jobs were published")
        report.expect(report.duplicates == 0, f"{report.duplicates} jobs were published twice")
        report.expect(loop.done >= faults, f"only {loop.done} faults met a running attempt")
        report.expect(again <= MOST_REWORK, f"{again:.1%} of the steps were done again")
        report.expect(
            not watch.orphans, f"I9 {len(watch.orphans)} trainers outlived their right by {ORPHAN_SECONDS:.0f} s: {watch.orphans[:3]}"
        )
        checker.close(report)
    return report


class Loop:
    """Picks a running attempt and breaks something of it."""

    def __init__(self, house: House, history: History, draw: random.Random, report: Report) -> None:
        self.house, self.history, self.draw, self.report = house, history, draw, report
        self.done = 0
        self.frozen: set[int] = set()
        self.threads: list[threading.Thread] = []
        self.restarted: dict[str, float] = {}

    def strike(self) -> None:
        found = [victim for victim in victims() if victim.slot not in self.frozen and victim.trainer not in self.frozen]
        if not found:
            return
        victim = self.draw.choice(found)
        what = self.draw.choices(list(FAULTS), weights=list(FAULTS.values()))[0]
        match what:
            case "kill trainer":
                done = kill(victim.trainer)
            case "kill slot":
                done = kill(victim.slot)
            case "kill worker":
                done = self._kill_worker(victim, found)
            case "freeze slot":
                done = len(self.frozen) < 4 and self._freeze(victim.slot)
            case _:
                done = len(self.frozen) < 4 and self._freeze(victim.trainer)
        if done:
            self.done += 1
            self.history.note("harness", "fault", what=what, job=victim.job, number=victim.number)
        if self.draw.random() < 0.2:
            # A bell too many: for a job that runs, that waits, or that has ended long ago.
            job = self.draw.choice(list(Job.objects.all()))
            outbox.ring_later([job])
            self.history.note("harness", "ring", job=job.pk)

    def _kill_worker(self, victim: Victim, found: list[Victim]) -> bool:
        parent = parent_of(victim.slot)
        name = next((name for name, child in self.house.children.items() if child.pid == parent), None)
        if name is None or time.monotonic() - self.restarted.get(name, 0.0) < 8:
            return False
        # Everything this worker holds falls with it.
        held = {attempt.job_id for attempt in held_attempts() if parent_of(slot_of(attempt)) == parent}
        if not held <= {one.job for one in found}:
            return False
        child = self.house.children.pop(name)
        child.kill()
        child.wait(timeout=20)
        self.house.worker(name)
        self.restarted[name] = time.monotonic()
        return True

    def _freeze(self, pid: int) -> bool:
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        self.frozen.add(pid)
        thread = threading.Timer(FROZEN_SECONDS, self._thaw, args=[pid])
        thread.start()
        self.threads.append(thread)
        return True

    def _thaw(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self.frozen.discard(pid)

    def thaw_all(self) -> None:
        for thread in self.threads:
            thread.join()


class Watch(threading.Thread):
    """I9: looks twice a second for trainers whose attempt is over, and remembers those that were still there five seconds later."""

    def __init__(self, frozen: set[int]) -> None:
        super().__init__(daemon=True)
        self.frozen, self.ended = frozen, threading.Event()
        self.orphans: list[tuple[str, float]] = []
        self.seen: dict[int, float] = {}

    def run(self) -> None:
        try:
            while not self.ended.wait(0.5):
                self._look()
        finally:
            connection.close()

    def _look(self) -> None:
        root = Path(settings.DATA_DIR).resolve() / "attempts"
        now = time.monotonic()
        rightful = {(str(one.job.public_id), str(one.number)) for one in held_attempts()}
        over: dict[int, str] = {}
        for pid in checker.processes_of_ours():
            folder = processes.working_directory(pid)
            if folder is not None and folder.relative_to(root).parts[:2] not in rightful and pid not in self.frozen:
                over[pid] = "/".join(folder.relative_to(root).parts[:2])
        self.seen = {pid: self.seen.get(pid, now) for pid in over}
        for pid, since in self.seen.items():
            if now - since > ORPHAN_SECONDS:
                self.orphans.append((over[pid], round(now - since, 1)))

    def stop(self) -> None:
        self.ended.set()
        self.join()


def held_attempts() -> list[Attempt]:
    """Attempts that hold their job now, by the database's clock."""
    from django.db.models import F

    from jobs.clock import Clock

    live = Attempt.objects.filter(ended_at=None, token=F("job__token"), job__state__in=HELD, job__lease_until__gt=Clock())
    return list(live.select_related("job"))


def victims() -> list[Victim]:
    """Attempts whose trainer runs and whose job has lost no attempt without progress."""
    found = []
    for attempt in held_attempts():
        trainer = checker.trainer_of(attempt)
        if trainer is None or not processes.alive(trainer) or not checker.is_trainer(trainer, attempt):
            continue
        if not any((checker.path_of(attempt) / "checkpoints").glob("ckpt-*")) and attempt.number > 1:
            continue
        found.append(Victim(attempt.job_id, attempt.number, slot_of(attempt), trainer))
    return found


def slot_of(attempt: Attempt) -> int:
    """The pool process that supervises the attempt: its name is host:pid:random."""
    return int(attempt.worker.split(":")[1])


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
