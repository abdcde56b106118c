"""A study's evidence in a real browser: fit to be seen at every size, and the pack that it downloads is the one whose digest it shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Role, User
from tests.cast import person
from tests.looks import VIEWS, faults
from tests.training import studied
from tests.training import study as small
from training.evidence import verify

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def test_it_is_fit_to_be_seen_and_what_it_downloads_is_what_it_shows(
    open_page: Callable[..., Any], dan: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.smaller(monkeypatch)
    raters = [person(f"rater-{bird}", Role.ANNOTATOR) for bird in ("heron", "kestrel", "wren")]
    study = studied.decided(studied.evaluated(tmp_path, raters, dan, prompts=36, judged=9), raters, dan, fewest=12, share=1.0)
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto(f"/studies/{study.public_id}/")
    page.get_by_role("link", name="Evidence pack").click()
    page.get_by_role("heading", name="Verify it").wait_for()
    assert faults(page, "evidence-unmade", VIEWS) == []
    page.get_by_role("button", name="Make the pack").click()
    page.get_by_text("It is being made").wait_for()
    assert faults(page, "evidence-making", VIEWS) == []
    # No worker runs here; the page looks again every two seconds, and finds it.
    studied.packed(study, dan)
    page.get_by_role("link", name="Download the pack").wait_for()
    assert faults(page, "evidence", VIEWS) == []
    with page.expect_download() as awaited:
        page.get_by_role("link", name="Download the pack").click()
    awaited.value.save_as(tmp_path / "pack.zip")
    report = verify.verify(tmp_path / "pack.zip", digest=page.locator("#digest").inner_text())
    # Twelve votes decide here, and nowhere else: that is all the verifier has to say against it.
    assert {fault.name for fault in report.faults} == {"protocol.json", "analysis.json", "study.json"}
    assert "Digest" in report.said[0]
    assert not page.complaints, page.complaints
    assert not page.strangers, page.strangers
