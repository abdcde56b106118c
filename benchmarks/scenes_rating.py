"""Scenes for benchmarks/gallery.py: the clinician qualifies, compares, and sees what waits and what was answered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.scenes_house import FIRST_PAIRS, House, before, in_days

if TYPE_CHECKING:
    from annotation.models import Assignment

# Pairs whose texts show at a glance what the screen is for.
READABLE = {"first-01", "first-02", "first-15", "first-16"}


def qualifying(house: House) -> None:
    from annotation import golds

    explained = json.loads((FIRST_PAIRS / "expected.json").read_text(encoding="utf-8"))
    tasks = ["relation extraction", "classification", "reasoning & diagnosis", "textual entailment"]
    gate = house.campaign(
        "Qualification: letters and notes", [house.alice, house.bob, house.erin], purpose="qualify", task_types=tasks, opened=False
    )
    for pair in gate.pairs.select_related("prompt__sample", "first", "second").order_by("position"):
        name = pair.prompt.sample.external_id
        row = house.rows[name]
        flawed = next(one["text"] for one in row["completions"] if one["system"] == row["flawed"])
        accepts = golds.SECOND if pair.first.text == flawed else golds.FIRST
        golds.mark(pair=pair, accepts=accepts, explanation=explained[name], origin="written", actor=house.dan)
    from annotation import campaigns

    house.gate = campaigns.open(campaign=gate, actor=house.dan)
    house.behind = house.campaign(
        "Consultation notes", [house.alice, house.bob], task_types=["text simplification", "text expansion"], qualification=house.gate
    )
    here = f"/rate/campaigns/{house.gate.public_id}/qualification/"
    page = house.show("qualification", house.alice, here)
    page.get_by_role("button", name="Start").first.click()
    page.wait_for_selector("#compare")
    page.keyboard.press("1")
    page.wait_for_selector("#compare input[name=verdict]:checked", state="attached")
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")
    page.wait_for_selector(".feedback")
    house.camera.take("compare-feedback", page)
    total = house.gate.pairs.count()
    for _ in range(total):
        house.answer(house.lease(house.gate, house.bob))
    house.show("qualification-passed", house.bob, here)
    for attempt in ("first", "second"):
        for _ in range(total):
            house.answer(house.lease(house.gate, house.erin), right=False)
        if attempt == "first":
            house.show("qualification-again", house.erin, here)
    house.show("qualifications", house.carol, "/qualifications/")
    house.show("gold", house.carol, f"/campaigns/{house.gate.public_id}/gold/")


def comparing(house: House) -> None:
    from annotation.models import Draft

    raters = [house.alice, house.bob, house.erin]
    house.letters = house.campaign(
        "Discharge letters and notes", raters, overlap=2, repeat_share=0.1, rationale_when=["both_unacceptable", "flag"],
        deadline=in_days(12), hourly_cost=95,
    )  # fmt: skip
    house.show("progress-empty", house.carol, f"/campaigns/{house.letters.public_id}/progress/")
    held, answered = house.lease(house.letters, house.alice), 0
    while answered < 5 or held.pair.prompt.sample.external_id not in READABLE:
        house.answer(held, much=house.draw.random() < 0.6)
        held, answered = house.lease(house.letters, house.alice), answered + 1
    page = house.camera.of(house.alice)
    here = f"/rate/{held.public_id}/"

    def fresh() -> None:
        page.goto("/rate/history/")
        page.wait_for_timeout(250)
        Draft.objects.all().delete()
        page.goto(here)
        page.wait_for_selector("#compare")
        page.wait_for_timeout(250)

    def photo(name: str, *keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)
            page.wait_for_timeout(120)
        house.camera.take(name, page)

    fresh()
    photo("compare")
    photo("compare-verdict", "1")
    photo("compare-reasons", "r", "1", "2")
    fresh()
    photo("compare-flag", "1", "Shift+B", "2")
    fresh()
    photo("compare-mark", "j", "j", "m")
    photo("compare-marked", "1", "2")
    fresh()
    photo("compare-diff", "d")
    fresh()
    page.keyboard.press("1")
    page.keyboard.press("e")
    page.wait_for_timeout(300)
    area = page.locator("textarea[name=edited]")
    area.evaluate("one => { one.setSelectionRange(one.value.length, one.value.length); }")
    area.press_sequentially(" Please confirm the date.")
    page.wait_for_timeout(1200)
    photo("compare-edit")
    fresh()
    page.keyboard.press("/")
    page.keyboard.type("mg")
    photo("compare-find", "Enter")
    fresh()
    photo("compare-cannot", "s")
    fresh()
    photo("compare-help", "?")
    fresh()
    _running_out(house, held, timedelta(seconds=55))
    page.goto(here)
    house.camera.take("compare-lease", page, settle_ms=1300)
    _running_out(house, held, timedelta(minutes=25))

    plain = house.camera.of(house.alice, java_script_enabled=False)
    plain.goto(here)
    plain.locator("label.verdict", has=plain.locator("input[value=both_unacceptable]")).click()
    plain.locator("button.verdict-submit").click()
    plain.wait_for_selector("#compare .notice-danger")
    house.camera.take("compare-error", plain)

    fresh()
    page.wait_for_timeout(1500)
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_timeout(600)
    page.keyboard.press("Enter")
    page.wait_for_timeout(2500)
    house.camera.take("compare-offline", page)
    page.context.set_offline(False)
    page.wait_for_function("() => document.querySelector('#unsent').hidden", timeout=60_000)
    page.goto("/rate/history/")

    asked = house.campaign("Entities and phrases as JSON", raters, task_types=["aspect-oriented keyword extraction"])
    held = house.lease(asked, house.alice)
    page = house.show("compare-json", house.alice, f"/rate/{held.public_id}/")
    house.answer(held)


def _running_out(house: House, held: Assignment, left: timedelta) -> None:
    from django.utils import timezone

    from annotation.models import Assignment

    Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() + left)


def queueing(house: House) -> None:
    from annotation import campaigns, judgements, sittings
    from annotation.answers import Answer
    from annotation.models import Judgement, Sitting

    short = house.campaign("Referral letters", [house.alice], task_types=["summarization", "question-answering"], deadline=in_days(3))
    sitting = sittings.start(campaign=short, annotator=house.alice, minutes=10)
    for _ in range(4):
        house.answer(house.lease(short, house.alice))
    Sitting.objects.filter(pk=sitting.pk).update(started_at=before(minutes=9))
    page = house.camera.of(house.alice)
    page.goto(f"/rate/sittings/{sitting.public_id}/")
    page.get_by_role("button", name="Stop for now").click()
    page.get_by_role("heading", name="That was your session").wait_for()
    house.camera.take("sitting", page)

    tasks = ["note scoring"]
    shared = house.campaign("Note scores", [house.alice, house.bob], task_types=tasks)
    late = house.lease(shared, house.alice)
    _running_out(house, late, timedelta(minutes=-3))
    house.lease(shared, house.bob)
    house.show("compare-late", house.alice, f"/rate/{late.public_id}/")
    paused = house.campaign("Error correction", [house.alice], task_types=["error detection & correction"])
    campaigns.pause(campaign=paused, actor=house.dan)
    done = house.campaign("Abbreviations", [house.alice], task_types=["abbreviation expansion"])
    house.answer(house.lease(done, house.alice))
    over = house.campaign("Entities, pilot", [house.alice], task_types=["named entity recognition"])
    held = house.lease(over, house.alice)
    page.goto(f"/rate/{held.public_id}/")
    page.keyboard.press("d")
    house.camera.take("compare-json-diff", page)
    page.goto("/rate/history/")
    house.answer(held)
    campaigns.close(campaign=over, actor=house.dan)
    house.show("queue", house.alice, "/rate/")
    first = Judgement.objects.filter(assignment__campaign=short).select_related("assignment__pair").earliest("pk")
    answer = Answer(verdict="both_acceptable", reasons=("wording",), rationale="Either would do.")
    judgements.amend(judgement=first, answer=answer, key=uuid4())
    house.show("history", house.alice, "/rate/history/")
    house.show("history-none", house.alice, "/rate/history/?flagged=on&verdict=both_unacceptable")
    house.show("keys", house.alice, "/me/keys/")
    house.paused = paused
