"""The lineage in a real browser: from a sample to the model and back by keyboard; every page fit to be seen, by everybody."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from tests.training.test_lineage import build_world
from tests.training.test_pages_browser import examine

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def test_every_page_is_fit_to_be_seen(open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    made = build_world(dan, tmp_path)
    page = open_page(dan, viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    model, sample = f"/lineage/model/{made['dpo'].public_id}/", f"/lineage/sample/{made['train_sample']}/"
    for name, address in {
        "search": "/lineage/", "found": "/lineage/?q=toy", "nothing": "/lineage/?q=nobody", "up": model, "down": sample,
        "list": f"{model}list/sample/", "leaf": f"{model}list/run/",
    }.items():  # fmt: skip
        page.goto(address)
        examine(page, f"lineage-{name}")
    # A box is a link: chosen, then unfolded, then followed, by keyboard alone.
    page.goto(model)
    boxes = page.locator("svg.graph a")
    group = boxes.filter(has_text="26 samples" if boxes.filter(has_text="26 samples").count() else "samples").first
    group.focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="List them").wait_for()
    examine(page, "lineage-chosen")
    page.get_by_role("link", name="Unfold here").click()
    page.get_by_role("link", name="Fold everything again").wait_for()
    examine(page, "lineage-unfolded")
