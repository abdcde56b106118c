"""A house in which somebody with every role rates in a blinded study, and its mirror: the same house, with each text by the other model.

In the mirror the rater's own screens are as they were: the same text on the same side, the same answer given. What differs is which
model wrote which text, and so who wins. Whatever a rater receives in both must be the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.db import connection, transaction

from accounts.models import ApiToken, Role, Scope, User
from annotation.models import Completion, ErrorSpan, GenerationBatch, Membership, Pair
from jobs.models import Job
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.accounts.house import House, furnish
from tests.annotation import build as annotating
from tests.cast import person, signed_in
from tests.training import build
from tests.training import study as studying
from training import evaluations, promotions, studies
from training.models import (
    Evaluation,
    EvaluationItem,
    LoopRound,
    MergePreview,
    Promotion,
    Run,
    RunSample,
    Study,
    SuiteRun,
)

OLD, NEW = "Old answer to {}.", "New and somewhat longer answer to {}."
STEMS = ("Old answer", "New and somewhat longer answer")


@dataclass
class Blinded:
    """`houses` are the things an address can point at: everything of the challenger's, and everything of the champion's.

    `erin` has every role and rates in the study, `dan` trains and does not.
    """

    houses: tuple[House, House]
    study: Study
    erin: User
    dan: User
    secret: str
    beside: list[GenerationBatch]
    completion: Completion
    pair: Pair | None
    judgement: int
    promotion: Promotion | None

    @property
    def identities(self) -> set[str]:
        """What names either model."""
        both = (self.study.champion, self.study.challenger)
        return {word for version in both for word in (version.name, str(version.public_id), version.artifact.digest)}

    @property
    def answers(self) -> set[str]:
        """What stands for an answer: the texts' beginnings, and every text's digest."""
        batches = (self.study.champion_texts_id, self.study.challenger_texts_id)
        return {*STEMS, *(digest[:12] for digest in Completion.objects.filter(batch__in=batches).values_list("digest", flat=True))}


def furnished(folder: Path, patch: pytest.MonkeyPatch) -> Blinded:
    """The house of test_access.py, and in it a study that both models have answered; nobody has opened it yet."""
    studying.smaller(patch)
    (folder / "first").mkdir()
    house = furnish(folder / "first")
    dan = house.people["trainer"]
    erin = person("erin", *Role.values)
    people = [erin, *studying.raters()]
    evaluation = studying.evaluation(folder, people, dan)
    challenger, champion = evaluation.policy, evaluation.reference
    aliases.move(name="champion", to=champion, actor=dan, expected=house.version, reason="For the study.")
    _texts_of(evaluation)
    run = _run(house, evaluation)
    other = evaluations.start(policy=champion, reference=house.version, snapshot=evaluation.snapshot, actor=dan, parts=("prompts",))
    other = build.finish_evaluation(other, value=0.5, low=0.4, high=0.6, n=200)
    EvaluationItem.objects.filter(evaluation=other).update(before="A base answers.")
    for item in other.items.all():
        EvaluationItem.objects.filter(pk=item.pk).update(after=OLD.format(item.prompt_id))
    study = studies.start(evaluation=evaluation, actor=dan, raters=people, seed=3)
    studying.answer(study.champion_texts, OLD)
    studying.answer(study.challenger_texts, NEW)
    beside = [_batch_beside(version, told, study) for version, told in ((champion, OLD), (challenger, NEW))]
    preview = _preview(house, study)
    token, secret = ApiToken.draw(user=erin, label="everything", scopes=Scope.values)
    token.save()
    rounds = LoopRound.objects.create(
        loop=house.round.loop, number=2, state="proposed", snapshot=evaluation.snapshot, run=run, evaluation=evaluation,
        anchor=evaluation, lineage_digest="e" * 64, gates_digest="f" * 64, proposed_at=study.created_at,
    )  # fmt: skip
    records = house.records | {
        "training_study": study, "training_evaluation": evaluation, "training_run": run, "modelhub_modelversion": challenger,
        "modelhub_artifact": challenger.artifact, "annotation_snapshot": evaluation.snapshot, "training_loopround": rounds,
        "training_mergepreview": preview, "jobs_job": studies.jobs_of(study)[1], "training_suiterun": _suite(house, challenger),
    }  # fmt: skip
    about = replace(
        house, version=challenger, run=run, evaluation=evaluation, study=study, preview=preview, snapshot=evaluation.snapshot,
        job=studies.jobs_of(study)[1], round=rounds, records=records,
    )  # fmt: skip
    against = replace(
        about, version=champion, evaluation=other, job=studies.jobs_of(study)[0],
        records=records | {"modelhub_modelversion": champion, "training_evaluation": other, "jobs_job": studies.jobs_of(study)[0]},
    )  # fmt: skip
    completion = Completion.objects.filter(batch=study.challenger_texts).earliest("pk")
    scene = Blinded((about, against), study, erin, dan, secret, beside, completion, None, 0, None)
    # Rubrics come into the house with the first form that asks for one.
    signed_in(erin).get("/campaigns/new/")
    return scene


def opened(scene: Blinded) -> Blinded:
    """The same with the study being judged: votes that favour the challenger, a flag, a decision that was refused, and Erin at a pair."""
    study = scene.study
    studies.open_when_answered(study=study)
    study.refresh_from_db()
    assert study.campaign is not None
    people = list(study.raters.order_by("pk"))
    given = []
    for number in range(9):
        harm = {"harm_first": "major", "harm_first_type": "omission"} if number == 4 else {}
        given.append(studying.vote(study, people[number % 4], challenger=number != 5, active_ms=90_000, **harm))
    held = annotating.lease(study.campaign, scene.erin)
    evaluation = study.evaluation
    refused = promotions.decide(evaluation=evaluation, actor=scene.dan, expected=study.champion)
    member = Membership.objects.get(campaign=study.campaign, user=scene.erin)
    mine = next(one for one in given if one.assignment.annotator_id == scene.erin.pk)
    for completion in (mine.assignment.pair.first, mine.assignment.pair.second):
        ErrorSpan.objects.create(judgement=mine, completion=completion, start=0, end=3, kind="wrong", severity="minor")
    records = {"annotation_campaign": study.campaign, "annotation_membership": member, "training_promotion": refused}
    houses = tuple(
        replace(house, campaign=study.campaign, assignment=held, people=house.people | {"annotator": scene.erin},
                records=house.records | records)
        for house in scene.houses
    )  # fmt: skip
    return replace(scene, houses=houses, pair=held.pair, completion=held.pair.first, judgement=mine.pk, promotion=refused)  # type: ignore[arg-type]


@contextmanager
def mirrored(scene: Blinded) -> Iterator[None]:
    """Each text of the study is the other model's inside, wherever a text is kept; undone afterwards."""
    study = scene.study
    batches = [(study.champion_texts_id, study.challenger_texts_id), tuple(batch.pk for batch in scene.beside)]
    with transaction.atomic(), connection.cursor() as cursor:
        # No trigger looks on: this is the same house, had chance fallen otherwise.
        cursor.execute("SET LOCAL session_replication_role = replica")
        for one, other in batches:
            cursor.execute(
                "UPDATE annotation_completion c SET text = o.text, digest = o.digest, tokens = o.tokens FROM annotation_completion o "
                "WHERE c.prompt_id = o.prompt_id AND (c.batch_id, o.batch_id) IN ((%(one)s, %(other)s), (%(other)s, %(one)s))",
                {"one": one, "other": other},
            )
        for table in ("slot", "assignment", "dispute"):
            cursor.execute(
                f"UPDATE annotation_{table} SET first_on_left = NOT first_on_left WHERE campaign_id = %s",
                [study.campaign_id],
            )
        cursor.execute(
            "UPDATE annotation_judgement j SET harm_first = harm_second, harm_second = harm_first, harm_first_type = harm_second_type, "
            "harm_second_type = harm_first_type, verdict = CASE WHEN verdict LIKE 'first%%' THEN replace(verdict, 'first', 'second') "
            "ELSE replace(verdict, 'second', 'first') END FROM annotation_assignment a "
            "WHERE a.id = j.assignment_id AND a.campaign_id = %s",
            [study.campaign_id],
        )
        cursor.execute(
            "UPDATE annotation_errorspan s SET completion_id = pair.first_id + pair.second_id - s.completion_id "
            "FROM annotation_judgement j JOIN annotation_assignment a ON a.id = j.assignment_id JOIN annotation_pair pair "
            "ON pair.id = a.pair_id WHERE s.judgement_id = j.id AND a.campaign_id = %s",
            [study.campaign_id],
        )
        for table, column in (
            ("training_evaluationitem", "before"), ("training_evaluationitem", "after"), ("training_runsample", "text"),
            ("training_mergepreviewanswer", "expert"), ("training_mergepreviewanswer", "merged"),
        ):  # fmt: skip
            cursor.execute(
                f'UPDATE {table} SET "{column}" = CASE WHEN "{column}" LIKE %(old)s || \'%%\' '
                f'THEN replace("{column}", %(old)s, %(new)s) ELSE replace("{column}", %(new)s, %(old)s) END',
                dict(zip(("old", "new"), STEMS, strict=True)),
            )
        if scene.promotion is not None:
            # What was decided would have been kept of this house.
            told = promotions.found(evaluation=study.evaluation, alias="champion", replaces=study.champion)
            Promotion.objects.filter(pk=scene.promotion.pk).update(gates=[gate.record() for gate in told])
        cursor.execute("SET LOCAL session_replication_role = origin")
        yield
        transaction.set_rollback(True)


