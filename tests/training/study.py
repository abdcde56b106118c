"""A small study for the tests of its pages: an evaluation, raters, both models' answers, votes.

`smaller` has the same test with smaller numbers: twelve judgements at least, thirty at most.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import Role, User
from annotation import campaigns, judgements, snapshots
from annotation.models import Assignment, GenerationBatch, Judgement, Sample, Split, Verdict
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from training import evaluations, generations, studies
from training.evidence import verdict as evidence
from training.models import Evaluation, Study

Callbacks = Callable[..., Any]


def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "FEWEST", 12)
    monkeypatch.setattr(evidence, "MOST", 30)
    short = evidence.follow
    monkeypatch.setattr(evidence, "follow", lambda outcomes, **said: short(outcomes, **{"most": 30, "fewest": 12} | said))


def raters() -> list[User]:
    return [person(f"rater-{number}", Role.ANNOTATOR) for number in range(3)]


def evaluation(
    tmp_path: Path, people: list[User], actor: User, *, pairs: int = 40, models: tuple[ModelVersion, ModelVersion] | None = None
) -> Evaluation:
    """A finished evaluation of ward-dpo against ward-sft on a snapshot that `people` judged; all but four samples are held out.

    `models` are a new and an old one that can really answer.
    """
    source = annotating.campaign(people, pairs=pairs, name="Letters")
    annotating.rewrite(Sample.objects.all(), split=Split.EVALUATION)
    annotating.rewrite(Sample.objects.filter(pk__in=Sample.objects.order_by("pk")[:4].values("pk")), split=Split.TRAIN)
    for number in range(8):
        annotating.judge(source, people[number % len(people)])
    campaigns.close(campaign=source, actor=None)
    frozen = snapshots.freeze(campaign=source, name="spring", actor=None)
    dpo, sft = models or (build.version(tmp_path, "ward-dpo", "dpo"), build.version(tmp_path, "ward-sft"))
    found = evaluations.start(policy=dpo, reference=sft, snapshot=frozen, actor=actor)
    return build.finish_evaluation(found, value=0.62, low=0.55, high=0.69, n=200)


def answer(batch: GenerationBatch, told: str | Callable[[int], str]) -> None:
    """End the job that fills `batch`, with one text a prompt: `told` with the prompt's key in it, or what `told` makes of that."""
    job = generations.job_of(batch)
    assert job is not None
    write = told.format if isinstance(told, str) else told
    items = [
        {"id": str(prompt), "text": write(prompt), "finish_reason": "stop", "tokens": 9, "n": 0} for prompt in job.spec["inputs"]["prompts"]
    ]
    build.finish(job, items=items)


def answered(study: Study, commits: Callbacks) -> Study:
    """Both models have answered, and the study is open."""
    with commits(execute=True):
        answer(study.champion_texts, "Old answer to {}.")
        answer(study.challenger_texts, "New and somewhat longer answer to {}.")
    study.refresh_from_db()
    return study


def running(found: Evaluation, actor: User, commits: Callbacks) -> Study:
    return answered(studies.start(evaluation=found, actor=actor, seed=3), commits)


def vote(study: Study, rater: User, *, challenger: bool | None, **said: Any) -> Judgement:
    """One vote for the challenger, the champion, or neither (None)."""
    assert study.campaign is not None
    held = annotating.lease(study.campaign, rater)
    return judgements.submit(assignment=held, verdict=verdict_of(study, held, challenger), key=uuid4(), **said)


def verdict_of(study: Study, held: Assignment, challenger: bool | None) -> Verdict:
    if challenger is None:
        return Verdict.BOTH_ACCEPTABLE
    ours = held.pair.first.batch_id == study.challenger_texts_id
    return Verdict.FIRST_MUCH if ours == challenger else Verdict.SECOND_SLIGHTLY


def decided(study: Study, people: list[User], commits: Callbacks) -> Study:
    """The raters take turns and prefer the challenger until it is better."""
    for number in range(13):
        vote(study, people[number % 3], challenger=True, active_ms=90_000)
    with commits(execute=True):
        studies.consider(campaign=study.campaign)  # type: ignore[arg-type]
    study.refresh_from_db()
    assert study.verdict == "better"
    return study
