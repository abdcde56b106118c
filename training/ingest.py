"""An attempt's events → rows. Called again and again while a run lives, with events that may have been seen before."""

from collections.abc import Iterable
from typing import Any

from annotation.models import GenerationBatch
from jobs.models import Job
from training.models import MetricPoint, Run, RunSample

# Marks of pace a run keeps: enough to see whether it slows down, few enough to be rewritten every second.
MOST_MARKS = 32
# Phases whose progress counts a run's steps.
STEPPING = ("training", "searching")


def events(job: Job, seen: Iterable[dict[str, Any]]) -> None:
    """Keep what a run measured, what it answered, and how fast its steps came. Idempotent, whatever is repeated."""
    run = Run.objects.filter(job=job).only("pk", "pace").first()
    if run is None:
        return
    found = list(seen)
    _metrics(run, [event for event in found if event.get("type") == "metric"])
    _samples(run, job, [event for event in found if event.get("type") == "sample"])
    _pace(run, [event for event in found if event.get("type") == "progress" and event.get("phase") in STEPPING])


def generation(job: Job, seen: Iterable[dict[str, Any]]) -> None:
    """How fast a batch is being answered, and for how long still, as its job said last."""
    told = {event["name"]: float(event["value"]) for event in seen if event.get("type") == "metric"}
    if pace := {name: told[name] for name in ("tokens_per_second", "seconds_left") if name in told}:
        GenerationBatch.objects.filter(pk=job.spec["inputs"]["batch"]).update(pace=pace)


def _metrics(run: Run, found: list[dict[str, Any]]) -> None:
    points = [MetricPoint(run=run, step=int(event["step"]), name=str(event["name"])[:60], value=float(event["value"])) for event in found]
    MetricPoint.objects.bulk_create(points, ignore_conflicts=True, batch_size=1000)


def _samples(run: Run, job: Job, found: list[dict[str, Any]]) -> None:
    """Answers to prompts the job's spec names; PostgreSQL stores no NUL, and a model may write one."""
    prompts = job.spec.get("inputs", {}).get("watch", [])
    rows = [
        RunSample(
            run=run, step=int(event["step"]), index=int(event["index"]), prompt_id=prompts[int(event["index"])],
            text=str(event["text"]).replace("\x00", "\ufffd"),
        )
        for event in found
        if 0 <= int(event["index"]) < len(prompts)
    ]  # fmt: skip
    RunSample.objects.bulk_create(rows, ignore_conflicts=True)


def _pace(run: Run, found: list[dict[str, Any]]) -> None:
    marks, total = list(run.pace.get("marks", [])), run.pace.get("total", 0)
    for event in found:
        at, done = float(event["t"]), int(event["done"])
        total = int(event["total"])
        if marks and at <= marks[-1][0]:
            continue
        if marks and done < marks[-1][1]:
            marks = []  # a new attempt, from its last checkpoint or from the beginning
        marks.append([at, done])
        if len(marks) > MOST_MARKS:
            marks = [*marks[:-1:2], marks[-1]]
    if found and (marks, total) != (run.pace.get("marks", []), run.pace.get("total", 0)):
        Run.objects.filter(pk=run.pk).update(pace={"marks": marks, "total": total})
