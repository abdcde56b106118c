"""How many MediFlow-shaped samples a second come in, checked and whole, and how near that is to copying the bytes without a look.

Makes a file of its own, has the job kind `import` bring it in as a worker does (a confined child that reads, checks, scans for privacy and
writes; staging by COPY; one transaction), and prints

- `rows_per_s`: rows of the file over the seconds from claim to commit; `read_s`, `store_s` are its parts;
- `child_cpu_s`, `worker_cpu_s`, `postgres_cpu_s` (all of the server's processes; null where it is not on this machine), `cpu_s`, and
  `rows_per_cpu_s`: what a machine that is busy with other things still tells. `load` is its load average before and after;
- `peak_rss_mb`: the larger of the child's and the worker's peaks (both are given);
- `copy_rows_per_s`: a bare COPY of the same stored columns into a table without indexes, in the same run, and `ratio_to_copy`;
- `filter_p95_ms`: the Samples page, filtered and paged at random, through the whole of Django, 200 requests.

With `--kills K` a worker is killed with SIGKILL at K moments spread over the import, each of a fresh start: every time there must be 0 rows
or all; then it is brought in once more to its end, and the same file again must add 0. Ends with status 1 when that does not hold.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own, and about 6 times the file's
size on the disk (2,500,000 rows: 4 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SOURCE, BLOCK = "benchmark", 2**20
TASKS = (
    "summarization", "question-answering", "multiple choice question answering", "named entity recognition", "relation extraction",
    "classification", "reasoning & diagnosis", "textual entailment", "text simplification", "text expansion", "abbreviation expansion",
    "aspect oriented keyword extraction", "error detection & correction", "note scoring",
)  # fmt: skip
DOCUMENTS = ("Discharge Summary", "Progress Note", "Radiology Report", "Nursing Note", "Operative Report", "Referral Letter", "Lab Report")
LEVELS = ("easy", "moderate", "hard")
WORDS = (  # noqa: SIM905 - to be read
    "the patient was admitted with chest pain and shortness of breath which began two days before after climbing stairs there is a history "
    "of hypertension type diabetes and hyperlipidaemia treated with metformin lisinopril and atorvastatin on examination lungs were clear "
    "heart sounds regular no oedema laboratory values showed normal troponin mildly raised creatinine and a potassium within range imaging "
    "revealed no consolidation or effusion the plan includes aspirin continued monitoring follow up in clinic and repeat tests next week "
    "if symptoms return he should seek care at once her wound is healing without signs of infection pain is controlled with paracetamol"
).split()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the file (default 100,000)")
    parser.add_argument("--kills", type=int, default=0, help="kill a worker at so many moments, in place of measuring")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=int, metavar="JOB", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def generate(path: Path, rows: int, seed: int) -> None:
    """MediFlow's columns, about 1.6 KB a row, all different; one in 200 holds what the privacy scan looks for."""
    draw = random.Random(seed)
    # Sentences that are put together anew for every row: making words one by one would take longer than reading them.
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(8, 20))).capitalize() + "." for _ in range(4000)]
    instructions = [" ".join(draw.choices(sentences, k=draw.randint(3, 6))) for _ in range(400)]
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with path.open("w", encoding="utf-8", buffering=BLOCK) as file:
        for number in range(rows):
            text = draw.choices(sentences, k=draw.randint(4, 14))
            text.insert(
                1,
                f"Case {number}: BP {draw.randint(90, 180)}/{draw.randint(50, 110)} mmHg, HR {draw.randint(50, 120)}, Hb 13.{number % 10}.",
            )
            if not number % 200:
                text.append(f"Mrs. Hartwell, MRN {10_000_000 + number}, was called at +44 20 7946 0958.")
            row = {
                "instruction": instructions[number % len(instructions)], "input": "\n".join(text),
                "output": " ".join(draw.choices(sentences, k=draw.randint(1, 4))), "task_type": TASKS[number % len(TASKS)],
                "input_data": DOCUMENTS[number % len(DOCUMENTS)], "output_format": "json" if number % 3 == 0 else "plain_text",
                "difficulty_level": LEVELS[number % len(LEVELS)], "quality": 1 + (number % 31) / 10, "alignment": 3.5, "coherence": 4,
            }  # fmt: skip
            file.write(dump(row) + "\n")


# --- a worker ----------------------------------------------------------------------------------------------------------------------------


def work(job: int) -> None:
    """What a worker slot does with one job; tells its own peak of memory. Its connections have the runner's limits."""
    from jobs import attempts, claims, patience

    patience.limit_every_connection()
    held = claims.claim(job_id=job, worker=attempts.worker_name())
    if held is None:
        raise SystemExit("The job is not to be had.")
    before, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    attempts.supervise(held)
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = {
        "worker_rss_mb": round(mine.ru_maxrss / 1024, 1), "worker_cpu_s": round(cpu_of(mine) - cpu_of(before), 1),
        "child_cpu_s": round(cpu_of(theirs) - cpu_of(children), 1),
    }  # fmt: skip
    print(json.dumps(said))


