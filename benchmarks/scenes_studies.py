"""Blinded before/after studies for benchmarks/gallery.py, from the page that starts one to every way in which one ends."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer
    from training.models import Study

NAMES = (
    "study-start", "study-refused", "study-answering", "study-running", "study-blinded", "study-guess", "study", "study-undecided",
    "study-stopped", "study-failed", "studies",
)  # fmt: skip
# Of decisive judgements the challenger's; of all, ties; of all, a harm flagged on the other side.
WINS, TIES, HARM = 0.66, 0.15, 0.03


def play(camera: Photographer, dan: User) -> None:
    """Three clinicians judge what two pretended models wrote, by chance; their verbs and pages are the real ones."""
    from accounts.models import Role
    from tests.training import build
    from tests.training import study as small
    from training import blinding, studies

    people = small.raters()
    folder = Path(mkdtemp(prefix="rounds-study-"))
    models = build.version(folder, "letters-dpo", "dpo"), build.version(folder, "letters-sft")
    found = small.evaluation(folder, people, dan, pairs=300, models=models)
    draw = random.Random(4)
    page = camera.of(dan)
    address = f"/evaluations/{found.public_id}/study/"
    page.goto(address)
    camera.take("study-start", page)
    page.locator("[name=raters]").first.check()
    page.get_by_role("button", name="Start the blinded study").click()
    camera.take("study-refused", page)
    page.goto(f"/evaluations/{found.public_id}/")
    page.get_by_role("button", name="Start the blinded study").click()
    page.wait_for_url("**/studies/*/")
    camera.take("study-answering", page)
    study = small.answered(found.studies.get(), lambda **_: nullcontext())

    _judge(study, people, draw, until=96)
    page.reload()
    camera.take("study-running", page)
    people[2].grants.create(role=Role.TRAINER)
    rater = camera.of(people[2])
    rater.goto(f"/studies/{study.public_id}/")
    camera.take("study-blinded", rater)
    _judge(study, people, draw, until=400)
    assert study.campaign is not None
    for person in people:
        pairs = blinding.asked(study=study, rater=person)
        if person == people[2]:
            rater.goto(f"/rate/studies/{study.campaign.public_id}/")
            camera.take("study-guess", rater)
        blinding.guess(study=study, rater=person, guesses={pair.public_id: draw.choice(("left", "right", "no_idea")) for pair in pairs})
    page.goto(f"/studies/{study.public_id}/")
    camera.take("study", page)

    level = small.running(found, dan, lambda **_: nullcontext())
    _judge(level, people, draw, until=400, wins=0.5)
    page.goto(f"/studies/{level.public_id}/")
    camera.take("study-undecided", page)
    stopped = small.running(found, dan, lambda **_: nullcontext())
    _judge(stopped, people, draw, until=12)
    studies.stop(study=stopped, actor=dan, reason="The second ward joins: started again with its raters.")
    page.goto(f"/studies/{stopped.public_id}/")
    camera.take("study-stopped", page)
    failed = studies.start(evaluation=found, actor=dan)
    small.answer(failed.champion_texts, "The same answer to {}.")
    small.answer(failed.challenger_texts, "The same answer to {}.")
    page.goto(f"/studies/{failed.public_id}/")
    camera.take("study-failed", page)
    page.goto("/studies/")
    camera.take("studies", page)


def _judge(study: Study, people: list[Any], draw: random.Random, *, until: int, wins: float = WINS) -> None:
    """The people take turns until so many judgements are in, nothing is left, or the study has ended."""
    from uuid import uuid4

    from annotation import assignments, judgements
    from tests.training import study as small
    from training import studies

    given = studies.counted(study).count()
    for number in range(until - given):
        study.refresh_from_db()
        if study.state != "running" or study.campaign is None:
            return
        held = assignments.lease_next(campaign=study.campaign, annotator=people[number % len(people)])
        if held is None:
            continue
        challenger = None if draw.random() < TIES else draw.random() < wins
        side = draw.choice(("first", "second"))
        said = {f"harm_{side}": "major", f"harm_{side}_type": "omission"} if draw.random() < HARM else {}
        verdict = small.verdict_of(study, held, challenger)
        judgements.submit(
            assignment=held,
            verdict=verdict,
            key=uuid4(),
            active_ms=draw.randint(60_000, 200_000),
            rationale="Seen twice." if said else "",
            **said,
        )
    study.refresh_from_db()
