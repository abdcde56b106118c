"""Freezing many pairs as a job: the same snapshot as while the page waits, once or not at all, watched on the page and over the API."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.models import RoleGrant, User
from annotation import freeze_jobs, snapshots
from annotation.models import Campaign, Judgement, Sample, Snapshot, SnapshotEvidence, SnapshotRow, Verdict
from jobs import attempts, claims, patience, submissions
from jobs.models import Job
from tests.annotation.build import campaign, judge, qualification, rewrite
from tests.jobs.test_claims import let_the_lease_lapse
from tests.threads import at_once
from tests.workers import PROJECT, done_here
from tests.workers import test_database_url as database_url

pytestmark = pytest.mark.django_db(transaction=True)

ROW = ("position", "pair", "prompt", "chosen", "rejected", "p_chosen", "votes", "split")


@pytest.fixture(autouse=True)
def few_are_many(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_FREEZE_AT_ONCE = 5


@pytest.fixture
def made(alice: User) -> Campaign:
    """Ten pairs, the last not judged, of two task types, in all three splits; the first two samples are nearly the same and held apart."""
    built = campaign([alice], pairs=10)
    for number in range(9):
        judge(built, alice, Verdict.FIRST_MUCH if number % 3 else Verdict.SECOND_SLIGHTLY)
    note = "Admitted with chest pain; troponin stayed normal twice, the ECG showed nothing new, and he went home on the third day. " * 3
    splits = ("train", "evaluation", "train", "train", "validation", "train", "evaluation", "train", "validation", "train")
    # Which of the ten the queue leaves over is drawn by their keys.
    judged = set(Judgement.objects.values_list("assignment__pair__prompt__sample", flat=True))
    samples = sorted(Sample.objects.order_by("pk"), key=lambda sample: sample.pk not in judged)
    for number, (sample, split) in enumerate(zip(samples, splits, strict=True)):
        changed = {"input": note + "x" * number} if number < 2 else {}
        rewrite(Sample.objects.filter(pk=sample.pk), split=split, task_type=("summarization", "note scoring")[number % 2], **changed)
    return built


def frozen_rows() -> list[tuple[Any, ...]]:
    return list(SnapshotRow.objects.order_by("position").values_list(*ROW))


def test_both_ways_freeze_the_same_rows_counts_evidence_and_digest(made: Campaign, dan: User) -> None:
    what: dict[str, Any] = {"min_margin": 0.1, "drop_near_identical": True}
    evidence = ("judgements", "votes", "rulings", "findings", "dropped")
    with transaction.atomic():
        once = snapshots.freeze(campaign=made, name="S", actor=dan, **what)
        told = [once.digest, once.filters, once.counts, frozen_rows(), SnapshotEvidence.objects.values_list(*evidence).get()]
        transaction.set_rollback(True)
    assert not Snapshot.objects.exists()
    job = done_here(freeze_jobs.start(campaign=made, name="S", actor=dan, **what))
    assert (job.state, job.error_code) == ("succeeded", "")
    frozen = Snapshot.objects.get()
    assert told == [frozen.digest, frozen.filters, frozen.counts, frozen_rows(), SnapshotEvidence.objects.values_list(*evidence).get()]
    assert frozen.counts["dropped"] == {"near_duplicate_held_out": 1, "no_judgement": 1}
    assert (frozen.name, frozen.frozen_by, snapshots.rebuild(frozen)) == ("S", dan, frozen.digest)
    assert freeze_jobs.snapshot_of(job) == frozen
    assert job.result["rows"] == len(frozen_rows()) == 8
    assert "Leakage" in {check["name"] for check in job.result["looked"]["checks"]}
    again = done_here(freeze_jobs.start(campaign=made, name="Another name", actor=dan, **what))
    assert freeze_jobs.snapshot_of(again) == frozen, "the same content is the same snapshot"


def test_it_tells_how_far_it_is_from_answers_to_rows(made: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK", 3)
    told: list[tuple[str, int, int]] = []
    tell = attempts._Watch.tell

    def noted(watch: Any, phase: str, done: int, total: int) -> None:
        told.append((phase, done, total))
        tell(watch, phase, done, total)

    monkeypatch.setattr(attempts._Watch, "tell", noted)
    done_here(freeze_jobs.start(campaign=made, name="S", actor=None, drop_near_identical=True))
    assert list(dict.fromkeys(phase for phase, *_ in told)) == [
        "reading answers", "planning", "comparing texts", "near-duplicates", "looking over", "writing rows",
    ]  # fmt: skip
    assert [done for phase, done, total in told if phase == "planning"] == [0, 3, 6, 9]
    assert {total for phase, done, total in told if phase == "planning"} == {10}
    assert [(done, total) for phase, done, total in told if phase == "writing rows"] == [(3, 8), (6, 8), (8, 8)]


@pytest.mark.parametrize("phase", ["planning", "near-duplicates", "writing rows"])
def test_a_cancel_leaves_nothing(made: Campaign, monkeypatch: pytest.MonkeyPatch, phase: str, settings: Any) -> None:
    settings.ROUNDS_HEARTBEAT_SECONDS = 0.05
    job = freeze_jobs.start(campaign=made, name="S", actor=None)
    tell = attempts._Watch.tell

    def cancelled(watch: Any, told: str, done: int, total: int) -> None:
        if told == phase and not watch.pace.cancelled.is_set():
            # By somebody else: who works on it may only read.
            at_once(lambda: submissions.cancel(job=job, actor=None))
            watch.pace.cancelled.wait(10)
        tell(watch, told, done, total)

    monkeypatch.setattr(attempts._Watch, "tell", cancelled)
    assert done_here(job).state == "cancelled"
    assert (Snapshot.objects.count(), SnapshotRow.objects.count()) == (0, 0)


# A worker of its own that stands still in a phase, so that it can be killed there.
WORKER = """
import sys, time
import django
django.setup()
from annotation import snapshots
from jobs import attempts, claims
snapshots.CHUNK = 2
tell = attempts._Watch.tell
def stand_still(watch, phase, done, total):
    tell(watch, phase, done, total)
    if phase == sys.argv[2] and done >= 4:
        print("there", flush=True)
        time.sleep(60)
