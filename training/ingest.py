"""An attempt's events → rows. Called again and again while a run lives, with events that may have been seen before."""

from collections.abc import Iterable
from typing import Any

from jobs.models import Job
from training.models import MetricPoint, Run


def metrics(job: Job, events: Iterable[dict[str, Any]]) -> None:
    """Keep every metric event of a run. Idempotent: one point a run, step and name, whatever is repeated."""
    run = Run.objects.filter(job=job).only("pk").first()
    if run is None:
        return
    points = [
        MetricPoint(run=run, step=int(event["step"]), name=str(event["name"])[:60], value=float(event["value"]))
        for event in events
        if event.get("type") == "metric"
    ]
    MetricPoint.objects.bulk_create(points, ignore_conflicts=True, batch_size=1000)
