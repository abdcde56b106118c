"""The judge: what must be true of the database, the files and the processes when the dust has settled. Every question must find nothing.

Numbers as in the list of promises in docs/faults.md. I9 and I10 are watched while the lanes run; I14 (the audit chain) has no subject yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from annotation import slots
from annotation.models import Campaign
from benchmarks.faults.fake import trainer
from benchmarks.faults.history import OK, Operation
from config.embedded import processes
from jobs import advice
from jobs.models import Attempt, Job
from modelhub import artifacts
from modelhub.models import Artifact, ModelVersion

HELD = "('running', 'publishing', 'cancelling')"
ENDED = "('succeeded', 'failed', 'cancelled')"
# Codes that trainers and kinds of ours give beside those with advice of their own.
CODES = {*advice.ADVICE, "torn_checkpoint", "corrupt", "engine_error"}

STATEMENTS = {
    "I1 no pair above its overlap": """
        SELECT s.pair_id, count(a.id) FROM annotation_slot s
        JOIN annotation_campaign c ON c.id = s.campaign_id
        JOIN annotation_assignment a ON a.slot_id = s.id AND a.state IN ('leased', 'submitted')
        WHERE s.kind = 'vote' GROUP BY s.pair_id, c.overlap HAVING count(a.id) > c.overlap""",
    "I3 one standing answer a person, pair and asking": """
        SELECT a.pair_id, a.annotator_id FROM annotation_judgement j JOIN annotation_assignment a ON a.id = j.assignment_id
        WHERE NOT j.surplus AND j.undone_at IS NULL
        GROUP BY a.pair_id, a.annotator_id, a.repeat HAVING count(DISTINCT a.id) > 1""",
    "I5 no lease without a holder or an end": f"""
        SELECT id FROM jobs_job WHERE (state IN {HELD}) <> (lease_until IS NOT NULL)
        UNION ALL SELECT j.id FROM jobs_job j WHERE j.state IN {HELD} AND NOT EXISTS
            (SELECT 1 FROM jobs_attempt a WHERE a.job_id = j.id AND a.token = j.token AND a.ended_at IS NULL)
        UNION ALL SELECT id FROM annotation_assignment WHERE state = 'leased' AND expires_at IS NULL""",
    "I6 every job has ended, is held, or will be rung": f"""
        SELECT j.id FROM jobs_job j WHERE j.state NOT IN {ENDED}
        AND NOT (j.state IN {HELD} AND j.lease_until > clock_timestamp())
        AND j.run_after < clock_timestamp() - interval '60 s'
        AND NOT EXISTS (SELECT 1 FROM jobs_outbox o WHERE o.job_id = j.id AND o.created_at > clock_timestamp() - interval '60 s')""",
    "I8 one version for every success, none for anything else": """
        SELECT j.id, j.state, count(v.id) FROM jobs_job j
        LEFT JOIN modelhub_modelversion v ON v.origin = j.public_id::text OR v.origin LIKE j.public_id::text || '/%'
        WHERE j.kind LIKE 'fake%'
        GROUP BY j.id HAVING count(v.id) <> (j.state = 'succeeded')::int""",
    "I11 what was cancelled holds nothing": """
        SELECT j.id FROM jobs_job j WHERE j.state = 'cancelled' AND (j.lease_until IS NOT NULL
            OR EXISTS (SELECT 1 FROM jobs_attempt a WHERE a.job_id = j.id AND a.ended_at IS NULL)
            OR EXISTS (SELECT 1 FROM modelhub_modelversion v WHERE v.origin LIKE j.public_id::text || '%'))""",
    "I12 every failure names its cause": """
        SELECT id, error_code FROM jobs_job WHERE state = 'failed' AND (error_code = '' OR error_detail = '')""",
    "I13 a token is given once, and rises": """
        SELECT job_id, token FROM jobs_attempt GROUP BY job_id, token HAVING count(*) > 1
        UNION ALL SELECT a.job_id, a.token FROM jobs_attempt a JOIN jobs_attempt b
            ON b.job_id = a.job_id AND b.number > a.number AND b.token <= a.token""",
    "I13 no GPU was held by two at once": """
        SELECT a.id, b.id FROM jobs_attempt a JOIN jobs_attempt b ON b.device = a.device AND b.id > a.id
        WHERE a.device <> '' AND tstzrange(a.started_at, COALESCE(a.ended_at, 'infinity'))
            && tstzrange(b.started_at, COALESCE(b.ended_at, 'infinity'))""",
    "I11 a GPU is held by who holds its job": """
        SELECT d.id FROM jobs_device d JOIN jobs_job j ON j.id = d.holder_id
        WHERE j.state NOT IN ('running', 'publishing', 'cancelling') OR j.token <> d.token""",
    "I13 what was published is of the last holder": """
        SELECT j.id, v.metrics -> 'attempt', j.attempts FROM jobs_job j JOIN modelhub_modelversion v ON v.origin = j.public_id::text
        WHERE j.kind LIKE 'fake%' AND ((v.metrics ->> 'attempt')::int <> j.attempts OR NOT EXISTS
            (SELECT 1 FROM jobs_attempt a WHERE a.job_id = j.id AND a.number = j.attempts AND a.reason = 'succeeded'))""",
}  # fmt: skip


@dataclass
class Report:
    """One line of the table. `lost`: acknowledged and not there, or asked for and never done. `wrong`: why it is red."""

    lane: str
    title: str
    seed: int
    faults: int = 0
    jobs: int = 0
    published: int = 0
    duplicates: int = 0
    lost: int = 0
    rework: float | None = None
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    def expect(self, true: object, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)


def close(report: Report) -> None:
    """L12: every invariant on the whole database and its files."""
    for name, statement in STATEMENTS.items():
        with connection.cursor() as cursor:
            cursor.execute(statement)
            found = cursor.fetchall()
        report.expect(not found, f"{name}: {len(found)}, for instance {found[:3]}")
    for name, question in QUESTIONS.items():
        found = question()
        report.expect(not found, f"{name}: {len(found)}, for instance {found[:3]}")


def _unbalanced() -> list[Any]:
    return [row for campaign in Campaign.objects.all() for row in slots.unbalanced(campaign)]


def _codes() -> list[Any]:
    return list(Job.objects.filter(state="failed").exclude(error_code__in=CODES).values_list("pk", "error_code"))


def _files() -> list[str]:
    """Every referenced file is there and is what its name says."""
    wrong = []
    for artifact in Artifact.objects.all():
        for entry in artifact.manifest:
            path = artifacts.blob(entry["sha256"])
            if not path.is_file() or path.stat().st_size != entry["size"] or artifacts.hash_of(path) != entry["sha256"]:
                wrong.append(f"{artifact.digest[:12]}/{entry['name']}")
    return wrong


def _strangers() -> list[str]:
    """Files in the store that no row names are young: leftovers of attempts that were not published. None is half written."""
    root = artifacts.store() / "blobs" / "sha256"
    return [path.name for path in root.glob("*/*") if artifacts.hash_of(path) != path.parent.name + path.name]


def _models() -> list[Any]:
    """Each model is what an unbroken run would have made."""
    wrong = []
    jobs = {str(job.public_id): job for job in Job.objects.filter(kind__startswith="fake", state="succeeded")}
    for version in ModelVersion.objects.filter(origin__in=jobs).select_related("artifact"):
        spec = jobs[str(version.origin)].spec
        digest = next(entry["sha256"] for entry in version.artifact.manifest if entry["name"] == "model.safetensors")
        path = artifacts.blob(digest)
        if not path.is_file() or trainer.value_of_model(path) != trainer.expected(spec["seed"], spec["steps"]):
            wrong.append(version.origin)
    return wrong


def _resumed() -> list[str]:
    """Attempts that went on from a checkpoint that was not whole."""
    found = Path(settings.DATA_DIR).glob("attempts/*/*/resumed.json")
    return [str(path.parent.name) for path in found if not json.loads(path.read_text())["whole"]]


def _survivors() -> list[Any]:
    """Trainers of ended attempts that still run."""
    alive = []
    for attempt in Attempt.objects.exclude(ended_at=None).select_related("job"):
        pid = trainer_of(attempt)
        if pid is not None and processes.alive(pid) and is_trainer(pid, attempt):
            alive.append((attempt.job_id, attempt.number, pid))
    return alive


def trainer_of(attempt: Attempt) -> int | None:
    """The pid that the attempt's child wrote down."""
    path = Path(settings.DATA_DIR) / "attempts" / str(attempt.job.public_id) / str(attempt.number) / "pid"
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def is_trainer(pid: int, attempt: Attempt) -> bool:
    """Whether the process stands in the attempt's folder: a pid may have been given to somebody else since."""
    return processes.working_directory(pid) == path_of(attempt)


