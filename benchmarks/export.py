"""A snapshot of many judgements leaves as a data set: rows a second, and the memory it takes.

Needs nothing but the project's own packages and about 20 GB of disk for a million judgements; the world is written by COPY into an embedded
PostgreSQL of its own. Measured are the two halves of an export as they run in production: the database lays rows out as files (in the
worker), a child without database makes the data set of them. `rows_per_s` is the rows of all seven configs, each written twice (Parquet and
JSON lines), over the seconds of both halves; `judgements_per_s` the judgements over the same; `rows_per_cpu_s` the rows over the child's
processor time, which other work on the machine does not stretch; `peak_rss_mb` the larger half's peak. With `--tenth` the same is done for
a tenth of the rows first: flat memory means that the two peaks are alike. (Seen: the writing half's are, 194 MB for 100,000 judgements and
236 for a million; the laying out grows from 171 to 393 MB.)

    python benchmarks/export.py --rows 1000000 --json
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
# In place of this folder, whose own statistics.py would hide the library's.
sys.path[0] = str(PROJECT)

OVERLAP = 3
RATERS = 12
REASON = "The dose is right and nothing is missing."


def build(judgements: int) -> int:
    """A campaign of `judgements` answers, three a pair, frozen; the snapshot's id. Written by COPY: freezing is not what is measured."""
    from django.db import connection
    from django.utils import timezone

    from annotation.models import Assignment, Judgement, Snapshot, SnapshotEvidence, SnapshotRow
    from benchmarks.load import world

    pairs = judgements // OVERLAP
    raters = world.people(RATERS)
    campaign = world.campaign(raters, pairs=pairs, overlap=OVERLAP)
    now = timezone.now()
    places = [(pair, number) for pair in range(1, pairs + 1) for number in range(OVERLAP)]
    world.copy(
        Assignment, ["public_id", "pair_id", "slot_id", "annotator_id", "first_on_left"],
        ((f"00000000-0000-4000-8000-{n:012d}", pair, n, raters[(pair + number) % RATERS].pk, (pair + number) % 2 == 0)
         for n, (pair, number) in enumerate(places, start=1)),
        campaign_id=campaign.pk, state="submitted", expires_at=now, submitted_at=now,
    )  # fmt: skip
    verdicts = ("first_much", "first_slightly", "second_slightly", "both_acceptable", "first_much")
    world.copy(
        Judgement, ["assignment_id", "idempotency_key", "verdict", "rationale", "active_ms"],
        ((n, f"10000000-0000-4000-8000-{n:012d}", verdicts[(pair * 7 + number) % 5], REASON if n % 4 == 0 else "",
          60_000 + n % 5000) for n, (pair, number) in enumerate(places, start=1)),
    )  # fmt: skip
    counts = {
        "used": {"train": pairs, "validation": 0, "evaluation": 0},
        "dropped": {},
        "judgements": len(places),
        "raters": RATERS,
        "surplus": 0,
    }
    snapshot = Snapshot.objects.create(
        name="Load",
        campaign=campaign,
        digest=world.digest("load", judgements),
        filters={"min_judgements": 1, "task_types": []},
        counts=counts,
    )
    votes = {"chosen": 2, "rejected": 0, "tie": 1, "strength": 1.0, "basis": "votes"}
    world.copy(
        SnapshotRow, ["position", "pair_id", "prompt_id", "chosen_id", "rejected_id"],
        ((n, n, n, 2 * n - 1, 2 * n) for n in range(1, pairs + 1)), snapshot_id=snapshot.pk, p_chosen=0.71, votes=votes, split="train",
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO annotation_snapshotevidence (snapshot_id, judgements, rulings, votes, findings, dropped) "
            "SELECT %s, array_agg(id), '{}', array_agg(id), '{}', '{}' FROM annotation_judgement",
            [snapshot.pk],
        )
        cursor.execute("VACUUM ANALYZE")
    assert SnapshotEvidence.objects.filter(snapshot=snapshot).exists()
    return snapshot.pk


