"""The figures’ pages in a real browser: axe in light, dark, on a phone and at double size; figures that arrive by themselves."""

from typing import Any

import pytest

from accounts.models import User
from annotation.views import progress as view
from tests.annotation.test_progress import judged
from tests.looks import faults

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(open_page: Any, carol: User, alice: User, bob: User) -> None:
    made = judged([alice, bob], 31)
    wrong = []
    page = open_page(carol)
    for name in ("progress", "calibration"):
        page.goto(f"/campaigns/{made.public_id}/{name}/")
        wrong += faults(page, name)
        assert page.complaints == []
    assert not wrong, "\n".join(wrong)


def test_figures_of_a_large_campaign_arrive_by_themselves(
    open_page: Any, carol: User, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "AT_ONCE", 3)
    made = judged([alice], 4)
    page = open_page(carol)
    page.goto(f"/campaigns/{made.public_id}/progress/")
    page.get_by_text("Agreement on the side").first.wait_for()
    assert page.complaints == []
