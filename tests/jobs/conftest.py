"""A queue of this test's own, a data folder of its own, short leases, and the pretending trainer."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from kombu import Exchange, Queue

from accounts.models import User
from jobs import kinds, submissions
from jobs.models import Job
from tests.jobs.fake import kind as fake


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Tests that run side by side share a broker: no worker may take another test's bells. Nothing of it stays behind."""
    name = f"test-{uuid4().hex[:10]}"
    monkeypatch.setenv(fake.QUEUE, name)
    yield name
    with current_app.connection_for_write() as broker:
        # Declared first, since a connection deletes only what it knows of.
        ours = Queue(name, Exchange(name), routing_key=name)(broker.default_channel)
        ours.declare()
        ours.delete()


@pytest.fixture
def runner(queue: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The runner as tests want it; its value is the queue."""
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_LEASE_SECONDS = 12  # on a busy machine no beat may come for seconds; what wants one to run out sets its own
    settings.ROUNDS_HEARTBEAT_SECONDS = 0.2
    settings.ROUNDS_MIN_FREE_BYTES = 1_000_000
    settings.ROUNDS_GPUS = "none"
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))
    fake.register()
    return queue


def ask(
    dan: User | None = None,
    *,
    behaviour: str = "succeed",
    waits_for: tuple[Job, ...] = (),
    kind: str = "fake",
    priority: int = 0,
    **spec: Any,
) -> Job:
    """Submit a pretended training."""
    return submissions.submit(
        kind=kind, label=f"Pretend to {behaviour}", spec={"behaviour": behaviour, **spec}, requested_by=dan, waits_for=waits_for,
        priority=priority,
    )  # fmt: skip


def gone(pid: int) -> bool:
    """Whether no such process runs any more (a zombie that its new parent has not collected counts as gone)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
