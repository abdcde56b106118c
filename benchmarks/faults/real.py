"""R, the real trainer: tiny DPO is killed after its checkpoints, and ends in the very model of an unbroken run, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress

from django.db import connection

from accounts.models import Role
from benchmarks.faults import checker, inhouse
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from jobs.models import Job
from modelhub.models import ModelVersion
from tests.cast import person
from tests.training import build
from training import runs

# The house's lease is short; a real child's first seconds are busy ones.
PATIENCE_SECONDS = 180


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("R", "real tiny DPO", seed)
    kills = 1 if quick else 2
    with house.lane("real") as history:
        dan = person("dan", Role.TRAINER)
        base = runs.build(
            kind="build-base", name="small-base", label="Build small-base",
            params={
                "steps": 8, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 32, "layers": 1, "intermediate_size": 64,
            },
            models={}, publish={"kind": "base", "toy": True, "simulated": False, "roles": {}, "corpus": "toy corpus base"},
            waits_for=[], seed=1, preset="", actor=dan,
        )  # fmt: skip
        report.expect(inhouse.attempt(base.job).state == "succeeded", f"the base was not built: {base.job.error_detail}")
        policy, frozen = ModelVersion.objects.get(name="small-base"), build.snapshot(pairs=48)
        made = {}
        for name in ("unbroken", "killed"):
            made[name] = runs.start(snapshot=frozen, policy=policy, preset="demo", name=name, changes={"epochs": 8.0}, actor=dan).job
        inhouse.attempt(made["unbroken"])
        job = made["killed"]
        draw = random.Random(seed)
        for number in range(1, kills + 1):
            _killed(job, number, draw, history, report)
        inhouse.attempt(job)
        report.faults = len(history.of("kill"))
        report.jobs = 2
        report.published = ModelVersion.objects.filter(name__in=made).count()
        resumed = list(job.history.order_by("number").values_list("resumed_from", flat=True))
        same = _weights("unbroken") == _weights("killed") != ""
        report.told = {"resumed_from": resumed, "same_weights": same}
        for each in made.values():
            each.refresh_from_db()
            report.expect(each.state == "succeeded", f"{each.label} ended {each.state}: {each.error_code} {each.error_detail}")
        report.expect(report.published == 2, f"{report.published} versions were published, not 2")
        report.expect(report.faults == kills, f"{report.faults} of {kills} kills met the trainer")
        report.expect(all(step for step in resumed[1:]), f"attempts went on from {resumed}")
        report.expect(same, "the killed run's weights differ from the unbroken one's")
        report.lost = 2 - report.published
        checker.close(report)
    return report


def _killed(job: Job, number: int, draw: random.Random, history: History, report: Report) -> None:
    """One attempt that is killed a moment after a new checkpoint."""
    killer = threading.Thread(target=_kill_after_checkpoint, args=[job, number, draw.uniform(0, 0.3), history])
    killer.start()
    inhouse.attempt(job)
    killer.join()
    report.expect(job.state == "retry_wait", f"attempt {number} ended {job.state} {job.error_code}")
    inhouse.come_back(job)


def _kill_after_checkpoint(job: Job, number: int, pause: float, history: History) -> None:
    folder = inhouse.folder(job, number)
    end = time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < end:
            with suppress(FileNotFoundError):
                if '"checkpoint"' in (folder / "events.jsonl").read_text():
                    time.sleep(pause)
                    for pid in checker.processes_of_ours():
                        os.kill(pid, signal.SIGKILL)
                        history.note("harness", "kill", attempt=number, pid=pid)
                    return
            time.sleep(0.02)
    finally:
        connection.close()


def _weights(name: str) -> str:
    """The SHA-256 of a version's weights; empty when there is no such version."""
    version = ModelVersion.objects.filter(name=name).select_related("artifact").first()
    if version is None:
        return ""
    return next(str(entry["sha256"]) for entry in version.artifact.manifest if entry["name"] == "model.safetensors")
