"""What a child writes while it trains becomes rows, once, however often it is read."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from tests.training import build
from training import ingest, runs, specs
from training.models import MetricPoint, Run, RunSample

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(dan: User, tmp_path: Path) -> Run:
    sft = build.version(tmp_path, "ward-sft")
    return runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan)


def progress(at: float, done: int, total: int = 100, phase: str = "training") -> dict[str, Any]:
    return {"t": at, "type": "progress", "phase": phase, "done": done, "total": total}


def pace(run: Run) -> dict[str, Any]:
    run.refresh_from_db()
    return run.pace


def test_events_that_come_again_make_no_second_point(run: Run) -> None:
    events: list[dict[str, Any]] = [
        {"t": 1.0, "type": "metric", "step": 1, "name": "loss", "value": 0.6931},
        progress(1.0, 1),
        {"t": 2.0, "type": "metric", "step": 2, "name": "loss", "value": 0.68},
    ]
    ingest.events(run.job, events[:2])
    ingest.events(run.job, events)
    ingest.events(run.job, events)
    points = MetricPoint.objects.filter(run=run).order_by("step").values_list("step", "name", "value")
    assert list(points) == [(1, "loss", 0.6931), (2, "loss", 0.68)]
    assert pace(run) == {"marks": [[1.0, 1]], "total": 100}


def test_six_fixed_prompts_are_answered_and_kept_by_step(run: Run) -> None:
    watched = run.job.spec["inputs"]["watch"]
    assert len(set(watched)) == 6
    samples = [
        {"t": 1.0, "type": "sample", "step": step, "index": index, "text": f"Answer {index} at {step}"}
        for step in (0, 5)
        for index in (0, 5)
    ]
    ingest.events(run.job, [*samples, {"t": 2.0, "type": "sample", "step": 5, "index": 6, "text": "nobody asked"}])
    ingest.events(run.job, samples)
    kept = RunSample.objects.filter(run=run).values_list("step", "index", "prompt_id", "text")
    assert list(kept) == [
        (0, 0, watched[0], "Answer 0 at 0"), (0, 5, watched[5], "Answer 5 at 0"),
        (5, 0, watched[0], "Answer 0 at 5"), (5, 5, watched[5], "Answer 5 at 5"),
    ]  # fmt: skip


def test_a_nul_in_an_answer_does_not_stop_the_run(run: Run) -> None:
    ingest.events(run.job, [{"t": 1.0, "type": "sample", "step": 0, "index": 0, "text": "a\x00b"}])
    assert RunSample.objects.get().text == "a\ufffdb"


def test_the_prompts_the_child_gets_are_the_ones_the_spec_names(run: Run) -> None:
    rows = list(dict(specs.inputs(run.job))["watch.jsonl"])
    assert [int(row["id"]) for row in rows] == run.job.spec["inputs"]["watch"]
    assert all(row["messages"] for row in rows)


def test_pace_keeps_few_marks_however_many_steps_there_were(run: Run) -> None:
    for start in range(0, 1000, 10):
        ingest.events(run.job, [progress(float(step), step, 1000) for step in range(start, start + 10)])
    marks = pace(run)["marks"]
    assert 16 <= len(marks) <= 32
    assert (marks[0], marks[-1]) == ([0.0, 0], [999.0, 999])
    assert all(before < after for before, after in pairwise(marks))


def test_a_new_attempt_starts_its_pace_anew(run: Run) -> None:
    ingest.events(run.job, [progress(1.0, 10), progress(2.0, 20)])
    ingest.events(run.job, [progress(60.0, 15), progress(61.0, 16), progress(70.0, 0, 8, "evaluating")])
    assert pace(run) == {"marks": [[60.0, 15], [61.0, 16]], "total": 100}


def test_half_of_the_prompts_is_always_the_same_half_and_part_of_the_whole() -> None:
    rows = [{"prompt": [{"role": "user", "content": f"Case {n // 2}"}], "chosen": n} for n in range(20)]
    half = specs.halved(rows)
    assert half == specs.halved(list(reversed(rows)))[::-1]
    assert len(half) == 10
    assert all(row in rows for row in half)
    # Both pairs of a prompt fall on the same side.
    assert {row["chosen"] // 2 for row in half} == {row["chosen"] // 2 for row in half if row["chosen"] % 2}
    assert len(specs.halved(rows[:10])) == 6
