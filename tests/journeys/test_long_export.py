"""An export as the worker makes it, killed on the way: another worker makes it whole, once, and its files are those of its manifest."""

import json
from hashlib import sha256

import pytest

from accounts.models import User
from annotation import export_files, export_jobs, export_rights
from jobs.models import Attempt, Job, State
from tests.journeys.toys import done
from tests.training import build
from tests.workers import Processes, wait_until

pytestmark = pytest.mark.timeout(240)


def test_a_killed_export_is_made_whole_by_the_next_worker(processes: Processes, ada: User, dan: User) -> None:
    export_rights.grant(user=dan, level="untagged", actor=ada)
    processes.environment["ROUNDS_LEASE_SECONDS"] = "6"
    snapshot = build.snapshot(pairs=60)
    processes.start_sweeper()
    processes.start_worker("first", slots=1)
    job = export_jobs.start(snapshot=snapshot, form="dataset", level="untagged", actor=dan)
    running = Job.objects.filter(pk=job.pk, state=State.RUNNING)
    wait_until(running.exists, seconds=60, why="the worker has begun", every=0.02)
    processes.kill("first")
    assert running.exists()
    assert not export_files.is_made(snapshot, "dataset", "untagged")
    processes.start_worker("second", slots=1)

    wait_until(lambda: done(job), seconds=120, why="the second worker ended the export")
    attempts = Attempt.objects.filter(job=job).order_by("number")
    assert [attempt.reason for attempt in attempts] == ["lease_expired", "succeeded"]
    place = export_files.place_of(snapshot, "dataset", "untagged")
    assert [path.name for path in export_files.root().iterdir()] == [place.name]
    told = export_files.manifest(place)
    assert sum(told["configs"]["dpo"]["rows"].values()) == sum(snapshot.counts["used"].values())
    for name, one in told["files"].items():
        assert sha256((place / name).read_bytes()).hexdigest() == one["sha256"], name
    job.refresh_from_db()
    assert job.result["rows"]["dpo"] == sum(snapshot.counts["used"].values())
    assert "messages" not in json.dumps(job.result)