def lay_out(snapshot: int, folder: str) -> None:
    """The worker's half, in a process of its own so that its memory can be told."""
    from annotation import export_files
    from annotation.models import Snapshot

    began = time.perf_counter()
    found = Snapshot.objects.select_related("campaign__rubric").get(pk=snapshot)
    (Path(folder) / "laid").mkdir()
    export_files.lay_out(found, "full", Path(folder) / "laid")
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_rss_mb": peak()}))


def peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def export(snapshot: int, judgements: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rounds-export-", dir=os.environ.get("ROUNDS_BENCH_DIR")) as scratch:
        laid = told([sys.executable, __file__, "--lay-out", str(snapshot), "--into", scratch])
        (Path(scratch) / "spec.json").write_text('{"form": "dataset"}')
        subprocess.run([sys.executable, "-m", "annotation.exports", scratch], check=True, cwd=PROJECT)
        made = json.loads((Path(scratch) / "result.json").read_text())
    if not made["ok"]:
        raise SystemExit(made["error"]["message"])
    seconds = laid["seconds"] + made["seconds"]
    rows = sum(made["rows"].values())
    return {
        "rows": judgements, "rows_per_s": round(rows / seconds), "judgements_per_s": round(judgements / seconds), "written_rows": rows,
        "rows_per_cpu_s": round(rows / made["cpu_seconds"]), "lay_out_s": round(laid["seconds"], 1), "write_s": round(made["seconds"], 1),
        "write_cpu_s": round(made["cpu_seconds"], 1), "mb": round(made["bytes"] / 2**20), "lay_out_rss_mb": laid["peak_rss_mb"],
        "write_rss_mb": made["peak_rss_mb"], "peak_rss_mb": max(laid["peak_rss_mb"], made["peak_rss_mb"]),
    }  # fmt: skip


def told(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="judgements")
    parser.add_argument("--tenth", action="store_true", help="a tenth of them first, in a database of its own")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lay-out", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--into", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        setup()
        print(json.dumps({"snapshot": build(given.build)}))
        return
    if given.lay_out:
        setup()
        lay_out(given.lay_out, given.into)
        return
    tenth = told([sys.executable, __file__, "--rows", str(given.rows // 10), "--json"]) if given.tenth else None
    with tempfile.TemporaryDirectory(prefix="rounds-export-world-", dir=os.environ.get("ROUNDS_BENCH_DIR")) as data:
        found = run(given.rows, Path(data) / "data")
    size = f"{found['written_rows']} rows, {found['mb']} MB"
    print(f"{found['rows']} judgements: {found['rows_per_s']} rows a second; {size}, peak {found['peak_rss_mb']} MB")
    if tenth:
        found |= {"tenth_rows_per_s": tenth["rows_per_s"], "tenth_peak_rss_mb": tenth["peak_rss_mb"]}
        print(f"a tenth of them: {tenth['rows_per_s']} rows a second, peak {tenth['peak_rss_mb']} MB")
    if given.json:
        print(json.dumps(found))


def run(judgements: int, data: Path) -> dict[str, Any]:
    """The world in a database of its own, and its export; both are gone afterwards."""
    os.environ |= {"ROUNDS_DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "config.settings.dev", "ROUNDS_DEMO": "false"}
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        os.environ.pop(name, None)
    from config import embedded

    embedded.provide()
    try:
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], check=True, cwd=PROJECT)
        began = time.perf_counter()
        # In a process of its own: what is started by one that had much memory is said by the kernel to have had as much.
        snapshot = told([sys.executable, __file__, "--build", str(judgements)])["snapshot"]
        print(f"a world of {judgements} judgements made in {time.perf_counter() - began:.0f} s")
        return export(snapshot, judgements)
    finally:
        embedded.stop(data)


def setup() -> None:
    import django

    django.setup()


if __name__ == "__main__":
    main()
