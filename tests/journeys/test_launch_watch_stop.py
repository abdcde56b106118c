"""A trainer's morning, in Chromium, on the real worker and engine: launch, watch, stop and keep, clone with a change, finished."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from annotation.models import Snapshot
from jobs.attempts import folder_of
from jobs.models import State
from modelhub.models import ModelVersion
from tests.journeys.toys import done
from tests.training import build
from tests.workers import Processes, wait_until
from training import runs
from training.models import Run, RunSample

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(600)]

# Every step a page has shown, with the moment it did: what a person could see and when.
OBSERVE = """() => {
  window.shown = [];
  const look = () => {
    const step = Number(document.getElementById('live')?.dataset.step ?? 0);
    if (step && step !== window.shown.at(-1)?.[0]) window.shown.push([step, Date.now() / 1000]);
  };
  new MutationObserver(look).observe(document.querySelector('main'), {childList: true, subtree: true});
}"""


def small_base(actor: User) -> ModelVersion:
    run = runs.build(
        kind="build-base", name="small-base", label="Build small-base",
        params={"steps": 10, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 32, "layers": 1, "intermediate_size": 64},
        models={}, publish={"kind": "base", "toy": True, "simulated": False, "roles": {}, "corpus": "toy corpus base"},
        waits_for=[], seed=1, preset="", actor=actor,
    )  # fmt: skip
    wait_until(lambda: done(run.job), seconds=120, why="the base is built")
    return ModelVersion.objects.get(name="small-base")


def lags(folder: Path, shown: list[list[float]]) -> list[float]:
    """Seconds from a step's figures in the child's file to the first page that shows that step or a later one."""
    found = []
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "metric" and event["name"] == "loss":
            seen = next((at for step, at in shown if step >= event["step"]), None)
            if seen is not None:
                found.append(seen - event["t"])
    return sorted(found)


def launch(page: Any, policy: ModelVersion, snapshot: Snapshot) -> Run:
    """By the form, after a measurement of three steps."""
    page.goto(f"{reverse('training:launch')}?snapshot={snapshot.public_id}")
    page.locator("[name=policy]").select_option(str(policy.public_id))
    page.locator("[name=preset]").select_option("demo")
    page.locator("[name=name]").fill("watched-1")
    page.get_by_text("Advanced").click()
    for name, value in {"epochs": "40", "batch_size": "1", "checkpoint_steps": "40"}.items():
        page.locator(f"[name={name}]").fill(value)
    page.locator("[name=epochs]").press("Tab")
    page.locator("#preflight").get_by_text("Nothing stands in its way.").wait_for()
    page.get_by_role("button", name="Measure on this machine").click()
    page.locator("#estimate").get_by_text("three steps measured on").wait_for(timeout=120_000)
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/runs/*/")
    return Run.objects.get(name="watched-1")


def test_a_run_is_launched_watched_stopped_kept_and_cloned(
    processes: Processes, open_page: Callable[..., Any], dan: User, record_testsuite_property: Callable[[str, object], None]
) -> None:
    processes.start_worker(slots=1)
    processes.start_sweeper()
    policy, snapshot = small_base(dan), build.snapshot(pairs=48)
    page = open_page(dan, viewport={"width": 1366, "height": 768})

    run = launch(page, policy, snapshot)
    page.evaluate(OBSERVE)
    # The curve draws itself, and the fixed prompts are answered at the start and at a checkpoint.
    page.locator("#live svg").first.wait_for(timeout=120_000)
    page.locator("#samples").get_by_text(re.compile("At step [1-9]")).first.wait_for(timeout=120_000)
    assert page.locator("#samples article").count() == 6
    page.locator("#live").get_by_text("of training remain").wait_for()
    assert RunSample.objects.filter(run=run, step=0).count() == 6

    found = lags(folder_of(run.job, 1), page.evaluate("window.shown"))
    record_testsuite_property("lag_seconds_median", round(median(found), 2))
    record_testsuite_property("lag_seconds_most", round(found[-1], 2))

    # Stop and keep: the model as it is then becomes a version.
    page.get_by_text("Stop this run …").click()
    page.get_by_role("button", name="Stop and keep").click()
    page.get_by_text("Stopped by request at step").wait_for(timeout=60_000)
    kept = ModelVersion.objects.get(name="watched-1")
    total = Run.objects.get(pk=run.pk).pace["total"]
    assert kept.metrics["stopped_early"]
    assert 40 <= kept.metrics["stopped_at"] < total

    # Clone with a change: the form is filled in as before, a beta and the length are changed, and it runs to its end.
    page.get_by_role("link", name="Clone with a change").click()
    page.wait_for_url("**/runs/new/?from=*")
    assert page.locator("[name=checkpoint_steps]").input_value() == "40"
    assert page.locator("[name=name]").input_value() == "watched-2"
    page.locator("[name=beta]").fill("0.3")
    page.locator("[name=epochs]").fill("2")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/runs/*/")
    page.get_by_text(", took").wait_for(timeout=120_000)
    clone = Run.objects.get(name="watched-2")
    assert (clone.cloned_from, clone.job.state) == (run, State.SUCCEEDED)
    assert (clone.params["beta"], clone.params["checkpoint_steps"]) == (0.3, 40)
    page.goto(f"{reverse('training:compare-runs')}?run={run.pk}&run={clone.pk}")
    assert page.get_by_role("row", name="beta 0.1 0.3").count() == 1

    # Leaving a page ends its polls, which htmx calls an error.
    assert [line for line in page.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []
    assert page.strangers == []
