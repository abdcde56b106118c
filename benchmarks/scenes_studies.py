"""Blinded before/after studies for benchmarks/gallery.py, from the page that starts one to every way in which one ends."""

from __future__ import annotations

import random
from functools import partial
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
# Each takes a study more.
OTHER_ENDS = ("study-undecided", "study-stopped", "study-failed", "studies")
# Of decisive judgements the challenger's; of all, ties; of all, a harm flagged on the other side.
WINS, TIES, HARM = 0.66, 0.15, 0.03
ADVICE = (
    "Troponin stayed normal twice.", "The ECG showed nothing new.", "Continue bisoprolol 5 mg daily.", "Please repeat bloods in one week.",
    "A nurse's visit is booked for day 14.", "Return at once if the pain comes back at rest.", "The chest film was clear.",
)  # fmt: skip


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
    study = answered(found.studies.get(), draw)

    judge(study, people, draw, until=96)
    page.reload()
    camera.take("study-running", page)
    people[2].grants.create(role=Role.TRAINER)
    rater = camera.of(people[2])
    rater.goto(f"/studies/{study.public_id}/")
    camera.take("study-blinded", rater)
    judge(study, people, draw, until=400)
    assert study.campaign is not None
    for person in people:
        pairs = blinding.asked(study=study, rater=person)
        if person == people[2]:
            rater.goto(f"/rate/studies/{study.campaign.public_id}/")
            camera.take("study-guess", rater)
        blinding.guess(study=study, rater=person, guesses={pair.public_id: draw.choice(("left", "right", "no_idea")) for pair in pairs})
    page.goto(f"/studies/{study.public_id}/")
    camera.take("study", page)
    if not any(map(camera.wanted, OTHER_ENDS)):
        return

    level = answered(studies.start(evaluation=found, actor=dan, seed=3), draw)
    judge(level, people, draw, until=400, wins=0.5)
    page.goto(f"/studies/{level.public_id}/")
    camera.take("study-undecided", page)
    stopped = answered(studies.start(evaluation=found, actor=dan, seed=3), draw)
    judge(stopped, people, draw, until=12)
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


def answered(study: Study, draw: random.Random) -> Study:
    """Both models have answered, at lengths that overlap: the new one's answers are longer as often as not."""
    from tests.training import study as small
    from training import studies

    for batch, most in ((study.champion_texts, 5), (study.challenger_texts, 6)):
        small.answer(batch, partial(_written, draw, most))
    studies.open_when_answered(study=study)
    study.refresh_from_db()
    return study


def _written(draw: random.Random, most: int, prompt: int) -> str:
    return f"Case {prompt}. " + " ".join(draw.sample(ADVICE, draw.randint(2, most)))


def judge(study: Study, people: list[Any], draw: random.Random, *, until: int, wins: float = WINS, harm: float = HARM) -> None:
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
        said = {f"harm_{side}": "major", f"harm_{side}_type": "omission"} if draw.random() < harm else {}
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