def _texts_of(evaluation: Evaluation) -> None:
    """The evaluation had both write what the study shows: greedily, a model says the same of the same prompt."""
    for item in evaluation.items.all():
        said = {"before": OLD.format(item.prompt_id), "after": NEW.format(item.prompt_id)}
        EvaluationItem.objects.filter(pk=item.pk).update(**said)


def _run(house: House, evaluation: Evaluation) -> Run:
    job = Job.objects.create(kind="dpo", label="ward", spec=house.job.spec, spec_digest="f" * 64, requested_by=house.people["trainer"])
    run = Run.objects.create(
        job=job, params=house.run.params, name="ward-dpo-run", policy=evaluation.reference, reference=evaluation.reference,
        snapshot=evaluation.snapshot, output=evaluation.policy,
    )  # fmt: skip
    for index, item in enumerate(evaluation.items.all()[:2]):
        RunSample.objects.create(run=run, step=0, index=index, prompt=item.prompt, text=OLD.format(item.prompt_id))
        RunSample.objects.create(run=run, step=5, index=index, prompt=item.prompt, text=NEW.format(item.prompt_id))
    return run


def _batch_beside(version: ModelVersion, told: str, study: Study) -> GenerationBatch:
    """What a trainer had the model answer apart from the study, to the same prompts."""
    batch = GenerationBatch.objects.create(version=version, decoding={"temperature": 0.0}, seed=study.seed)
    for completion in study.champion_texts.completions.all()[:6]:
        text = told.format(completion.prompt_id)
        Completion.objects.create(batch=batch, prompt=completion.prompt, text=text, digest=f"{batch.pk:032}{completion.prompt_id:032}")
    return batch


def _preview(house: House, study: Study) -> MergePreview:
    asked = Job.objects.create(
        kind="preview", label="preview", spec={}, spec_digest="a" * 64, requested_by=house.people["trainer"], state="succeeded",
        ended_at=study.created_at,
    )  # fmt: skip
    preview = MergePreview.objects.create(job=asked, recipe=house.preview.recipe, beside=study.challenger)
    for position, completion in enumerate(study.champion_texts.completions.all()[:2]):
        prompt = completion.prompt
        preview.answers.create(
            position=position, prompt=prompt, base="A base answers.", expert=NEW.format(prompt.pk), merged="A merge answers."
        )
    return preview


def _suite(house: House, version: ModelVersion) -> SuiteRun:
    asked = Job.objects.create(kind="suite", label="suite", spec={}, spec_digest="b" * 64, requested_by=house.people["trainer"])
    return SuiteRun.objects.create(job=asked, version=version, suite="mini", settings_digest="d" * 64)
