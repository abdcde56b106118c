"""The lead's pages in real Chromium: accessible and fitting in every state, in light, in dark and on a phone."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from annotation import adjudications, judgements
from annotation.adjudications import Ruling
from annotation.answers import Answer, Span
from annotation.models import Campaign, Dispute, Verdict
from tests.annotation.build import campaign, lease
from tests.annotation.test_disputes import answer
from tests.annotation.test_rating_pages_browser import looked_at

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Open = Callable[..., Any]


@pytest.fixture
def disputed(alice: User, bob: User) -> Campaign:
    """Three disputed pairs, one of them flagged and one worse, with marks and an edit; and a sample that was reported."""
    made = campaign([alice, bob], pairs=5, overlap=2, name="Ward letters, autumn", toy=True)
    for number, harm in enumerate(("major", "life_threatening", "")):
        given = Answer(
            verdict=Verdict.FIRST_MUCH, reasons=("facts", "safer"), harm_second=harm, harm_second_type="wrong_dose" if harm else "",
            rationale="B doubles the dose of warfarin; the note says 5 mg.", edited="first", edited_text=f"Answer {number}: chest pain.",
            spans=(Span("second", 0, 8, "fabrication", "major"), Span("second", 4, 20, "certainty", "minor"),
                   Span("first", 10, 10, "omission", "minor")),
        )  # fmt: skip
        judgements.submit(assignment=lease(made, alice), answer=given, key=uuid4())
        answer(made, bob, Verdict.SECOND_MUCH, hard="both_plausible", rationale="A leaves out the second troponin.")
    answer(made, alice, Verdict.CANNOT_JUDGE, cannot_reason="defective_input")
    answer(made, bob, Verdict.FIRST_SLIGHTLY, hard="ambiguous")
    return made


def test_the_pages_are_accessible_and_fit(open_page: Open, carol: User, dan: User, disputed: Campaign) -> None:
    page = open_page(carol)
    page.goto("/adjudicate/")
    looked_at(page, "disputes")
    first = Dispute.objects.waiting()[0]
    page.goto(f"/adjudicate/{first.public_id}/")
    looked_at(page, "dispute")
    page.get_by_role("button", name="Rule and go on").click()
    page.get_by_text("Choose what you decide first.").wait_for()
    page.complaints.clear()  # Chromium reports the 422.
    looked_at(page, "dispute-refused")
    ruling = Ruling("first", "Ten times the dose.", harm_second="life_threatening", must_not_train_second=True, block_promotion_second=True)
    adjudications.rule(dispute=first, adjudicator=carol, ruling=ruling, votes_version=first.votes_version, key=uuid4())
    page.goto(f"/adjudicate/{first.public_id}/")
    looked_at(page, "dispute-ruled")
    page.goto("/safety/")
    looked_at(page, "safety")
    page.goto("/defects/")
    page.locator("summary", has_text="Settle it").first.click()
    looked_at(page, "defects")
    page.get_by_label("another imported sample takes its place").check()
    page.get_by_role("button", name="Settle").first.click()
    page.get_by_text("Name a sample of the same source by its id.").wait_for()
    page.complaints.clear()
    looked_at(page, "defects-refused")
    trainer = open_page(dan)
    trainer.goto("/safety/?show=ruled")
    looked_at(trainer, "safety-ruled")


def test_the_pages_are_accessible_while_there_is_nothing(open_page: Open, carol: User) -> None:
    page = open_page(carol)
    for address, name in (
        ("/adjudicate/", "disputes"),
        ("/safety/", "safety"),
        ("/defects/", "defects"),
        ("/defects/?show=settled", "settled"),
    ):
        page.goto(address)
        looked_at(page, f"{name}-empty")