def path_of(attempt: Attempt) -> Path:
    return (Path(settings.DATA_DIR) / "attempts" / str(attempt.job.public_id) / str(attempt.number)).resolve()


QUESTIONS: dict[str, Callable[[], list[Any]]] = {
    "I2 slots balance": _unbalanced,
    "I7 what was resumed was whole": _resumed,
    "I7 every model is what an unbroken run makes": _models,
    "I9 no trainer outlives its attempt": _survivors,
    "I12 every code of failure is known": _codes,
    "I16 every file that a row names is there and whole": _files,
    "I16 no file in the store is half written": _strangers,
}


def judgements(report: Report, asked: list[Operation]) -> None:
    """I4: every acknowledged answer is there once, with the verdict that was sent; nothing is there that nobody sent."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT idempotency_key::text, verdict, assignment_id FROM annotation_judgement")
        rows = cursor.fetchall()
    stored = {key: (verdict, assignment) for key, verdict, assignment in rows}
    sent = {one.args["key"]: one for one in asked}
    acknowledged = {key: one for key, one in sent.items() if one.outcome == OK}
    lost = [key for key in acknowledged if key not in stored]
    changed = [key for key, one in acknowledged.items() if key in stored and stored[key] != (one.args["verdict"], one.args["assignment"])]
    strangers = [key for key in stored if key not in sent]
    refused = [key for key, one in sent.items() if one.outcome == "fail" and key in stored]
    report.jobs, report.published = len(acknowledged), len(stored)
    report.duplicates, report.lost = len(rows) - len(stored), len(lost) + len(changed)
    report.expect(not lost, f"I4 {len(lost)} acknowledged answers are lost")
    report.expect(not changed, f"I4 {len(changed)} acknowledged answers were changed")
    report.expect(not strangers + refused, f"I4 {len(strangers + refused)} answers are stored that nobody sent, or that were refused")


def jobs(report: Report) -> None:
    """Figures of the jobs: published once, doubled, never ended; and the share of steps that were done again."""
    found = list(Job.objects.filter(kind__startswith="fake").values_list("public_id", "state", "spec"))
    origins = [str(origin).partition("/")[0] for origin in ModelVersion.objects.exclude(origin=None).values_list("origin", flat=True)]
    report.jobs = len(found)
    report.published = len(set(origins))
    report.duplicates = len(origins) - len(set(origins))
    report.lost = sum(state not in ("succeeded", "failed", "cancelled") for _, state, _ in found)
    for job in Job.objects.filter(kind__startswith="fake", state="failed")[:3]:
        report.told[f"job_{job.pk}"] = f"{job.error_code}: {job.error_detail}"


def rework(report: Report) -> float:
    """Steps done beyond those wanted, as a share of those wanted, over the jobs that were published."""
    wanted = done = 0
    for job in Job.objects.filter(kind__startswith="fake", state="succeeded"):
        wanted += job.spec["steps"]
        done += sum(path.stat().st_size for path in (Path(settings.DATA_DIR) / "attempts" / str(job.public_id)).glob("*/steps"))
    report.rework = round((done - wanted) / wanted, 4) if wanted else None
    return report.rework or 0.0


def processes_of_ours() -> list[int]:
    """Live processes that stand in an attempt's folder."""
    root = Path(settings.DATA_DIR).resolve() / "attempts"
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            folder = processes.working_directory(int(entry.name))
            if folder is not None and folder.is_relative_to(root) and processes.alive(int(entry.name)):
                found.append(int(entry.name))
    return found
