"""From a finished evaluation to a verdict, in Chromium on the real worker and engine: one click, two models answer, three clinicians judge
without learning which is which, the study ends by itself, and they are asked whether they could tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import Role, User
from annotation import assignments, judgements
from annotation.models import Verdict
from modelhub import artifacts, versions
from modelhub.models import Kind, ModelVersion
from tests.engine import tiny
from tests.training import study as small
from tests.workers import Processes, wait_until
from training import studies
from training.evidence import verdict as evidence
from training.models import Study, StudyGuess

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(600)]

NAMES = ("ward-new", "ward-old")


def two_models(root: Path, actor: User) -> tuple[ModelVersion, ModelVersion]:
    """Untrained ones with other weights: what they write differs, and which is better is for the raters of this test to say."""
    made = []
    for seed, name in enumerate(NAMES, start=1):
        folder = tiny.untrained(root / name, seed=seed)
        artifact = artifacts.save(artifacts.stage(folder=folder))
        made.append(versions.register(name=name, kind=Kind.DPO, artifact=artifact, licence="MIT", toy=True, actor=actor))
    return made[0], made[1]


def judge_by_key(page: Any, count: int) -> None:
    """Answer pairs as a clinician does; nothing that the browser receives names a model."""
    page.goto("/rate/")
    page.get_by_role("button", name="Start").click()
    page.locator(".compare").wait_for()
    for _ in range(count):
        # A pair that comes with a page of its own answers keys once that is loaded.
        page.wait_for_function("() => document.readyState === 'complete'")
        here = page.url
        assert not [name for name in NAMES if name in page.content()]
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        page.wait_for_function("was => location.href !== was", arg=here)


def judge_the_rest(study: Study, raters: list[User], until: int) -> None:
    """Through the same verbs as the page: everybody prefers the new model's text, until so many were judged in all; then it is closed."""
    assert study.campaign is not None
    given = studies.counted(study).count()
    for number in range(until - given):
        held = assignments.lease_next(campaign=study.campaign, annotator=raters[number % len(raters)])
        assert held is not None
        ours = held.pair.first.batch_id == study.challenger_texts_id
        verdict = Verdict.FIRST_SLIGHTLY if ours else Verdict.SECOND_SLIGHTLY
        judgements.submit(assignment=held, verdict=verdict, key=uuid4(), active_ms=60_000)


def test_a_study_runs_from_one_click_to_its_verdict(processes: Processes, open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    raters = small.raters()
    found = small.evaluation(tmp_path, raters, dan, pairs=evidence.FEWEST + 24, models=two_models(tmp_path / "models", dan))
    raters[2].grants.create(role=Role.TRAINER)
    processes.start_worker(slots=1)
    processes.start_sweeper()

    trainer = open_page(dan, viewport={"width": 1366, "height": 768})
    trainer.goto(f"/evaluations/{found.public_id}/")
    trainer.get_by_role("button", name="Start the blinded study").click()
    trainer.wait_for_url("**/studies/*/")
    trainer.get_by_role("heading", name="Both models are answering").wait_for()
    # The page notices by itself that both have answered.
    trainer.get_by_role("heading", name="Not decided yet").wait_for(timeout=240_000)
    study = Study.objects.get()
    assert study.campaign is not None
    assert study.campaign.counts["pairs"] >= evidence.FEWEST

    judge_by_key(open_page(raters[0], viewport={"width": 1366, "height": 768}), 3)
    # Answers are saved behind the screen, which is a pair ahead.
    wait_until(lambda: studies.counted(study).count() == 3, seconds=60, why="the answers are saved")
    trainer.reload()
    trainer.get_by_text(f"3 of {evidence.FEWEST} to").wait_for()

    # Who rates and trains is shown no figure.
    both = open_page(raters[2], viewport={"width": 400, "height": 800})
    both.goto(f"/studies/{study.public_id}/")
    both.get_by_text("until it has ended").wait_for()
    assert not [name for name in NAMES if name in both.content()]

    judge_the_rest(study, raters, evidence.FEWEST)
    wait_until(lambda: Study.objects.get().state == "decided", seconds=60, why="the study ends by itself")
    study.refresh_from_db()
    trainer.reload()
    trainer.get_by_role("heading", name="Better").wait_for()
    trainer.get_by_text(f"Decided at judgement {study.counted}").wait_for()
    assert study.verdict == "better"

    # Could they tell?
    both.goto("/rate/")
    both.get_by_role("link", name="Which was the new model?").click()
    for choice in both.get_by_label("No idea").all():
        choice.check()
    both.get_by_role("button", name="Keep my guesses").click()
    both.get_by_text("You have answered: thank you.").wait_for()
    assert StudyGuess.objects.filter(study=study, guess="no_idea").count() == 5
    assert [line for line in trainer.complaints + both.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []
    assert trainer.strangers == both.strangers == []
