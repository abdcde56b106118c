"""A model of ours writes a synthesis run, as jobs of a worker that is killed on the way: every draw is answered, once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accounts.models import AuditEntry, User
from jobs.models import Job, State
from modelhub import artifacts, versions
from modelhub.models import Kind
from tests.workers import Processes, wait_until
from training.engine.grammar import grid
from training.synthesis import backends, runs
from training.synthesis.models import SynthesisAnswer, SynthesisRun

draw = grid.draw
pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def over(run: SynthesisRun) -> bool:
    run.refresh_from_db()
    assert runs.blocked(run) is None
    return run.over


def test_a_killed_worker_loses_and_doubles_no_answer(processes: Processes, dan: User, tmp_path: Path, monkeypatch: Any) -> None:
    from tests.engine.tiny import untrained

    kept = artifacts.save(artifacts.stage(folder=untrained(tmp_path / "tiny", context=2048)))
    tiny = versions.register(name="tiny", kind=Kind.BASE, artifact=kept, actor=dan, licence="Apache-2.0")
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.2)
    # One temperature, so that one job holds all.
    monkeypatch.setattr(grid, "draw", lambda **asked: [replace(cell, temperature=1.0) for cell in draw(**asked)])
    run = runs.start(
        name="by tiny", wanted=runs.Wanted(count=60, max_new_tokens=160), generator=backends.find(f"model:{tiny.public_id}"),
        judge=backends.find("grammar", judging=True), seed=1, licence="CC0-1.0", actor=dan,
    )  # fmt: skip
    items = run.items.count()
    assert items == 24
    first = run.steps.get().job

    processes.environment |= {"ROUNDS_LEASE_SECONDS": "4", "ROUNDS_HEARTBEAT_SECONDS": "0.5"}
    processes.start_sweeper()
    processes.start_worker("first", slots=1)
    wait_until(lambda: Job.objects.get(pk=first.pk).checkpoint_step, seconds=90, why="some texts are written and kept", every=0.05)
    processes.kill("first")
    first.refresh_from_db()
    assert first.state == State.RUNNING
    processes.start_worker("second", slots=1)
    wait_until(lambda: over(run), seconds=120, why="the second worker wrote the rest")

    first.refresh_from_db()
    assert first.attempts == 2
    assert 0 < first.result["resumed"] < first.result["answered"]
    # Random weights write no tags: that is an answer too, kept and refused by its name.
    places = list(SynthesisAnswer.objects.filter(item__run=run).values_list("item__number", "stage", "number", "refused"))
    assert sorted(places) == [(number, "write", 0, "no_tags") for number in range(1, items + 1)]
    assert runs.counts(run)["reasons"] == {"instructions refused": {"no_tags": items}}
    assert sum(step.tokens for step in run.steps.all()) > items
    verbs = AuditEntry.objects.filter(object_id=str(run.public_id)).order_by("pk").values_list("verb", "actor_id")
    assert list(verbs) == [("synthesis.started", dan.pk), ("synthesis.done", dan.pk)]
