"""A real training for benchmarks/gallery.py: a tiny model is built and tuned by the real engine, and photographed while it learns."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = ("launch", "run", "run-stopped", "jobs", "job")
BASE = {"steps": 120, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 64, "layers": 2, "intermediate_size": 128}
PAIRS, SETTINGS = 64, {"epochs": "30", "batch_size": "4", "checkpoint_steps": "20"}
# Photographed from here on, and stopped before its end.
WATCHED, MINUTES = 80, 10


def play(camera: Photographer, dan: User) -> None:
    """Launched by the form, watched, stopped and kept, with another run behind it. The preferences are made up: the run says toy."""
    from django.conf import settings

    from jobs.models import Job, State
    from tests.training import build
    from tests.workers import wait_until
    from training import runs
    from training.models import Run

    def base_named(name: str) -> Run:
        return runs.build(
            kind="build-base", name=name, label=f"Build {name}", params=BASE, models={}, seed=1, preset="", actor=dan, waits_for=[],
            publish={"kind": "base", "toy": True, "simulated": True, "roles": {}, "corpus": "toy corpus base"},
        )  # fmt: skip

    settings.ROUNDS_HOST = "training-1"
    base, greedy = base_named("toy-base"), base_named("toy-base-2")
    attempt(base.job)
    # Less than the libraries alone take.
    settings.ROUNDS_CHILD_MEMORY_GB = 0.1
    attempt(greedy.job)
    settings.ROUNDS_CHILD_MEMORY_GB = None
    assert base.job.state == State.SUCCEEDED, f"{base.job.error_code}: {base.job.error_detail}"
    frozen = build.snapshot(pairs=PAIRS, simulated=True, name="Toy answers")
    over = threading.Event()
    heart = threading.Thread(target=beat, args=(over,), daemon=True)
    heart.start()

    page = camera.of(dan)
    page.goto(f"/runs/new/?snapshot={frozen.public_id}")
    page.locator("[name=policy]").select_option(label=page.locator("[name=policy] option", has_text="toy-base").inner_text())
    page.locator("[name=preset]").select_option("demo")
    page.locator("[name=name]").fill("toy-dpo-1")
    page.get_by_text("Advanced").click()
    for name, value in SETTINGS.items():
        page.locator(f"[name={name}]").fill(value)
    page.locator("[name=epochs]").press("Tab")
    page.locator("#preflight").get_by_text("Nothing stands in its way.").wait_for()
    page.get_by_text("Advanced").click()
    camera.take("launch", page, settle_ms=3000)  # the estimate follows what was typed
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url(re.compile(r"/runs/\d+/$"))
    run = Run.objects.get(name="toy-dpo-1")
    supervisor = threading.Thread(target=attempt, args=(run.job,))
    supervisor.start()
    wait_until(lambda: _step(run) >= WATCHED, seconds=60 * MINUTES, why="there are curves to see")
    page.reload()
    page.locator("#live").get_by_text("of training remain").wait_for()
    camera.take("run", page)

    runs.start(snapshot=frozen, policy=run.policy or _made(base), preset="demo", name="toy-dpo-2", actor=dan, changes={"beta": 0.3})
    page.goto("/jobs/")
    camera.take("jobs", page)
    page.goto(f"/jobs/{greedy.job.public_id}/")
    camera.take("job", page)
    page.goto(f"/runs/{run.pk}/")
    page.get_by_text("Stop this run …").click()
    page.get_by_role("button", name="Stop and keep").click()
    page.get_by_text("Stopped by request at step").wait_for(timeout=120_000)
    supervisor.join()
    camera.take("run-stopped", page)
    over.set()
    heart.join()
    assert Job.objects.get(pk=run.job_id).state == State.SUCCEEDED


def beat(over: threading.Event) -> None:
    """The signs of life of the worker and the sweeper that this process stands in for."""
    from django.db import connection

    from jobs import pulses
    from jobs.machine import Load

    load = Load()
    while not over.wait(1.0):
        pulses.beat("worker:compute", ["compute"], slots=[os.getpid()], machine=load.figures())
        pulses.beat(pulses.SWEEPER, [])
    connection.close()


def attempt(job: Any) -> None:
    """One attempt from claim to end, as a worker slot makes it."""
    from django.db import connection

    from jobs import attempts, claims

    held = claims.claim(job_id=job.pk, worker=attempts.worker_name())
    assert held is not None
    attempts.supervise(held)
    job.refresh_from_db()
    if threading.current_thread() is not threading.main_thread():
        connection.close()


def _step(run: Any) -> int:
    """How many steps of its training a run has made."""
    from jobs.models import Job

    job = Job.objects.get(pk=run.job_id)
    assert not job.ended, f"{job.error_code}: {job.error_detail}"
    return int(job.progress_done) if job.phase == "training" else 0


def _made(run: Any) -> Any:
    from modelhub.models import ModelVersion

    return ModelVersion.objects.get(name=run.name)
