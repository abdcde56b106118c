"""The trainer's pages in a real browser: launching by keyboard, a run that draws itself; nothing refused, nothing foreign."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs import claims
from modelhub import aliases
from tests.looks import FIRST, VIEWS, faults
from tests.training import build
from training import evaluations, ingest, preflight, runs
from training.models import Run

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def examine(page: Any, name: str, views: dict[str, tuple[str, int, int]] = VIEWS) -> None:
    assert faults(page, name, views) == []
    assert not page.complaints, page.complaints
    assert not page.strangers, page.strangers


def measure(run: Run, steps: int) -> None:
    ingest.events(
        run.job,
        [
            {"type": "metric", "step": step, "name": name, "value": value(step)}
            for step in range(1, steps + 1)
            for name, value in (
                ("loss", lambda step: 0.69 - step / 200),
                ("rewards/accuracies", lambda step: 0.5 + step / 100),
                ("logps/chosen", lambda step: -20.0 + step / 10),
                ("logps/rejected", lambda step: -20.0 - step / 10),
                ("grad_norm", lambda step: 1.0 + step / 30),
            )
        ],
    )
    ingest.events(
        run.job,
        [
            {"t": 1.0, "type": "sample", "step": step, "index": index, "text": f"Answer {index}, as it was at step {step}.\n\nRest."}
            for step in (0, steps // 2, steps)
            for index in range(6)
        ],
    )


def test_a_trainer_launches_by_keyboard_and_watches_the_curves_grow(
    open_page: Callable[..., Any], dan: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "engine_missing", list)
    build.everything_runs()
    build.version(tmp_path, "ward-sft")
    build.snapshot()
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/runs/new/")
    page.get_by_label("Name").fill("ward-sft")
    page.get_by_text("Choose another name").wait_for()
    page.get_by_label("Name").fill("ward-dpo-7")
    page.get_by_text("Choose another name").wait_for(state="detached")
    assert "csrfmiddlewaretoken" not in page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name).join()")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/runs/\d+/$"))
    run = Run.objects.select_related("job").get(name="ward-dpo-7")
    held = build.claimed(run.job)
    measure(run, 12)
    claims.heartbeat(held, phase="training", done=12, total=40)
    page.get_by_text("12 of 40").wait_for(timeout=8000)
    page.get_by_text("learns to tell the sides apart").or_(page.get_by_text("does not tell the sides apart")).wait_for()
    # What the reader unfolds stays unfolded while the curve grows, and the focus stays where it was.
    page.get_by_text("Numbers").first.click()
    page.get_by_role("link", name="Job and log").focus()
    measure(run, 20)
    claims.heartbeat(held, phase="training", done=20, total=40)
    page.get_by_text("20 of 40").wait_for(timeout=8000)
    assert page.locator("figure details[open]").count() == 1
    assert page.evaluate("document.activeElement.id") == "job-and-log"
    examine(page, "run-growing", FIRST)


def test_every_page_is_fit_to_be_seen(open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    build.everything_runs()
    sft = build.version(tmp_path, "toy-sft", toy=True)
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    snapshot = build.snapshot(simulated=True)
    run = runs.start(snapshot=snapshot, policy=sft, preset="demo", name="toy-dpo-1", actor=dan, also_half=True)
    other = runs.start(snapshot=snapshot, policy=sft, preset="demo", name="toy-dpo-2", actor=dan, changes={"beta": 0.3})
    for each in (run, other):
        measure(each, 20)
    for number, share in ((7.0, 0.6), (8.0, 0.75)):
        job = run.half.job if number == 7.0 else run.job
        build.finish(job, number=number, metrics={"validation_accuracy": share, "validation_pairs": 240, "pairs": 20 * number})
    run.refresh_from_db()
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=sft, snapshot=snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, low=0.6, high=0.8, n=240)
    page = open_page(dan)
    for name, address in {
        "home": "/", "launch": "/runs/new/", "runs": "/runs/", "run": f"/runs/{run.pk}/",
        "running": f"/runs/{other.pk}/", "compare": f"/runs/compare/?run={run.pk}&run={other.pk}",
        "launch-clone": f"/runs/new/?from={other.pk}", "runs-filtered": "/runs/?state=not", "generate": "/generate/",
        "search": "/runs/search/", "evaluation": f"/evaluations/{evaluation.public_id}/",
    }.items():  # fmt: skip
        page.goto(address)
        examine(page, name)
