"""My impact in real Chromium: empty, before the first training and after it, in both colours and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from tests.looks import DARK_PHONE, VIEWS, faults
from tests.training import build
from tests.training.test_impact import compared, frozen, judged, trained

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def looked_at(page: Any, name: str) -> None:
    """Nothing serious by axe, no sideways scrolling, nothing complained; kept where ROUNDS_SCREENSHOTS says, for eyes."""
    assert faults(page, name, VIEWS | DARK_PHONE) == []
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
