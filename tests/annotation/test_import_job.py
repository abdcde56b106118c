"""An import as a job: a child reads, staging takes its parts while it does, one transaction stores all; what goes wrong stores nothing."""

import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from annotation import imports, staging
from annotation.models import Import, Sample
from jobs import attempts, claims
from jobs.errors import Cancelled
from jobs.models import Job
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_IMPORT_FOLDER = tmp_path / "incoming"
    settings.ROUNDS_IMPORT_FOLDER.mkdir()
    return tmp_path


def asked(data: Path, content: bytes, **options: Any) -> Import:
    (data / "incoming" / "m.jsonl").write_bytes(content)
    made = imports.from_server(name="m.jsonl", actor=None)
    made = imports.configure(
        imported=made, format="jsonl", shape="mediflow", mapping={}, target="mediflow", licence="CC0-1.0", options=options
    )
    return imports.queue(imported=made, actor=None)


def run(made: Import) -> Import:
    assert made.job is not None
    held = claims.claim(job_id=made.job.pk, worker=attempts.worker_name())
    assert held is not None
    attempts.supervise(held)
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
    imports.clear_abandoned()
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
    assert not Sample.objects.exists()
    assert made.state == "received"


def test_heartbeats_go_on_while_it_is_being_stored(data: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROUNDS_HEARTBEAT_SECONDS = 0.1
    beats: list[Any] = []
    move = staging.move

    def slow(*args: Any, **more: Any) -> None:
        move(*args, **more)
        job = Job.objects.get()
        before = job.heartbeat_at
        for _ in range(100):
            job.refresh_from_db()
            if job.heartbeat_at != before:
                break
            time.sleep(0.05)
        beats.append((before, job.heartbeat_at, job.state))

    monkeypatch.setattr(staging, "move", slow)
    made = run(asked(data, jsonl([row(1)]).read()))
    assert made.state == "stored"
    ((before, after, state),) = beats
    assert after > before
    assert state == "publishing"
