"""Queue, card, qualification and known answers in real Chromium: in every state, both colours and on a phone, and by keyboard."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Consent, User
from annotation import campaigns, golds, sittings
from annotation.models import Campaign, Judgement, Sitting, Verdict
from tests import looks
from tests.annotation.build import campaign, judge, lease, qualification

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

Open = Callable[..., Any]
VIEWS = looks.VIEWS | looks.DARK_PHONE


def looked_at(page: Any, name: str) -> None:
    """Nothing serious by axe, no sideways scrolling, nothing complained; kept where ROUNDS_SCREENSHOTS says, for eyes."""
    assert looks.faults(page, name, VIEWS) == []
    assert page.complaints == []
    assert page.strangers == []


def busy_day(alice: User, bob: User) -> None:
    """A campaign in every state a card can have."""
    under_way = campaign([alice], pairs=12, name="A session is under way", toy=True)
    sittings.start(campaign=under_way, annotator=alice, minutes=20)
    for _ in range(3):
        judge(under_way, alice)
    Judgement.objects.update(active_ms=110_000)
    campaign([alice], pairs=30, name="Ready to start", deadline=timezone.localdate() + timedelta(days=9))
    gate = qualification([alice], pairs=8, name="The gate")
    campaign([alice], pairs=4, qualification=gate, name="Behind a qualification")
    failed = qualification([alice], pairs=2, name="The steep gate")
    campaign([alice], pairs=4, qualification=failed, name="Behind a steep one")
    for _ in range(4):
        judge(failed, alice, Verdict.SECOND_MUCH)
    shared = campaign([alice, bob], pairs=1, name="With a colleague")
    lease(shared, bob)
    campaigns.pause(campaign=campaign([alice], pairs=3, name="Paused"), actor=None)
    late = campaign([alice], pairs=3, name="Past its day")
    Campaign.objects.filter(pk=late.pk).update(deadline=timezone.localdate() - timedelta(days=2))
    done = campaign([alice], pairs=1, name="All done")
    judge(done, alice)
    closed = campaign([alice], pairs=1, name="Over")
    judge(closed, alice)
    campaigns.close(campaign=closed, actor=None)


def test_the_queue_in_every_state(open_page: Open, alice: User, bob: User) -> None:
    page = open_page(alice)
    page.goto("/rate/")
    looked_at(page, "queue-empty")
    busy_day(alice, bob)
    page.goto("/rate/")
    headings = page.locator("h2").all_inner_texts()
    assert [heading.removesuffix(" TOY").removesuffix(" toy") for heading in headings] == [
        "A session is under way", "Ready to start", "Behind a qualification", "With a colleague", "Behind a steep one", "Paused",
        "Past its day", "All done", "Closed",
    ]  # fmt: skip
    # One filled button a page: what to do next.
    assert page.locator("main .button-primary").count() == 1
    looked_at(page, "queue-busy")
    Consent.objects.update(withdrawn_at=timezone.now())
    page.goto("/rate/")
    looked_at(page, "queue-without-consent")


def test_a_session_by_keyboard_and_without_scripts(open_page: Open, alice: User) -> None:
    campaign([alice], pairs=12)
    page = open_page(alice, java_script_enabled=False)
    page.goto("/rate/")
    page.get_by_label("20 min").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("30 min").is_checked()
    page.keyboard.press("Enter")
    page.wait_for_selector("#compare")
    assert Sitting.objects.get().planned_minutes == 30
    page.goto("/rate/")
    page.get_by_role("button", name="Stop for now").press("Enter")
    page.get_by_role("heading", name="That was your session").wait_for()
    page.get_by_role("button", name="Another 10 minutes").press("Enter")
    page.wait_for_selector("#compare")
    assert Sitting.objects.latest("pk").planned_minutes == 10


def test_the_card_running_and_ended(open_page: Open, alice: User) -> None:
    made = campaign([alice], pairs=12)
    sitting = sittings.start(campaign=made, annotator=alice, minutes=20)
    page = open_page(alice)
    page.goto(f"/rate/sittings/{sitting.public_id}/")
    looked_at(page, "card-running")
    for _ in range(4):
        judge(made, alice)
    Judgement.objects.update(active_ms=107_000)
    sittings.end(sitting=sitting)
    page.reload()
    looked_at(page, "card-ended")


def test_the_qualification_at_each_stage(open_page: Open, alice: User) -> None:
    made = qualification([alice], pairs=3)
    campaign([alice], pairs=4, qualification=made, name="Behind it")
    page = open_page(alice)
    address = f"/rate/campaigns/{made.public_id}/qualification/"
    page.goto(address)
    looked_at(page, "qualification-before")
    for verdict in (Verdict.FIRST_MUCH, Verdict.SECOND_MUCH, Verdict.SECOND_MUCH):
        judge(made, alice, verdict)
    page.goto(address)
    looked_at(page, "qualification-second-try")
    for _ in range(3):
        judge(made, alice, Verdict.SECOND_MUCH)
    page.goto(address)
    looked_at(page, "qualification-failed")


def test_the_qualification_passed(open_page: Open, alice: User) -> None:
    made = qualification([alice], pairs=2)
    campaign([alice], pairs=4, qualification=made, name="Behind it")
    for _ in range(2):
        judge(made, alice)
    page = open_page(alice)
    page.goto(f"/rate/campaigns/{made.public_id}/qualification/")
    looked_at(page, "qualification-passed")


def test_known_answers_and_qualifications_for_leads(open_page: Open, alice: User, bob: User, carol: User, dan: User) -> None:
    lead, trainer = open_page(carol), open_page(dan)
    lead.goto("/qualifications/")
    looked_at(lead, "qualifications-empty")
    made = qualification([alice, bob], pairs=2)
    judge(made, bob)
    for _ in range(4):
        judge(made, alice, Verdict.SECOND_MUCH)
    lead.goto("/qualifications/")
    looked_at(lead, "qualifications")
    lead.get_by_role("link", name="Qualify for letters").click()
    looked_at(lead, "gold-qualification")
    draft = campaign([alice], pairs=3, opened=False)
    trainer.goto(f"/campaigns/{draft.public_id}/gold/")
    looked_at(trainer, "gold-draft")
    golds.mark(pair=draft.pairs.earliest("pk"), accepts=golds.FIRST, explanation="", origin="written", actor=None)
    campaigns.open(campaign=draft, actor=None)
    for _ in range(3):
        judge(draft, alice)
    trainer.goto(f"/campaigns/{draft.public_id}/gold/")
    looked_at(trainer, "gold-results")
