"""L6, full and failing disks: at every n-th call on files while a checkpoint, a model or an artifact is written; and a small volume.

The checkpoints before stay whole, the job says what was full, and goes on to the right model once there is room.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings

from benchmarks.faults import checker, fake, inhouse
from benchmarks.faults.checker import Report
from benchmarks.faults.fake import brokendisk
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from jobs import keeping
from jobs.models import Job
from training.engine import checkpoints

WANTED = 60
# Where, and which call or size. More than are wanted: a call that is not made any more strikes nobody.
POINTS = [
    *[("checkpoint", call) for call in range(1, 39)],
    *[("saving", call) for call in range(1, 9)],
    *[("stage", call) for call in range(1, 17)],
    *[("limit", size) for size in range(1000, 49_000, 4_000)],
]


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L6", "full disks", seed)
    draw = random.Random(seed)
    points = list(POINTS)
    draw.shuffle(points)
    ends: Counter[str] = Counter()
    wanted = 6 if quick else WANTED
    with house.lane("disk") as history:
        for number, (where, call) in enumerate(points):
            ends += _one(number, {"where": where, "call": call, "errno": draw.choice(["ENOSPC", "ENOSPC", "EIO"])}, history, report)
            if ends.total() == wanted:
                break
        report.faults = ends.total()
        report.told = {f"met_as_{name}": count for name, count in sorted(ends.items())}
        report.told["small_volume"] = _small_volume(Path(settings.DATA_DIR), history, report)
        checker.jobs(report)
        report.expect(report.faults == wanted, f"only {report.faults} points were met")
        report.expect(report.published == report.jobs, f"{report.published} of {report.jobs} jobs were published in the end")
        checker.close(report)
    return report


def _one(number: int, what: dict[str, Any], history: History, report: Report) -> Counter[str]:
    """A job whose first attempt meets the broken disk; how that attempt ended, when it did meet it."""
    job = fake.ask(seed=number, steps=20, pause=0.0, every=5, bytes=50_000, disk=what)
    with history.asking("harness", "fill", job=job.pk, **what) as asked:
        inhouse.attempt(job)
        first = job.error_code or job.state
        _whole(job, report)
        if job.state != "succeeded":
            report.expect(job.error_detail, f"{what}: the failure has no words")
            inhouse.come_back(job)
            if job.state == "queued":
                inhouse.attempt(job)
        report.expect(job.state == "succeeded", f"{what}: the job ended {job.state} with {job.error_code}")
        met = first != "succeeded" or (inhouse.folder(job) / brokendisk.FIRED).exists()
        asked.ok(first=first, met=met)
    return Counter([first]) if met else Counter()


def _whole(job: Job, report: Report) -> None:
    """Whatever bears a checkpoint's name is one."""
    for root in (inhouse.folder(job) / checkpoints.FOLDER, Path(settings.DATA_DIR) / "checkpoints" / str(job.public_id)):
        for path in root.glob("ckpt-*"):
            try:
                checkpoints.verify(path, keeping.key_of(job))
            except checkpoints.Torn as torn:
                report.wrong.append(f"I7 {torn}")


def _small_volume(data: Path, history: History, report: Report) -> str:
    """The attempts' folder on a volume of two megabytes that is made larger later; where mounting is allowed."""
    place = data / "attempts"
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", str(place)], capture_output=True, check=False).returncode:
        return "mounting is not allowed here"
    try:
        job = fake.ask(seed=99, steps=20, pause=0.0, every=5, bytes=1_500_000)
        inhouse.attempt(job)
        said = job.error_detail
        report.expect(job.state != "succeeded" and job.error_code == "disk_full", f"a full volume gave {job.state} {job.error_code}")
        report.expect(str(data) in said or "volume" in said, f"the message does not name the volume: {said}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], capture_output=True, check=True)
        inhouse.come_back(job)
        inhouse.attempt(job)
        report.expect(job.state == "succeeded", f"with room, the job ended {job.state} {job.error_code}")
        history.note("harness", "volume", said=said)
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
    return "paused, then finished with room" if job.state == "succeeded" else "red"
