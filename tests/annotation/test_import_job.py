"""An import as a job: a child reads, staging takes its parts while it does, one transaction stores all; what goes wrong stores nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from psycopg import sql

from annotation import forks, import_batches, import_child, imports, incoming, sample_rows, samples, staging
from annotation.models import Import, Sample, SampleCount, Source
from annotation.reading.shapes import SampleRow
from annotation.records import Problems
from jobs import attempts, keeping, submissions, sweeper
from jobs.errors import Cancelled
from jobs.models import Job
from tests.annotation.build import jsonl, row
from tests.jobs.test_claims import let_the_lease_lapse
from tests.workers import PROJECT, done_here
from tests.workers import test_database_url as database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_IMPORT_FOLDER = tmp_path / "incoming"
    settings.ROUNDS_IMPORT_FOLDER.mkdir()
    return tmp_path


def asked(data: Path, content: bytes, **options: Any) -> Import:
    (data / "incoming" / "m.jsonl").write_bytes(content)
    made = incoming.from_server(name="m.jsonl", actor=None)
    made = imports.configure(
        imported=made, format="jsonl", shape="mediflow", mapping={}, target="mediflow", licence="CC0-1.0", options=options
    )
    return imports.queue(imported=made, actor=None)


def run(made: Import) -> Import:
    assert made.job is not None
    done_here(made.job)
    return Import.objects.select_related("job").get(pk=made.pk)


def staged_tables() -> set[str]:
    """By name: what another test's killed import left goes only with the next file that is stored."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'annotation_staged_%' AND relkind = 'r'")
        return {name for (name,) in cursor.fetchall()}


def test_a_job_stores_all_of_a_file_and_leaves_no_table(data: Path) -> None:
    before = staged_tables()
    made = run(asked(data, jsonl([row(n) for n in range(300)]).read()))
    assert made.job is not None
    assert (made.job.state, made.state, made.counts["stored"]) == ("succeeded", "stored", 300)
    assert made.job.result["stored"] == 300
    assert len(made.sha256) == 64
    assert Sample.objects.count() == 300
    assert staged_tables() <= before
    again = run(asked(data, jsonl([row(n) for n in range(300)]).read()))
    assert again.counts["already_as"] == str(made.public_id)
    assert Sample.objects.count() == 300


def test_a_table_that_a_killed_import_left_goes_with_the_next_file(data: Path) -> None:
    waiting = asked(data, jsonl([row(1)]).read())
    for key in ("0" * 32, waiting.public_id.hex):
        staging.make(key)
    incoming.clear_abandoned()
    assert staging.leftovers() == [waiting.public_id.hex]
    staging.drop(waiting.public_id.hex)


def test_a_refused_file_fails_its_job_and_says_why_on_its_own_page(data: Path) -> None:
    before = staged_tables()
    made = run(asked(data, jsonl([row(1), row(2, task_type=None), row(1)]).read()))
    assert made.job is not None
    assert (made.job.state, made.job.error_code, made.state) == ("failed", "import_refused", "refused")
    assert [(one["line"], one["field"]) for one in made.counts["first"]] == [(2, "task_type"), (3, "")]
    assert not Sample.objects.exists()
    assert staged_tables() <= before


def test_a_cancel_while_it_is_being_stored_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PORTION", 10)
    run(asked(data, jsonl([row(1000)]).read()))  # with something to compare with it goes by way of a staged table
    made = asked(data, jsonl([row(n) for n in range(100)]).read())
    portions = []
    tell = attempts._Watch.tell

    def cancelled(watch: Any, phase: str, done: int, total: int) -> None:
        tell(watch, phase, done, total)
        portions.append(done)
        if len(portions) == 3:
            raise Cancelled("job")

    monkeypatch.setattr(attempts._Watch, "tell", cancelled)
    made = run(made)
    assert portions == [9, 19, 29]
    assert Sample.objects.count() == 1
    assert made.state == "received"


