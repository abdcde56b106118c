"""My impact in real Chromium: empty, before the first training and after it, in both colours and on a phone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from tests.training import build
from tests.training.test_impact import compared, frozen, judged, trained

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def looked_at(page: Any, name: str) -> None:
    """Nothing serious by axe, no sideways scrolling, nothing complained; kept where ROUNDS_SCREENSHOTS says, for eyes."""
    from axe_playwright_python.sync_playwright import Axe

    for scheme, width in (("light", 1366), ("dark", 1366), ("light", 400), ("dark", 400), ("light", 683)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 768})
        if folder := os.environ.get("ROUNDS_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder) / f"{name}-{scheme}-{width}.png"), full_page=True)
        serious = [each for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        assert not serious, [(name, scheme, each["id"], [node["html"][:200] for node in each["nodes"]]) for each in serious]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways at {width}"
    assert page.complaints == []
    assert page.strangers == []


def test_it_is_looked_at_from_nothing_to_a_comparison(open_page: Callable[..., Any], alice: User, tmp_path: Path) -> None:
    page = open_page(alice)
    page.goto("/me/impact/")
    looked_at(page, "impact-empty")
    judged(alice, pairs=6, name="Still open")
    snapshot = frozen(alice, name="Discharge letters, spring")
    compared(trained(snapshot, build.version(tmp_path, "frosty-sft")), snapshot)
    page.goto("/rate/")
    page.locator("summary", has_text="alice").click()
    page.get_by_role("link", name="My impact").click()
    page.get_by_text("agrees with its raters on 61 %").wait_for()
    looked_at(page, "impact-told")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download my judgements").click()
    assert download.value.suggested_filename == "my-judgements.json"
