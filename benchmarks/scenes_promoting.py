"""From an evaluation to a promotion and back, for benchmarks/gallery.py: gates that are short, gates that have passed, two people.

The training and the votes are pretended; gates, study and decisions are the real ones.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer
    from training.models import Evaluation

NAMES = (
    "evaluation-running", "evaluation", "promotion-none", "promotion-short", "promotion", "promotion-two-people",
    "promotion-second-person", "promotion-done", "model-rolled-back",
)  # fmt: skip
PAIRS, WINS, LOSS = 460, 0.7, {"loss": 0.41, "validation_accuracy": 0.7}
ALL_THE_SAME = "A pilot on one ward, each letter read by two physicians before it is sent."


def play(camera: Photographer, dan: User) -> None:
    """One model's way through the gates to the name of champion, and the way back."""
    from accounts.models import Role
    from modelhub import aliases
    from tests.cast import person

    page = camera.of(dan)
    found = _evaluated(camera, dan, page)
    promotion = f"/models/{found.policy.public_id}/promote/"
    page.goto(f"/evaluations/{found.public_id}/")
    camera.take("evaluation", page)
    page.goto(promotion)
    page.get_by_label("Why it is promoted against").fill(ALL_THE_SAME)
    camera.take("promotion-short", page)
    aliases.move(name="champion", to=found.reference, actor=dan, expected=None, reason="The first of its family")
    _passed(found, dan)
    page.goto(promotion)
    camera.take("promotion", page)
    with camera.where(ROUNDS_TWO_PERSON_PROMOTIONS="true"):
        twice = camera.of(dan)
        twice.goto(promotion)
        camera.take("promotion-two-people", twice)
        second = camera.of(person("second-trainer", Role.TRAINER))
        second.goto(promotion)
        camera.take("promotion-second-person", second)
    page.get_by_label("Reason").fill("Better in the blinded study, no task worse.")
    page.get_by_role("button", name="Make it champion").click()
    page.get_by_text("is champion.").wait_for()
    page.goto(promotion)
    camera.take("promotion-done", page)
    page.get_by_label("Why it goes back").fill("Two wards found its letters too long.")
    page.get_by_role("button", name="Roll back to").click()
    page.get_by_text("champion again").wait_for()
    camera.take("model-rolled-back", page)


def _evaluated(camera: Photographer, dan: User, page: Any) -> Evaluation:
    """A run on a snapshot and its evaluation, photographed before and after its job."""
    from django.conf import settings

    from annotation.models import Sample, Split
    from jobs import attempts, claims
    from tests.annotation import build as annotating
    from tests.training import build
    from training import evaluations, runs
    from training.models import Run

    build.everything_runs()
    frozen = build.snapshot(pairs=PAIRS, name="autumn letters")
    sft = build.version(Path(settings.DATA_DIR) / "autumn", "autumn-sft")
    run = runs.start(snapshot=frozen, policy=sft, preset="demo", name="autumn-dpo", actor=dan)
    build.finish(run.job, metrics=LOSS, number=1009.0)
    run = Run.objects.get(pk=run.pk)
    assert run.output is not None
    page.goto(f"/models/{run.output.public_id}/promote/")
    camera.take("promotion-none", page)
    other = build.version(Path(settings.DATA_DIR) / "autumn", "autumn-sft-2")
    running = evaluations.start(policy=run.output, reference=other, snapshot=frozen, actor=dan)
    held = claims.claim(job_id=running.job.pk, worker=attempts.worker_name())
    assert held is not None
    claims.heartbeat(held, phase="answering", done=7, total=20)
    page.goto(f"/evaluations/{running.public_id}/")
    camera.take("evaluation-running", page)
    found = evaluations.start(policy=run.output, reference=sft, snapshot=frozen, actor=dan)
    build.finish_evaluation(found, value=0.63, low=0.57, high=0.69, n=224)
    # A study needs more held-out samples than the snapshot was judged on.
    annotating.rewrite(Sample.objects.filter(prompts__pairs__campaign=frozen.campaign), split=Split.EVALUATION)
    return type(found).objects.select_related("policy__run", "reference").get(pk=found.pk)


def _passed(found: Evaluation, dan: User) -> None:
    """What the other gates ask for: a study to its end, the suite of both, the run done once more."""
    from accounts.models import Role
    from benchmarks.scenes_studies import answered, judge
    from tests.cast import person
    from tests.training import build
    from training import replays, studies, suiteruns

    people = [person(f"judge-{bird}", Role.ANNOTATOR) for bird in ("dunnock", "linnet", "siskin")]
    draw = random.Random(4)
    study = answered(studies.start(evaluation=found, actor=dan, seed=3, raters=people), draw)
    judge(study, people, draw, until=400, wins=WINS, harm=0)
    for version, right in ((found.reference, 24), (found.policy, 26)):
        tasks = build.suite_result().tasks
        build.finish_suite(suiteruns.start(version=version, actor=dan), right=dict.fromkeys(tasks, right))
    build.finish(replays.start(run=found.policy.run, actor=dan).job, metrics=LOSS, number=1009.0)