def test_a_cancel_while_an_empty_source_is_filled_leaves_nothing_and_the_next_try_stores_all(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = jsonl([row(n) for n in range(100)]).read()

    def cancelled(watch: Any, phase: str, done: int, total: int) -> None:
        assert (phase, done, total) == ("storing", 100, 100)
        raise Cancelled("job")

    with monkeypatch.context() as patched:
        patched.setattr(attempts._Watch, "tell", cancelled)
        made = run(asked(data, content))
    assert (made.state, Sample.objects.count(), SampleCount.objects.filter(rows__gt=0).count()) == ("received", 0, 0)
    assert run(asked(data, content)).counts["stored"] == 100


def test_what_another_import_stores_meanwhile_is_compared_by_the_next_try(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = asked(data, jsonl([row(n) for n in range(30)]).read())
    stage = imports.stage

    def late(*args: Any, **more: Any) -> Any:
        held = stage(*args, **more)
        samples.import_jsonl(file=jsonl([row(3)]), source="mediflow", licence="CC0-1.0", actor=None)
        return held

    with monkeypatch.context() as patched:
        patched.setattr(imports, "stage", late)
        made = run(made)
    assert made.job is not None
    assert (made.state, Sample.objects.count(), made.job.error_code) == ("received", 1, "import.conflict")
    Job.objects.update(state="queued", run_after=made.job.created_at)
    made = run(made)
    assert (made.state, made.counts["stored"], made.counts["already"]) == ("stored", 29, 1)
    assert not list((data / "jobs").rglob("*.copy"))


# A worker of its own that stands still when its child has written all it read, so that it can be killed there.
WORKER = """
import sys, time
import django
django.setup()
from annotation import imports
from jobs import attempts, claims
def stand_still(*args):
    print("there", flush=True)
    time.sleep(60)
imports.keep_report = stand_still
attempts.supervise(claims.claim(job_id=int(sys.argv[1]), worker=attempts.worker_name()))
"""


def test_what_a_killed_import_read_goes_as_soon_as_its_job_has_ended(data: Path) -> None:
    made = asked(data, jsonl([row(n) for n in range(30)]).read())
    job = made.job
    assert job is not None
    said = {
        **os.environ, "DATABASE_URL": database_url(), "ROUNDS_DATA_DIR": str(data), "ROUNDS_IMPORT_FOLDER": str(data / "incoming"),
        "PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "config.settings.test",
    }  # fmt: skip
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(job.pk)], env=said, stdout=subprocess.PIPE, start_new_session=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"there\n"
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(20)
    worker.stdout.close()
    parts = attempts.folder_of(job, 1) / import_child.OUTPUT
    assert b"chest pain" in b"".join(part.read_bytes() for part in parts.iterdir())
    assert not Sample.objects.exists()
    let_the_lease_lapse(job)
    sweeper.sweep()
    assert parts.exists(), "it is to be tried again"
    submissions.cancel(job=job, actor=None)
    sweeper.sweep()
    assert not parts.exists(), "nobody held it when it was cancelled"
    assert (attempts.folder_of(job, 1) / "spec.json").exists()


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_parts_go_however_the_job_ended_and_a_failed_ones_inputs_stay(data: Path, state: str) -> None:
    job = asked(data, jsonl([row(1)]).read()).job
    assert job is not None
    place = attempts.folder_of(job, 1)
    for name in (import_child.OUTPUT, "input"):
        (place / name).mkdir(parents=True)
        (place / name / "text").write_text("chest pain")
    keeping.clear_ended(within=60)
    assert (place / import_child.OUTPUT).exists()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        Job.objects.filter(pk=job.pk).update(state=state, ended_at=job.created_at)
    keeping.clear_ended(within=60)
    assert [path.name for path in place.iterdir()] == ["input"]


def scans(plan: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(table, kind of scan, index) of each scan in a plan."""
    mine = (
        {(plan["Relation Name"], plan["Node Type"], plan.get("Index Name", ""))}
        if "Scan" in plan["Node Type"] and "Relation Name" in plan
        else set()
    )
    return mine.union(*map(scans, plan.get("Plans", [])))


@pytest.mark.parametrize("on_conflict", [staging.SKIP, staging.VERSION])
def test_stored_rows_are_looked_up_by_index_without_any_statistics(on_conflict: str) -> None:
    """As a join every row of a portion would be held against every row of the source."""
    rows = [row(n, id=f"s{n}") for n in range(1500)]
    samples.import_jsonl(file=jsonl(rows[:1000]), source="mediflow", licence="CC0-1.0", actor=None)
    source = Source.objects.get()
    asked_for = []

    def noted(execute: Any, statement: Any, params: Any, many: bool, context: Any) -> Any:
        asked_for.append((statement, params))
        return execute(statement, params, many, context)

    with transaction.atomic():
        staged = staging.make(temporary=True)
        read = ((n, SampleRow(one.pop("id"), **one)) for n, one in enumerate(rows, start=1))
        staging.load(staged, sample_rows.copy_lines(read, Problems(), sample_rows.Tally()))
        staging.measure(staged)
        with connection.execute_wrapper(noted):
            assert staging.conflicts(staged, source) == ([], 0)
            staging.move(staged, source, on_conflict=on_conflict)
        assert (staged.stored, staged.already) == (500, 1000)
        looked: set[tuple[str, str, str]] = set()
        with connection.cursor() as cursor:
            for statement, params in asked_for:
                if isinstance(statement, sql.Composed) and "annotation_sample " in statement.as_string(None):
                    cursor.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + statement, params)
                    looked |= scans(cursor.fetchone()[0][0]["Plan"])
    asked_of = {(kind, index) for table, kind, index in looked if table == "annotation_sample"}
    assert asked_of
    # Which of its indexes is the planner's own choice, and changes with what other tests left of statistics.
    assert not {kind for kind, _ in asked_of} & {"Seq Scan"}


def test_heartbeats_go_on_while_it_is_being_stored(data: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROUNDS_HEARTBEAT_SECONDS = 0.1
    beats: list[Any] = []
    copy = staging.copy

    def slow(*args: Any, **more: Any) -> Any:
        done = copy(*args, **more)
        job = Job.objects.get()
        before = job.heartbeat_at
        for _ in range(100):
            job.refresh_from_db()
            if job.heartbeat_at != before:
                break
            time.sleep(0.05)
        beats.append((before, job.heartbeat_at, job.state))
        return done

    monkeypatch.setattr(staging, "copy", slow)
    made = run(asked(data, jsonl([row(1)]).read()))
    assert made.state == "stored"
    ((before, after, state),) = beats
    assert after > before
    assert state == "publishing"


# --- many hands --------------------------------------------------------------------------------------------------------------------------

MIXED = (
    b"\xef\xbb\xbf" + jsonl([row(n) for n in range(40)]).read()
    + jsonl([row(40, task_type="a task of our own"), row(41, output="a\x07b"), row(3), row(42, id="twice"), row(43, id="twice")]).read()
    + b"\n\n" + jsonl([row(44, quality=9)]).read() + b'{"instruction": NaN}\n' + jsonl([row(n) for n in range(45, 90)]).read()
)  # fmt: skip


def brought(folder: Path, content: bytes, **more: Any) -> tuple[dict[str, Any], bytes, str]:
    """What the child makes of a file: its answer, all it wrote, its report."""
    folder.mkdir()
    (folder / "f.jsonl").write_bytes(content)
    spec = {"path": str(folder / "f.jsonl"), "bytes": len(content), "format": "jsonl", "shape": "mediflow", "mapping": {}, **more}
    said = import_child.bring(folder, spec)
    written = b"".join((folder / "output" / name).read_bytes() for name in said["parts"])
    return said, written, (folder / "problems.csv").read_text()


@pytest.mark.parametrize("options", [{}, {"bad": "skip"}, {"doubles": "exclude", "bad": "skip"}], ids=["strict", "skipping", "no doubles"])
def test_many_hands_make_the_same_of_a_file_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    monkeypatch.setattr(import_batches, "BATCH_ROWS", 7)
    for name, content in {
        "mixed": MIXED,
        "clean": jsonl([row(n) for n in range(50)]).read(),
        "cut": MIXED + b"\xff{}\n",
        "none": b"",
    }.items():
        one, by_one, report = brought(tmp_path / f"{name}1", content, hands=1, options=options)
        three, by_three, the_same = brought(tmp_path / f"{name}3", content, hands=3, options=options)
        assert by_three == by_one
        assert the_same == report
        for said in (one, three):
            for varies in ("seconds", "peak_rss_mb", "hands"):
                del said[varies]
        assert three == one
        assert bool(by_one) == (not one["problems"])


def test_a_hand_that_ends_early_ends_the_import_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_batches, "BATCH_ROWS", 7)
    monkeypatch.setattr(import_batches, "scan_others", lambda *_: os._exit(3))
    began: list[int] = []
    fork = os.fork

    def noted() -> int:
        if pid := fork():
            began.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", noted)
    spec = {"shape": "documents", "mapping": {}, "hands": 2}
    with pytest.raises(forks.Failed, match="ended early"):
        brought(tmp_path / "d", b'{"id": "1", "title": "t", "text": "x"}\n' * 30, **spec)
    assert len(began) == 2
    for pid in began:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


# --- rows that cannot be stored ----------------------------------------------------------------------------------------------------------


def test_bad_rows_are_left_out_where_that_was_asked_and_named(data: Path) -> None:
    content = jsonl([row(1), row(2, task_type=None), row(3, quality=9), row(4, output=5, difficulty_level=7)]).read() + b"{no}\n"
    made = run(asked(data, content, bad="skip"))
    assert (made.state, made.counts["stored"], made.counts["bad_rows"], made.counts["problems"]) == ("stored", 1, 4, 0)
    assert [(one["line"], one["field"]) for one in made.counts["told"]] == [
        (2, "task_type"), (3, "quality"), (4, "output"), (4, "difficulty_level"), (5, ""),
    ]  # fmt: skip
    report = imports.report_of(made)
    assert report is not None
    assert report.read_text().count("left out,") == 5
    assert Sample.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (jsonl([row(1, task_type=None)]).read(), "import.empty"),
        (jsonl([row(1)]).read() + b"\xff\n" + jsonl([row(2)]).read(), "import.encoding"),
        (jsonl([row(1), row(2, id="x"), row(3, id="x")]).read(), "import.duplicate_id"),
    ],
    ids=["nothing is left", "not text", "an id twice"],
)
def test_what_is_wrong_with_a_file_as_a_whole_refuses_it_all_the_same(data: Path, content: bytes, code: str) -> None:
    made = run(asked(data, content, bad="skip"))
    assert (made.state, Sample.objects.count()) == ("refused", 0)
    assert code in {one["code"] for one in made.counts["first"]}


def test_cells_too_many_are_a_row_s_own_matter(tmp_path: Path) -> None:
    columns = ",".join(row(1))
    lines = [",".join(f'"{value}"' for value in row(n).values()) for n in (1, 2)]
    content = "\n".join([columns, lines[0], "a,b,c", lines[1], ""]).encode()
    said, written, _ = brought(tmp_path / "c", content, format="csv", options={"bad": "skip"})
    assert (said["problems"], said["bad_rows"], written.count(b"\n")) == (0, 1, 2)
    strict, nothing, _ = brought(tmp_path / "s", content, format="csv")
    assert (strict["problems"], strict["first"][0]["code"], nothing) == (1, "import.cells", b"")