def cpu_of(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def postgres_cpu() -> float | None:
    """CPU-seconds of the server since it began: of its main process, of those that it has waited for, and of those that live.

    None where its processes are not to be seen from here.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    try:
        main = int(stat_of(backend)[1])
        lives = [stat_of(int(one.name)) for one in Path("/proc").iterdir() if one.name.isdigit() and one.name != str(main)]
        ticks = sum(map(int, stat_of(main)[11:15])) + sum(int(one[11]) + int(one[12]) for one in lives if one and int(one[1]) == main)
    except (OSError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


def stat_of(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (proc_pid_stat(5)); none of a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def worker(job: Any, database: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, "--work", str(job.pk)], env=os.environ | {"DATABASE_URL": database}, stdout=subprocess.PIPE, cwd=PROJECT
    )


def asked(path: Path) -> Any:
    """The file, received in place and said to be what it is, with its job."""
    from annotation import imports, incoming

    made = incoming.from_server(name=path.name, actor=None)
    made = imports.configure(
        imported=made, format="jsonl", shape="mediflow", mapping={}, target=SOURCE, licence="CC0-1.0", options={"synthetic": True}
    )
    return imports.queue(imported=made, actor=None)


# --- measuring ---------------------------------------------------------------------------------------------------------------------------


def measure(path: Path, rows: int, database: str) -> dict[str, Any]:
    from annotation.models import Sample

    made = asked(path)
    load, used = os.getloadavg()[0], postgres_cpu()
    began = time.perf_counter()
    process = worker(made.job, database)
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    used_now = postgres_cpu()
    made.job.refresh_from_db()
    if made.job.state != "succeeded" or Sample.objects.count() != rows:
        raise SystemExit(f"The job ended as {made.job.state} ({made.job.error_code}: {made.job.error_detail}).")
    result, said = made.job.result, json.loads(output)
    rss = said["worker_rss_mb"]
    postgres = None if used is None or used_now is None else round(used_now - used, 1)
    cpu = said["child_cpu_s"] + said["worker_cpu_s"] + (postgres or 0)
    copied = bare_copy(path.parent / "stored.copy")
    pages = page_times()
    return {
        "rows": rows, "mb": round(path.stat().st_size / 1e6), "rows_per_s": round(rows / seconds), "seconds": round(seconds, 1),
        "read_s": result["seconds"], "store_s": round(seconds - result["seconds"], 1), "child_rss_mb": result["peak_rss_mb"],
        "child_cpu_s": said["child_cpu_s"], "worker_cpu_s": said["worker_cpu_s"], "postgres_cpu_s": postgres, "cpu_s": round(cpu, 1),
        "rows_per_cpu_s": round(rows / cpu), "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "worker_rss_mb": rss, "peak_rss_mb": max(rss, result["peak_rss_mb"]), "copy_rows_per_s": round(rows / copied),
        "ratio_to_copy": round(copied / seconds, 3), "filter_p95_ms": round(pages[int(0.95 * len(pages))], 1),
        "filter_p50_ms": round(statistics.median(pages), 1), "quarantined": Sample.objects.in_quarantine().count(),
    }  # fmt: skip


def bare_copy(path: Path) -> float:
    """Seconds to copy what is stored, without keys, checks and indexes, from a file into a logged table."""
    from django.db import connection

    from annotation import sample_rows

    names = ", ".join(name for name in sample_rows.COLUMNS if name != "line")
    with connection.cursor() as cursor:
        with path.open("wb") as out, cursor.copy(f"COPY (SELECT {names} FROM annotation_sample) TO STDOUT") as copy:
            for block in copy:
                out.write(block)
        cursor.execute(f"CREATE TABLE bare_copy AS SELECT {names} FROM annotation_sample LIMIT 0")
        began = time.perf_counter()
        with path.open("rb") as back, cursor.copy("COPY bare_copy FROM STDIN") as copy:
            while block := back.read(BLOCK):
                copy.write(block)
        seconds = time.perf_counter() - began
        cursor.execute("DROP TABLE bare_copy")
        cursor.execute("ANALYZE annotation_sample")
    path.unlink()
    return seconds


def page_times(times: int = 200, seed: int = 5) -> list[float]:
    """Milliseconds of the Samples page with random filters, each followed for a random number of pages, sorted."""
    from django.test import Client

    from accounts.models import RoleGrant, User
    from annotation.models import Sample, Source

    draw = random.Random(seed)
    dan = User.objects.create_user("dan")
    RoleGrant.objects.create(user=dan, role="trainer")
    client = Client()
    client.force_login(dan)
    source = Source.objects.get(name=SOURCE)
    newest = Sample.objects.order_by("-pk").values_list("pk", flat=True).first() or 1
    client.get("/samples/")
    found = []
    for _ in range(times):
        asked_for = {
            "source": draw.choice(["", str(source.pk)]), "task_type": draw.choice(["", *TASKS]),
            "split": draw.choice(["", "train", "validation", "evaluation"]), "before": draw.choice(["", str(draw.randint(60, newest))]),
        }  # fmt: skip
        began = time.perf_counter()
        response = client.get("/samples/", asked_for)
        found.append(1000 * (time.perf_counter() - began))
        if response.status_code != 200:
            raise SystemExit(f"The page answered {response.status_code}.")
    return sorted(found)


# --- kills -------------------------------------------------------------------------------------------------------------------------------


def kills(path: Path, rows: int, count: int, database: str) -> dict[str, Any]:
    """SIGKILL for a worker at `count` moments; whole or nothing each time. The first import, unharmed, tells how long one takes."""
    from annotation.models import Sample
    from jobs.models import Job

    made = asked(path)
    worker(made.job, database).communicate()
    made.job.refresh_from_db()
    # From its claim: before that nothing is at stake.
    whole = made.job.seconds
    check(Sample.objects.count(), {rows})
    seen = []
    for number in range(count):
        empty()
        made = asked(path)
        process = worker(made.job, database)
        while made.job.state == "queued":
            time.sleep(0.02)
            made.job.refresh_from_db()
        # To a little behind the end.
        moment = whole * 1.1 * number / max(count - 1, 1)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        end = time.monotonic() + 20
        # The server ends the transaction when it finds its client gone.
        while busy() and time.monotonic() < end:
            time.sleep(0.1)
        there = Sample.objects.count()
        check(there, {0, rows})
        made.job.refresh_from_db()
        seen.append({"after_s": round(moment, 1), "phase": made.job.phase, "state": made.job.state, "rows": there})
        print(f"killed after {moment:6.1f} s in {made.job.state} {made.job.phase}: {there} rows")
        Job.objects.filter(pk=made.job.pk, state__in=("running", "publishing")).update(state="cancelling")
        Job.objects.filter(pk=made.job.pk, state="cancelling").update(state="cancelled")
    empty()
    made = asked(path)
    worker(made.job, database).communicate()
    check(Sample.objects.count(), {rows})
    again = asked(path)
    worker(again.job, database).communicate()
    again.refresh_from_db()
    check(Sample.objects.count(), {rows})
    copied = path.with_name("copy.jsonl")
    # The same rows in a file that differs by one byte.
    with path.open("rb") as one, copied.open("wb") as other:
        shutil.copyfileobj(one, other, BLOCK)
        other.write(b"\n")
    other_made = asked(copied)
    worker(other_made.job, database).communicate()
    other_made.refresh_from_db()
    check(Sample.objects.count(), {rows})
    return {
        "rows": rows, "kills": count, "whole_s": round(whole, 1), "none": sum(one["rows"] == 0 for one in seen),
        "all": sum(one["rows"] == rows for one in seen), "part": 0, "same_file_again": "already_as" in again.counts,
        "same_rows_added": other_made.counts["stored"], "leftover_tables": leftovers(), "points": seen,
    }  # fmt: skip


def check(found: int, allowed: set[int]) -> None:
    if found not in allowed:
        raise SystemExit(f"{found} rows: neither none nor all. The import is not whole.")


def busy() -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        return bool(cursor.fetchone()[0])


def leftovers() -> int:
    """Staged tables that nobody will use: of imports whose work has ended well there must be none."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'annotation_staged_%' AND relkind = 'r'")
        return int(cursor.fetchone()[0])


def empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        # Emptying whole tables is not allowed where a snapshot could hang on them.
        for table in ("import", "sample", "samplecount", "source"):
            cursor.execute(f"DELETE FROM annotation_{table}")


def main() -> None:
    arguments = parse()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    if "DATABASE_URL" not in os.environ:
        from config import embedded

        embedded.provide()
    os.environ.setdefault("CELERY_BROKER_URL", "redis://none.invalid/0")
    import django
    from django.conf import settings
    from django.db import connection

    if arguments.work:
        django.setup()
        work(arguments.work)
        return
    folder = Path(tempfile.mkdtemp(prefix="rounds-import-"))
    os.environ["ROUNDS_DATA_DIR"] = str(folder / "data")
    os.environ["ROUNDS_IMPORT_FOLDER"] = str(folder)
    os.environ["ROUNDS_DEMO"] = "0"
    django.setup()
    before = str(connection.settings_dict["NAME"])
    name = f"rounds_import_{os.getpid()}"
    connection.settings_dict.setdefault("TEST", {})["NAME"] = name
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    address = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    path = folder / "mediflow.jsonl"
    try:
        assert Path(settings.DATA_DIR) == folder / "data"
        began = time.perf_counter()
        generate(path, arguments.rows, arguments.seed)
        print(f"{arguments.rows} rows, {path.stat().st_size / 1e6:.0f} MB, made in {time.perf_counter() - began:.0f} s")
        found = kills(path, arguments.rows, arguments.kills, address) if arguments.kills else measure(path, arguments.rows, address)
    finally:
        connection.close()
        connection.creation.destroy_test_db(before, verbosity=0)
        shutil.rmtree(folder, ignore_errors=True)
    for key, value in found.items():
        if key != "points":
            print(f"{key:<18} {value}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
