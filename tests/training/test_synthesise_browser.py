"""Synthesis in a real browser: its cost as one chooses, a run and what it covers, a clinician who scores by keyboard; nothing foreign."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Role, User
from tests.cast import person
from tests.looks import faults
from tests.training.synthesis import carry, start
from training.engine.grammar.grid import CRITERIA
from training.synthesis import golden, runs
from training.synthesis.models import GoldScore

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
VIEWS = {"light": ("light", 1366, 768), "dark": ("dark", 400, 768)}


def test_a_trainer_synthesises_and_sees_what_came_of_it(open_page: Callable[..., Any], dan: User) -> None:
    page = open_page(dan, viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    page.goto("/synthesis/new/")
    page.wait_for_selector("#ahead dl")
    assert "16,464 cells" in page.inner_text("#ahead")
    page.get_by_text("Tasks, formats and difficulties").click()
    page.get_by_label("classification", exact=True).check()
    page.locator("#ahead").get_by_text("1 task,").wait_for()
    pages = {"synthesise": "/synthesis/new/"}
    run = start(name="spring", count=60, spoilt=0.3)
    carry(run)
    for number in range(12):
        lead = person(f"lead-{number}", Role.ADJUDICATOR)
        for _ in range(3):
            item = golden.next_for(lead)
            assert item is not None
            golden.score(item=item, rater=lead, scores=dict.fromkeys(item.scores, 3 + item.number % 2))
    going = start(name="summer", count=50)
    runs.pause(run=going, actor=None)
    pages |= {"synthesis": f"/synthesis/{run.public_id}/", "synthesis-paused": f"/synthesis/{going.public_id}/", "syntheses": "/synthesis/"}
    pages["synthesise-outputs"] = "/synthesis/outputs/"
    for name, address in pages.items():
        page.goto(address)
        if name == "synthesise":
            page.wait_for_selector("#ahead dl")
        assert not faults(page, name, VIEWS)
    assert not page.complaints
    assert not page.strangers


def test_a_lead_scores_the_golden_set_by_keyboard_alone(open_page: Callable[..., Any]) -> None:
    carry(start(name="spring", count=14))
    lead = person("lead", Role.ADJUDICATOR)
    item = golden.next_for(lead)
    assert item is not None
    page = open_page(lead, viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    page.goto("/synthesis/golden/")
    assert item.instruction.split("\n")[0] in page.inner_text("main")
    assert not faults(page, "golden-set", VIEWS)
    for criterion in CRITERIA:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == criterion:
                break
        # The first of four is chosen, then the third.
        for key in ("Space", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.get_by_text("You have scored 1.").wait_for()
    kept = GoldScore.objects.get()
    assert (kept.item, kept.rater, kept.scores) == (item, lead, dict.fromkeys(CRITERIA, 3))
    following = golden.next_for(lead)
    assert following is not None
    assert following.pk != item.pk
    assert not page.complaints
    assert not page.strangers
