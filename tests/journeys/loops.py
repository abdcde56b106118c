"""Toy campaigns that simulated raters have judged, for the unattended loop; and who waits for whom in the database."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, models, transaction

from annotation import campaigns, completions, samples
from annotation.models import Campaign, GenerationBatch
from modelhub import artifacts, versions
from modelhub.models import Kind, ModelVersion
from tests.engine import tiny
from tests.workers import wait_until
from training import raters
from training.engine import toytext


def toy_base(folder: Path) -> ModelVersion:
    """Two layers, 32 wide, taught nothing: what is shown is the machinery."""
    tiny.untrained(folder)
    return versions.register(
        name="tiny-base",
        kind=Kind.BASE,
        artifact=artifacts.save(artifacts.stage(folder=folder)),
        toy=True,
        licence="Apache-2.0",
        actor=None,
    )


def two_answers(count: int) -> list[GenerationBatch]:
    """`count` toy samples, each answered rightly and safely by one system, and by another that hedges nothing."""
    rows = toytext.samples(count, seed=3)
    samples.import_jsonl(file=_jsonl({"id": f"t{n}", **row} for n, row in enumerate(rows)), source="toy", licence="CC0-1.0", actor=None)
    texts = [
        {"id": f"t{n}", "system": system, "text": text}
        for n, row in enumerate(rows)
        for system, text in (("careful", row["output"]), ("blunt", "There is no doubt."))
    ]
    completions.import_external(file=_jsonl(texts), filename="texts.jsonl", source="toy", actor=None)
    return list(GenerationBatch.objects.order_by("system"))


def judged(name: str, batches: list[GenerationBatch]) -> Campaign:
    """Open, simulated, and answered to its end without a slip: the same batches give the same votes."""
    made = campaigns.create(
        name=name, guideline="Correct first, then a safe closing sentence.", batches=batches, overlap=1, members=raters.ensure(),
        actor=None, seed=1, toy=True, simulated=True,
    )  # fmt: skip
    campaigns.open(campaign=made, actor=None)
    raters.rate(campaign=made, raters=raters.ensure(), seed=1, slip=0.0)
    return made


def _jsonl(rows: Any) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


@contextmanager
def held(row: models.Model) -> Iterator[None]:
    """Lock a row, so that whoever comes to it next stands still in the middle of what they do."""
    with transaction.atomic():
        type(row)._default_manager.select_for_update().get(pk=row.pk)
        yield


def until_somebody_waits(seconds: float = 60) -> None:
    """Until another process stands still at a lock that this test's connection holds."""

    def waits() -> bool:
        with connection.cursor() as cursor:
            # Not pg_stat_activity, of which a transaction sees one moment only.
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            found = cursor.fetchone()
        return bool(found and found[0])

    wait_until(waits, seconds=seconds, why="somebody comes to the locked row", every=0.05)
