"""Synthesis for benchmarks/gallery.py: a run by the grammar from its form to its samples, one that is paused, and the golden set scored."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from benchmarks.scenes_training import attempt, beat

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = (
    "syntheses-empty",
    "synthesise",
    "synthesise-error",
    "syntheses",
    "synthesis-paused",
    "synthesis",
    "golden-set",
    "golden-set-empty",
)
LEADS, SCORED = 12, 3


def play(camera: Photographer, dan: User) -> None:
    """Asked for in the browser, worked off by the real engine; then twelve lead clinicians score three instructions each."""
    from accounts.models import Role
    from tests.cast import person
    from training.synthesis import golden
    from training.synthesis.models import SynthesisRun

    over = threading.Event()
    heart = threading.Thread(target=beat, args=(over,), daemon=True)
    heart.start()
    try:
        lead = person("lead-of-golden", Role.ADJUDICATOR)
        theirs = camera.of(lead)
        theirs.goto("/synthesis/golden/")
        camera.take("golden-set-empty", theirs)
        page = camera.of(dan)
        page.goto("/synthesis/")
        camera.take("syntheses-empty", page)
        _ask(page, "spring", samples="120")
        page.locator("#ahead dl").wait_for()
        camera.take("synthesise", page)
        page.get_by_label("Samples", exact=True).fill("0")
        page.locator("#synthesise").evaluate("form => form.noValidate = true")
        page.get_by_role("button", name="Synthesise").click()
        page.locator(".error").first.wait_for()
        camera.take("synthesise-error", page)
        _ask(page, "spring", samples="120", spoilt="0.3")
        page.get_by_role("button", name="Synthesise").click()
        page.wait_for_url("**/synthesis/*-*/")
        spring = SynthesisRun.objects.get(name="spring")
        _work_off(spring)
        for number in range(LEADS):
            rater = person(f"golden-{number}", Role.ADJUDICATOR)
            for _ in range(SCORED):
                item = golden.next_for(rater)
                assert item is not None
                # One in five is a point more severe than the judge.
                scores = {name: max(1, round(mean) - (number % 5 == 0)) for name, mean in item.scores.items()}
                golden.score(item=item, rater=rater, scores=scores)
        _ask(page, "summer", samples="60")
        page.get_by_role("button", name="Synthesise").click()
        page.wait_for_url("**/synthesis/*-*/")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").wait_for()
        camera.take("synthesis-paused", page)
        page.goto("/synthesis/")
        camera.take("syntheses", page)
        page.get_by_role("link", name="spring").click()
        camera.take("synthesis", page)
        theirs.goto("/synthesis/golden/")
        camera.take("golden-set", theirs)
    finally:
        over.set()
        heart.join()


def _ask(page: Any, name: str, *, samples: str, spoilt: str = "0") -> None:
    page.goto("/synthesis/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Samples", exact=True).fill(samples)
    if spoilt != "0":
        page.get_by_text("Advanced").click()
        page.get_by_label("Share with a rejected output").fill(spoilt)
    page.keyboard.press("Tab")


def _work_off(run: Any) -> None:
    """The run's jobs, as a worker slot makes them, until none is left."""
    from jobs.models import State

    while step := run.steps.filter(job__state=State.QUEUED).order_by("pk").first():
        attempt(step.job)