attempts._Watch.tell = stand_still
attempts.supervise(claims.claim(job_id=int(sys.argv[1]), worker=attempts.worker_name()))
"""


@pytest.mark.parametrize("phase", ["planning", "writing rows"])
def test_a_killed_worker_leaves_a_snapshot_or_none_and_the_next_makes_one(made: Campaign, tmp_path: Path, phase: str) -> None:
    job = freeze_jobs.start(campaign=made, name="S", actor=None)
    said = {**os.environ, "DATABASE_URL": database_url(), "ROUNDS_DATA_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT),
            "DJANGO_SETTINGS_MODULE": "config.settings.test", "ROUNDS_FREEZE_AT_ONCE": "5"}  # fmt: skip
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(job.pk), phase], env=said, stdout=subprocess.PIPE, start_new_session=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"there\n"
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(20)
    worker.stdout.close()
    job.refresh_from_db()
    assert (job.state, Snapshot.objects.count(), SnapshotRow.objects.count()) == (
        "publishing" if phase == "writing rows" else "running", 0, 0,
    )  # fmt: skip
    let_the_lease_lapse(job)
    assert claims.reap() == 1
    Job.objects.filter(pk=job.pk).update(run_after=job.created_at)
    claims.requeue()
    assert done_here(job).state == "succeeded"
    assert (Snapshot.objects.count(), SnapshotRow.objects.count()) == (1, 8)
    assert [(each.number, each.reason) for each in job.history.order_by("number")] == [(1, "lease_expired"), (2, "succeeded")]


def test_what_reads_for_long_sees_one_moment_waits_patiently_and_writes_nothing(made: Campaign) -> None:
    patience._limit(connection)
    try:
        with patience.reading(), connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("30min",)
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("repeatable read",)
            with pytest.raises(DatabaseError, match="read-only"), transaction.atomic():
                Campaign.objects.update(name="Changed")
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("15s",)
    finally:
        connection.close()


def test_what_is_refused_says_why_and_is_not_tried_again(made: Campaign, dan: User) -> None:
    job = done_here(freeze_jobs.start(campaign=made, name="S", actor=dan, min_judgements=3))
    assert (job.state, job.error_code, job.attempts) == ("failed", "freeze_refused", 1)
    assert job.error_detail.startswith("No row is left. Left out: 9 (fewer judgements than asked for)")
    with pytest.raises(snapshots.FreezeRefused, match="never open"):
        freeze_jobs.start(campaign=campaign([], opened=False), name="S", actor=dan)
    with pytest.raises(ValueError, match="after the last"):
        freeze_jobs.start(campaign=made, name="S", actor=dan, since="2026-03-02", until="2026-03-01")  # type: ignore[arg-type]
    waiting = freeze_jobs.start(campaign=made, name="S", actor=dan)
    assert freeze_jobs.start(campaign=made, name="S", actor=dan) == waiting, "asked for twice it is one job"
    RoleGrant.objects.filter(user=dan).delete()
    assert (done_here(waiting).state, waiting.error_code) == ("failed", "freeze_not_allowed")
    assert not Snapshot.objects.exists()


# --- the page ----------------------------------------------------------------------------------------------------------------------------


def address(made: Campaign) -> str:
    return f"/campaigns/{made.public_id}/freeze/"


def test_below_the_limit_nothing_waits(as_dan: Client, made: Campaign, settings: Any) -> None:
    settings.ROUNDS_FREEZE_AT_ONCE = 9
    assert as_dan.post(address(made), {"name": "S"})["Location"] == f"/snapshots/{Snapshot.objects.get().public_id}/"
    assert not Job.objects.exists()


def test_the_page_says_that_it_is_being_frozen_and_leads_to_the_snapshot(as_dan: Client, made: Campaign) -> None:
    shown = as_dan.get(address(made)).content.decode()
    assert "a job looks them over" in shown
    assert "Nothing stands in its way" not in shown, "many pairs are not looked over while the page waits"
    sent = as_dan.post(address(made), {"name": "Narrow", "min_margin": "0.1"})
    job = Job.objects.get()
    assert sent["Location"] == f"{address(made)}?job={job.public_id}&min_margin=0.1"
    assert job.spec["filters"] == {"min_judgements": 1, "task_types": [], "min_margin": 0.1}
    for watched in (as_dan.get(sent["Location"]), as_dan.get(address(made))):
        shown = watched.content.decode()
        assert "“Narrow” is being frozen" in shown
        assert f'hx-get="{address(made)}?job={job.public_id}' in shown
        assert "No worker serves the queue" in shown
    Job.objects.update(state="running", phase="near-duplicates", progress_done=1500, progress_total=6000)
    part = as_dan.get(sent["Location"], headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "near-duplicates" in part
    assert "1,500 of 6,000" in part
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        Job.objects.update(state="queued")
    done_here(job)
    frozen = Snapshot.objects.get()
    assert frozen.name == "Narrow"
    assert as_dan.get(sent["Location"])["Location"] == f"/snapshots/{frozen.public_id}/"
    assert as_dan.get(sent["Location"], headers={"HX-Request": "true"})["HX-Redirect"] == f"/snapshots/{frozen.public_id}/"
    assert f"/snapshots/{frozen.public_id}/" in as_dan.get(f"/jobs/{job.public_id}/").content.decode()


def test_many_pairs_are_looked_over_by_a_job_and_what_was_is_frozen(as_dan: Client, made: Campaign) -> None:
    sent = as_dan.post(address(made), {"look": "1", "min_margin": "0.1"})
    job = done_here(Job.objects.get())
    assert (job.state, job.label) == ("succeeded", "Look over Chest pain letters")
    shown = as_dan.get(sent["Location"]).content.decode()
    assert shown.index("Looked over") < shown.index("Nothing stands in its way") < shown.index("Would be used")
    assert "8 of 10 pairs teach a preference" in shown
    assert "its sample is nearly the same as one that is held out" in shown
    assert '<input type="hidden" form="freeze" name="min_margin" value="0.1">' in shown
    assert not Snapshot.objects.exists(), "looking stores nothing"


def test_what_failed_and_what_was_stopped_are_told(as_dan: Client, made: Campaign) -> None:
    sent = as_dan.post(address(made), {"name": "S", "min_judgements": "3"})
    done_here(Job.objects.get())
    assert "fewer judgements than asked for" in as_dan.get(sent["Location"]).content.decode()
    sent = as_dan.post(address(made), {"name": "S"})
    submissions.cancel(job=Job.objects.latest("pk"), actor=None)
    assert "It was stopped." in as_dan.get(sent["Location"]).content.decode()


def test_a_job_of_another_campaign_is_not_shown(as_dan: Client, made: Campaign, alice: User) -> None:
    as_dan.post(address(made), {"name": "S"})
    other = campaign([alice], pairs=2)
    for public_id in (Job.objects.get().public_id, "no-job"):
        assert as_dan.get(f"{address(other)}?job={public_id}").status_code == 404
    assert as_dan.get(f"{address(made)}?job={Job.objects.get().public_id}").status_code == 200


def test_a_qualification_is_refused_at_once(as_dan: Client, alice: User) -> None:
    asked = qualification([alice], pairs=6)
    for _ in range(6):
        judge(asked, alice)
    assert "train nobody" in as_dan.get(address(asked)).content.decode()


def test_watching_asks_a_handful_of_questions(as_dan: Client, made: Campaign, django_assert_max_num_queries: Any) -> None:
    sent = as_dan.post(address(made), {"name": "S"})
    with django_assert_max_num_queries(12):
        as_dan.get(sent["Location"], headers={"HX-Request": "true"})


# --- programs ----------------------------------------------------------------------------------------------------------------------------


def test_a_program_asks_until_it_is_frozen(as_dan: Client, made: Campaign) -> None:
    def ask(**more: Any) -> Any:
        said = {"campaign": str(made.public_id), "name": "S", **more}
        return as_dan.post("/api/v1/snapshots/", said, content_type="application/json")

    first, second = ask(), ask()
    job = Job.objects.get()
    assert [first.status_code, second.status_code, first["Retry-After"]] == [202, 202, "2"]
    assert first.json() == second.json() == {"job": str(job.public_id), "state": "queued", "done": 0, "total": 0}
    done_here(job)
    done = ask()
    assert (done.status_code, done.json()["id"]) == (201, str(Snapshot.objects.get().public_id))
    assert ask(min_judgements=3).status_code == 202
    done_here(Job.objects.latest("pk"))
    refused = ask(min_judgements=3)
    assert (refused.status_code, refused.json()["detail"][:18]) == (409, "No row is left. Le")


def test_a_program_has_many_pairs_looked_over(as_dan: Client, made: Campaign, settings: Any) -> None:
    def look() -> Any:
        return as_dan.post("/api/v1/snapshots/lint/", {"campaign": str(made.public_id)}, content_type="application/json")

    assert look().status_code == 202
    done_here(Job.objects.get())
    by_job = look()
    settings.ROUNDS_FREEZE_AT_ONCE = 100
    at_once = look()
    assert (by_job.status_code, at_once.status_code) == (200, 200)
    assert by_job.json() == at_once.json()
    assert at_once.json()["dropped"] == {"near_duplicate_held_out": 1, "no_judgement": 1}


def test_the_command_freezes_few_at_once_and_many_by_a_job(made: Campaign, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*more: str) -> dict[str, Any]:
        said = io.StringIO()
        call_command("freeze_snapshot", made.public_id, "--name", "S", "--json", *more, stdout=said)
        return dict(json.loads(said.getvalue()))

    waiting = command("--no-wait", "--min-margin", "0.1")
    assert waiting == {"job": str(Job.objects.get().public_id)}
    monkeypatch.setattr("time.sleep", lambda seconds: done_here(Job.objects.get()) if Job.objects.filter(state="queued").exists() else None)
    by_job = command("--min-margin", "0.1")
    assert (by_job["rows"], by_job["digest"]) == (8, Snapshot.objects.get().digest)
    settings.ROUNDS_FREEZE_AT_ONCE = 100
    assert command("--min-margin", "0.1") == by_job
    assert (Snapshot.objects.count(), Job.objects.count()) == (1, 1)
    with pytest.raises(CommandError, match="No row is left"):
        command("--min-judgements", "3")
    with pytest.raises(CommandError, match="after the last"):
        command("--since", "2026-03-02", "--until", "2026-03-01")
