"""History, keys and differences in real Chromium: accessible, fitting, and what a hand does there by keyboard."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pgtrigger
import pytest

from accounts.models import User
from annotation import judgements
from annotation.models import Campaign, Completion, Sample, Verdict
from tests.annotation.build import campaign, judge, lease
from tests.annotation.test_judgements import FULL
from tests.looks import faults

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Open = Callable[..., Any]


@pytest.fixture
def made(alice: User) -> Campaign:
    """Alice has answered in many ways; the pair before her holds JSON."""
    made = campaign([alice], pairs=9, toy=True)
    judgements.submit(assignment=lease(made, alice), answer=FULL, key=uuid4())
    first = judgements.submit(assignment=lease(made, alice), answer=replace(FULL, harm_second="minor"), key=uuid4())
    judgements.amend(judgement=first, answer=replace(FULL, verdict=Verdict.BOTH_ACCEPTABLE), key=uuid4())
    for verdict in (Verdict.SECOND_MUCH, Verdict.BOTH_UNACCEPTABLE, Verdict.FIRST_SLIGHTLY):
        judge(made, alice, verdict)
    judge(made, alice, Verdict.CANNOT_JUDGE, "needs_information")
    held = lease(made, alice)
    with pgtrigger.ignore("annotation.Sample:split_never_changes"):
        Sample.objects.filter(prompts=held.pair.prompt).update(output_format="json", task_type="named_entity_recognition")
    for pk, dose in ((held.pair.first_id, '"75 mg"'), (held.pair.second_id, "750")):
        drugs = f'"drugs": [{{"name": "aspirin", "dose": {dose}}}]'
        text = f'{{\n  "patient": {{"age": 71, "sex": "f"}},\n  {drugs},\n  "follow_up": "{"4" if dose == "750" else "in four"} weeks"\n}}'
        Completion.objects.filter(pk=pk).update(text=text)
    return made


def looked_at(page: Any, name: str) -> None:
    """Nothing serious by axe, no sideways scrolling, nothing complained, in every view; kept where ROUNDS_SCREENSHOTS says, for eyes."""
    assert faults(page, name) == []
    assert page.complaints == []
    assert page.strangers == []


def test_the_pages_are_accessible_and_fit(open_page: Open, alice: User, bob: User, made: Campaign) -> None:
    page = open_page(alice)
    page.goto("/rate/history/")
    page.locator("details summary", has_text="earlier").first.click()
    looked_at(page, "history")
    page.goto("/rate/history/?verdict=cannot_judge&flagged=on")
    looked_at(page, "history-filter-empty")
    page.goto(f"/rate/{lease(made, alice).public_id}/diff/?full=1")
    looked_at(page, "differences")
    page.goto("/me/keys/")
    looked_at(page, "keys")
    page.get_by_label("Take back the last answer").fill("d")
    page.get_by_label("Find in the input").fill("ab")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing was saved yet").wait_for()
    page.complaints.clear()  # Chromium reports the 422.
    looked_at(page, "keys-refused")
    empty = open_page(bob)
    empty.goto("/rate/history/")
    looked_at(empty, "history-empty")


def test_keys_are_changed_by_keyboard_alone(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    page.goto("/me/keys/")
    page.get_by_label("Take back the last answer").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("z")
    page.keyboard.press("Enter")
    page.get_by_text("Your keys are saved.").wait_for()
    alice.refresh_from_db()
    assert alice.preferences["keys"] == {"undo": "z"}
    page.get_by_role("button", name="Back to how they came").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Your keys are as they came.").wait_for()
