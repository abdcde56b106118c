"""Scenes for benchmarks/gallery.py: texts come in, campaigns are planned, followed to their end and looked back on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.scenes_house import House, before, in_days, jsonl

if TYPE_CHECKING:
    from accounts.models import User
    from annotation.models import Campaign, GenerationBatch

SOURCE = "First pairs"
# How the raters of the open campaign answer: a planted order of quality with slips, as simulated raters do.
SIMULATED_PAIRS = 130


def planning(house: House) -> None:
    from annotation import completions, samples
    from annotation.models import GenerationBatch
    from training.engine import toysamples

    samples.import_jsonl(
        file=jsonl({"id": name, **row["sample"]} for name, row in house.rows.items()),
        source=SOURCE,
        licence="Apache-2.0",
        actor=house.dan,
    )
    names = {"demo-a": "north", "demo-b": "south"}
    completions.import_external(
        file=jsonl(
            {"id": name, "system": names[one["system"]], "text": one["text"]}
            for name, row in house.rows.items()
            for one in row["completions"]
        ),
        filename="texts.jsonl", source=SOURCE, actor=house.dan,
    )  # fmt: skip
    house.batches: list[GenerationBatch] = list(GenerationBatch.objects.order_by("pk"))

    toys = [row for row in toysamples.samples(480, 5, with_rejected=True) if row["output_format"] == "plain_text"][:400]
    samples.import_jsonl(
        file=jsonl({"id": f"toy-{n}", **row} for n, row in enumerate(toys)), source="Toy texts", licence="Apache-2.0", actor=house.dan
    )
    # Three systems that are right in a planted share of their answers.
    shares = {"system P": 0.9, "system Q": 0.7, "system R": 0.4}
    written = []
    for n, row in enumerate(toys):
        # No two of a sample close alike: texts that are the same are no pair.
        closings = house.draw.sample([*toysamples.HEDGES, *toysamples.BLUNT], len(shares))
        for (system, share), closing in zip(shares.items(), closings, strict=True):
            text = row["output" if house.draw.random() < share else "rejected_output"]
            written.append({"id": f"toy-{n}", "system": system, "text": f"{text} {closing}"})
    completions.import_external(file=jsonl(written), filename="toys.jsonl", source="Toy texts", actor=house.dan)
    house.toys: list[GenerationBatch] = list(GenerationBatch.objects.exclude(pk__in=[batch.pk for batch in house.batches]).order_by("pk"))

    page = house.camera.of(house.dan)
    _fill_in(house, page, house.toys[:2], name="Discharge letters, autumn", overlap="1")
    house.camera.take("campaign-new", page)
    _fill_in(house, page, house.batches, name="Discharge letters, pilot", overlap="1")
    house.camera.take("campaign-warning", page)
    for fold in page.locator("form.form > details").all():
        fold.evaluate("one => { one.open = true; }")
    page.locator("input[name=selection][value=informative]").check()
    page.get_by_role("button", name="Make the pairs").click()
    page.wait_for_selector(".notice-danger, .error")
    page.locator(".notice-danger, .error").first.scroll_into_view_if_needed()
    house.camera.take("campaign-refused", page)


def _fill_in(house: House, page: Any, batches: list[GenerationBatch], *, name: str, overlap: str) -> None:
    page.goto("/campaigns/new/")
    page.locator("input[name=name]").fill(name)
    for batch in batches:
        page.locator(f"input[name=batches][value='{batch.pk}']").check()
    for member in (house.alice, house.bob, house.erin):
        page.locator(f"input[name=members][value='{member.pk}']").check()
    page.locator("details", has=page.locator("input[name=overlap]")).last.evaluate("one => { one.open = true; }")
    page.locator("input[name=overlap]").fill(overlap)
    page.locator("input[name=overlap]").blur()
    page.wait_for_selector("#plan dl")
    page.wait_for_timeout(600)
    page.evaluate("scrollTo(0, 0)")


def following(house: House) -> None:
    from annotation import campaigns, rubrics, snapshots

    here = f"/campaigns/{house.letters.public_id}/"
    house.show("progress-small", house.carol, f"{here}progress/")
    draft = house.campaign("Clinic letters, next round", [house.alice, house.bob], opened=False, predecessor=None)
    house.show("campaign-draft", house.dan, f"/campaigns/{draft.public_id}/")
    house.show("campaign", house.dan, here)
    house.show("campaign-members", house.dan, f"{here}members/")
    house.show("campaign-paused", house.dan, f"/campaigns/{house.paused.public_id}/")

    raters = _simulated_raters(house)
    toys = house.campaign(
        "Toy answers, three systems", raters, batches=house.toys, overlap=3, limit=SIMULATED_PAIRS + 20, seed=3, simulated=True,
        toy=True, repeat_share=0.1, repeat_after_hours=0, deadline=in_days(9),
    )  # fmt: skip
    _simulate(house, toys, raters)
    house.show("progress", house.carol, f"/campaigns/{toys.public_id}/progress/")
    house.show("calibration", house.carol, f"/campaigns/{toys.public_id}/calibration/")
    campaigns.close(campaign=toys, actor=house.dan)
    snapshots.freeze(campaign=toys, name="Toy answers, frozen", actor=house.dan)
    house.show("progress-closed", house.dan, f"/campaigns/{toys.public_id}/progress/")
    house.show("campaign-closed", house.dan, f"/campaigns/{toys.public_id}/")

    rubrics.ensure()
    template = rubrics.template("T2")
    content = json.loads(json.dumps(template.content))
    content["axes"][0]["help"] = "Which one keeps more of what the next clinician has to act on?"
    content["axes"] = [axis for axis in content["axes"] if axis["key"] != "conciseness"]
    edited = rubrics.next_version(rubric=template, name=template.name, content=content, actor=house.dan)
    house.show("rubrics", house.dan, "/rubrics/")
    house.show("rubric", house.dan, f"/rubrics/{edited.pk}/")
    page = house.camera.of(house.dan)
    page.goto(f"/rubrics/{edited.pk}/edit/")
    content["axes"][0]["scale"] = "stars"
    page.locator("textarea[name=content]").fill(json.dumps(content, indent=2))
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".error, .notice-danger")
    house.camera.take("rubric-error", page)
    house.show("campaigns", house.dan, "/campaigns/")


def _simulated_raters(house: House) -> list[User]:
    from training import raters

    return raters.ensure(4)


def _simulate(house: House, campaign: Campaign, people: list[User]) -> None:
    """Simulated raters answer in turns, with times and now and then a slip; then the days are spread over three weeks."""
    import pgtrigger

    from annotation import judgements
    from annotation.models import Assignment, Judgement
    from training import raters

    given = 0
    slips = {person.pk: slip for person, slip in zip(people, (0.06, 0.1, 0.16, 0.22), strict=True)}
    while given < 3 * SIMULATED_PAIRS:
        for person in people:
            held = house.next(campaign, person)
            if held is None:
                return
            verdict, _ = raters.opinion(held, slip=slips[person.pk], seed=3)
            spent = int(1000 * house.draw.lognormvariate(4.2, 0.5))
            judgements.submit(assignment=held, verdict=judgements.by_side(held, verdict), key=uuid4(), active_ms=spent)
            given += 1
    rows = list(Judgement.objects.filter(assignment__campaign=campaign).order_by("pk"))
    # Answers never change, and so their times; a picture of three weeks is made in seconds all the same.
    with pgtrigger.ignore("annotation.Judgement:answers_never_change"):
        for place, row in enumerate(rows):
            when = before(minutes=int(20 * 24 * 60 * (1 - place / len(rows)) ** 0.8))
            Judgement.objects.filter(pk=row.pk).update(submitted_at=when)
            Assignment.objects.filter(pk=row.assignment_id).update(submitted_at=when)
    type(campaign).objects.filter(pk=campaign.pk).update(opened_at=before(minutes=20 * 24 * 60 + 30))


def looking_back(house: House) -> None:
    _pretended_training(house)
    house.show("impact", house.alice, "/me/impact/")
    house.show("people", house.ada, "/users/")
    house.show("person", house.ada, f"/users/{house.alice.pk}/")
    house.show("consent-texts", house.sam, "/consent-texts/")
    house.show("audit", house.ada, "/audit/")


def _pretended_training(house: House) -> None:
    """A campaign of alice's closed, frozen, trained on and compared; the training itself is pretended, as in the tests."""
    from django.conf import settings

    from annotation import campaigns, judgements, snapshots
    from tests.training import build
    from training import evaluations, raters, runs
    from training.models import Run

    made = house.campaign("Short answers, spring", [house.alice], batches=house.toys[:2], limit=60, toy=True)
    while (held := house.next(made, house.alice)) is not None:
        verdict, _ = raters.opinion(held, slip=0.05, seed=3)
        spent = house.draw.randint(40_000, 90_000)
        judgements.submit(assignment=held, verdict=judgements.by_side(held, verdict), key=uuid4(), active_ms=spent)
    campaigns.close(campaign=made, actor=house.dan)
    frozen = snapshots.freeze(campaign=made, name="Short answers, frozen", actor=house.dan)
    build.everything_runs()
    policy = build.version(Path(settings.DATA_DIR), "sft-1")
    run = runs.start(snapshot=frozen, policy=policy, preset="demo", name="dpo-1", actor=house.dan)
    build.finish(run.job)
    run = Run.objects.get(pk=run.pk)
    assert run.output is not None
    assert run.policy is not None
    compared = evaluations.start(policy=run.output, reference=run.policy, snapshot=frozen, actor=house.dan)
    build.finish_evaluation(compared, value=0.61, low=0.54, high=0.67, n=212)
