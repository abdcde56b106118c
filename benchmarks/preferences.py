"""100,000 preferences from elsewhere in one call with flat memory, frozen, and rebuilt twenty times to the same digest under writes.

Stores synthetic rows (prompts of about 400 characters, answers of about 200, two votes a pair) by `annotation.preferences.store`, the
same rows again, freezes the campaign (by a job where it is large, supervised in this process, and once more at once: the same digest) and
rebuilds the snapshot from its evidence while another thread stores preferences of the same prompts. Needs nothing but the embedded
PostgreSQL; works in a database of its own, which it drops. Peak memory is the process's own (ru_maxrss), read after ten and after a hundred
per cent of the rows: what grows with the rows is the difference.

    python benchmarks/preferences.py [--rows 100000] [--rebuilds 20] [--json]
"""

import argparse
import json
import random
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import own_house

WORDS = [
    "pain", "fever", "cough", "letter", "dose", "daily", "week", "chest", "knee", "scan", "normal", "high", "low", "left", "right",
    "seen", "by", "team", "after", "before", "stable", "plan", "review", "home", "ward", "clinic", "note", "result", "pressure",
    "rhythm", "sleep", "diet", "walk", "rest",
]  # fmt: skip


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows(count: int, *, first: int = 0) -> Iterator[Any]:
    from annotation.reading.shapes import PreferenceRow, SampleRow

    for number in range(first, first + count):
        draw = random.Random(number // 2)
        text = " ".join(draw.choices(WORDS, k=70))
        answers = [" ".join(draw.choices(WORDS, k=35)) for _ in range(2)]
        sample = SampleRow(f"p{number // 2}", "Write the letter.", text, "", "other", "other", "plain_text", "")
        verdict = ("first_much", "second_slightly", "first_slightly", "both_acceptable")[(number // 2) % 4]
        yield PreferenceRow(sample, answers[0], "north", answers[1], "south", verdict, rater=str(number % 2 * 50 + number // 2 % 50))


def watched(count: int, peaks: list[float]) -> Iterator[Any]:
    """The rows, with what the process took after a tenth of them and after all."""
    for number, row in enumerate(rows(count)):
        if number == count // 10:
            peaks.append(peak_mb())
        yield row
    peaks.append(peak_mb())


def measure(count: int, rebuilds: int) -> dict[str, Any]:
    from django.db import connection

    from annotation import freeze_jobs, preferences, snapshots
    from annotation.models import Source
    from jobs import attempts, claims

    source = Source.objects.create(name="Elsewhere", licence="CC0-1.0")
    peaks: list[float] = []
    began, busy = time.perf_counter(), time.process_time()
    done = preferences.store(source=source, rows=watched(count, peaks), actor=None, name="All")
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    began = time.perf_counter()
    again = preferences.store(source=source, rows=rows(count), actor=None, name="Again")
    again_seconds = time.perf_counter() - began
    by_job = freeze_jobs.start(campaign=done.campaign, name="All", actor=None) if freeze_jobs.is_long(done.campaign) else None
    began = time.perf_counter()
    if by_job is not None and (held := claims.claim(job_id=by_job.pk, worker=attempts.worker_name())):
        attempts.supervise(held)
        by_job.refresh_from_db()
    job_seconds, freeze_peak = time.perf_counter() - began, peak_mb()
    began = time.perf_counter()
    # Where the job has frozen it this plans all of it anew, and finds the digest that is there.
    frozen = snapshots.freeze(campaign=done.campaign, name="All", actor=None)
    freeze_seconds, freeze_peak = time.perf_counter() - began, freeze_peak if by_job else peak_mb()

    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        number = count
        while not stop.is_set():
            written.append(preferences.store(source=source, rows=rows(50, first=number), actor=None, name="All").stored)
            number += 50
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    began = time.perf_counter()
    same = sum(snapshots.rebuild(frozen) == frozen.digest for _ in range(rebuilds))
    rebuild_seconds = (time.perf_counter() - began) / rebuilds
    stop.set()
    writer.join()
    return {
        "rows": count, "stored": done.stored, "rows_per_s": round(count / seconds), "cpu_s": round(cpu, 1),
        "peak_mb_at_a_tenth": round(peaks[0], 1), "peak_mb_at_the_end": round(peaks[1], 1),
        "again_stored": again.stored, "again_rows_per_s": round(count / again_seconds), "frozen_rows": sum(frozen.counts["used"].values()),
        "frozen_by_job": by_job is not None, "job_s": round(job_seconds, 1),
        "same_digest": by_job is None or by_job.result.get("snapshot") == str(frozen.public_id),
        "freeze_s": round(freeze_seconds, 1), "freeze_peak_mb": round(freeze_peak, 1), "rebuilds": rebuilds, "rebuilds_same": same,
        "rebuild_s": round(rebuild_seconds, 1), "written_meanwhile": sum(written),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rebuilds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    with own_house.standing("preferences"):
        found = measure(options.rows, options.rebuilds)
    for name, value in found.items():
        print(f"{name:22} {value:,}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
