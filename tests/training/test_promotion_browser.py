"""A model's page, its card and its promotion in a real browser: two clicks there, two back, nothing scrolls sideways, axe is content."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from modelhub import aliases, cards
from modelhub.models import AliasName
from tests.training import build
from tests.training.test_pages_browser import examine
from training import evaluations, runs

pytestmark = [
    pytest.mark.usefixtures("few_pairs_do"),
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(240),
]


def test_promote_and_roll_back_are_two_clicks_each(open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    sft = build.version(tmp_path, "ward-sft", licence="MIT")
    run = runs.start(snapshot=build.snapshot(pairs=48), policy=sft, preset="demo", name="ward-dpo", actor=dan)
    build.finish(run.job, metrics={"loss": 0.41, "validation_accuracy": 0.7}, adapter=True)
    run.refresh_from_db()
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=sft, snapshot=run.snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    aliases.move(name=AliasName.CHAMPION, to=sft, actor=dan, expected=None, reason="The first")
    cards.revise(version=run.output, prose={"intended_use": "Drafts of ward letters, read by a **physician**."}, expected=0, actor=dan)
    model = f"/models/{run.output.public_id}/"

    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto(model)
    page.get_by_role("link", name="Gates and promotion").click()
    page.get_by_label("Why it is promoted against them").fill("A pilot on one ward, read by two physicians each.")
    page.get_by_role("button", name="Promote all the same").click()
    page.get_by_text("ward-dpo is champion.").wait_for()
    assert aliases.current(AliasName.CHAMPION) == run.output
    began = time.monotonic()
    page.get_by_text("Roll champion back to ward-sft").click()
    page.get_by_role("button", name="Roll champion back").click()
    page.get_by_text("ward-sft is champion again.").wait_for()
    # The promise is ten seconds for a person; the machine's share of it is small.
    assert time.monotonic() - began < 10
    assert aliases.current(AliasName.CHAMPION) == sft

    for name, address in (("model", model), ("card", f"{model}card/"), ("promotion", f"{model}promote/")):
        page.goto(address)
        if name == "model":
            page.get_by_text("Read the card").click()
        examine(page, name)
