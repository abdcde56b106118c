"""From two clinicians who strongly disagree, one of whom sees harm, over the lead's blinded ruling to a snapshot without the text."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation import export_files
from annotation.models import Adjudication, Campaign, Completion, Dispute, Judgement, Snapshot
from tests.annotation.build import campaign
from tests.annotation.test_judge_browser import Open, saved, start

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

GOOD = "Take 5 mg of warfarin a day, and come back on Monday."
HARMFUL = "Take 50 mg of warfarin a day, and come back on Monday."


@pytest.fixture
def made(alice: User, bob: User, settings: Any, tmp_path: Path) -> Campaign:
    """Two pairs judged twice; the second text of the first pair could kill."""
    settings.DATA_DIR = tmp_path
    made = campaign([alice, bob], pairs=2, overlap=2, systems=("canary-peregrine", "canary-goshawk"))
    pair = made.pairs.earliest("position")
    Completion.objects.filter(pk=pair.first_id).update(text=GOOD)
    Completion.objects.filter(pk=pair.second_id).update(text=HARMFUL)
    return made


def side_of(page: Any, text: str) -> str:
    """Which side shows `text`: "a" or "b"."""
    return "a" if text in page.locator("#side-a .prose").first.inner_text() else "b"


def judge(page: Any, *, better: str, flags: str = "") -> None:
    """Judge the pair before a rater by keyboard: one text is much better, one perhaps could kill."""
    page.keyboard.press("1" if side_of(page, better) == "a" else "5")
    if flags:
        # Shift and the side; life-threatening; a wrong dose.
        page.keyboard.press(f"Shift+{side_of(page, flags).upper()}")
        page.keyboard.press("3")
        page.keyboard.press("3")
    page.keyboard.press("Enter")


def test_opposed_strong_votes_and_a_flag_reach_the_lead_and_the_text_no_new_snapshot(
    open_page: Open, made: Campaign, alice: User, bob: User, carol: User, dan: User
) -> None:
    raters = open_page(alice), open_page(bob)
    for page in raters:
        start(page)
    judge(raters[0], better=GOOD, flags=HARMFUL)
    saved(1, raters[0])
    judge(raters[1], better=HARMFUL)
    saved(2, raters[1])
    flagged = Judgement.objects.get(assignment__annotator=alice)
    assert (flagged.verdict, flagged.harm_first, flagged.harm_second) == ("first_much", "", "life_threatening")

    trainer = open_page(dan)
    trainer.goto(f"/campaigns/{made.public_id}/freeze/")
    with trainer.expect_navigation():
        trainer.get_by_role("button", name="Freeze what was looked over").click()
    before = Snapshot.objects.get()
    rows = export_files.folder(snapshot=before).glob("jsonl/dpo/*")
    assert any(HARMFUL.encode() in path.read_bytes() for path in rows), "as the side that is not preferred"

    lead = open_page(carol)
    lead.goto("/adjudicate/")
    lead.get_by_text("life-threatening").wait_for()
    lead.get_by_role("button", name="Take the next one").click()
    lead.locator("#ruling").wait_for()
    lead.wait_for_load_state()
    shown = lead.content()
    assert "Rater 1" in shown
    assert "Rater 2" in shown
    assert [secret for secret in ("alice", ">bob<", "peregrine", "goshawk") if secret in shown] == []
    harmful = "a" if HARMFUL in lead.locator("section", has=lead.locator("#side-a")).inner_text() else "b"
    lead.keyboard.press("2" if harmful == "a" else "1")
    lead.locator(f"[name=must_not_train_{harmful}]").check()
    lead.get_by_label("Why", exact=True).fill("Ten times the dose.")
    lead.get_by_role("button", name="Rule and go on").click()
    lead.get_by_text("Your ruling stands beside the votes.", exact=True).wait_for()
    lead.get_by_text("No conflicts.").wait_for()
    ruling = Adjudication.objects.get()
    assert (ruling.outcome, ruling.harm_second, ruling.must_not_train_second) == ("first", "life_threatening", True)
    assert Dispute.objects.get().state == "ruled"
    assert Judgement.objects.count() == 2, "the votes stand as they were"

    # Bob judges the other pair, so that there is something to freeze.
    raters[1].locator("#progress[data-number='2']").wait_for()
    judge(raters[1], better="Answer 1")
    saved(3, raters[1])
    trainer.goto(f"/campaigns/{made.public_id}/freeze/")
    with trainer.expect_navigation():
        trainer.get_by_role("button", name="Freeze what was looked over").click()
    after = Snapshot.objects.exclude(pk=before.pk).get()
    assert after.counts["dropped"] == {"must_not_train": 1}
    for path in export_files.folder(snapshot=after).rglob("*.jsonl"):
        assert "50 mg" not in path.read_text()
    trainer.goto(f"/snapshots/{before.public_id}/")
    trainer.get_by_text("It trains nothing any more").wait_for()
    assert lead.complaints == []
