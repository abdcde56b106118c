"""Policy against reference, on prompts that no training has seen."""

from collections.abc import Collection
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation.models import Corpus, Prompt, Snapshot, Split
from jobs import submissions
from jobs.models import Job
from modelhub.models import ModelVersion
from training import intervals, specs, unseen
from training.engine import presets, toysamples
from training.models import Evaluation, EvaluationItem, EvaluationPair

MOST_PROMPTS = 200
QUESTIONS_EACH = 48
PARTS = ("pairs", "prompts", "questions")


class NothingHeldOut(Exception):
    """The snapshot's campaign has no evaluation-split prompts: there is nothing to measure on."""


@transaction.atomic
def start(
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    snapshot: Snapshot | None,
    actor: User | None,
    seed: int = 0,
    most_prompts: int = MOST_PROMPTS,
    parts: Collection[str] = PARTS,
) -> Evaluation:
    """Queue an evaluation of `policy` against `reference` on the evaluation split of the snapshot's campaign.

    `parts`: "pairs", held-out preferences, labelled by the raters, or by the planted truth where all raters were simulated on toy texts and
    none was held out; "prompts", texts before and after; "questions", the family's exam, so that forgetting shows (toy models only).
    Without a snapshot there is only the exam. Raises NothingHeldOut when nothing is left to measure on.
    """
    toy = policy.toy and reference.toy
    labels = "planted" if snapshot and snapshot.planted else "raters"
    inputs: dict[str, Any] = {
        "pairs": {"snapshot": snapshot.pk, "labels": labels} if snapshot and "pairs" in parts and _has_pairs(snapshot, labels) else None,
        "prompts": held_out_prompts(snapshot, most=most_prompts) if snapshot and "prompts" in parts else [],
        "questions": {"each": QUESTIONS_EACH} if toy and "questions" in parts else None,
    }
    if not (inputs["pairs"] or inputs["prompts"] or (inputs["questions"] and not snapshot)):
        raise NothingHeldOut("The snapshot's campaign has no prompts of the evaluation split.")
    return _queued(
        policy=policy, reference=reference, snapshot=snapshot, simulated=bool(snapshot and snapshot.simulated), inputs=inputs,
        actor=actor, seed=seed, label=f"Evaluate {policy.name} against {reference.name}",
        dedupe_key=f"evaluate:{policy.pk}:{reference.pk}:{snapshot.pk if snapshot else 0}",
    )  # fmt: skip


@transaction.atomic
def on_corpus(
    *, policy: ModelVersion, reference: ModelVersion, corpus: Corpus, actor: User | None, most: int = 200, seed: int = 0
) -> Evaluation:  # fmt: skip
    """Queue a comparison on questions about a corpus's held-out documents: which of four answers, and how likely the right one.

    Raises NothingHeldOut when its evaluation split has too few documents with questions.
    """
    if not specs.choices(corpus, most=1):
        raise NothingHeldOut(f"{corpus.name} has too few held-out documents with questions to ask.")
    return _queued(
        policy=policy, reference=reference, snapshot=None, simulated=False, actor=actor, seed=seed,
        inputs={"prompts": [], "choices": {"corpus": corpus.pk, "digest": corpus.digest, "most": most}},
        label=f"Ask {policy.name} and {reference.name} about {corpus.name}",
        dedupe_key=f"choices:{policy.pk}:{reference.pk}:{corpus.pk}",
    )  # fmt: skip


def of_champion(*, evaluation: Evaluation, champion: ModelVersion, actor: User | None) -> Evaluation:
    """Queue `champion` on the held-out pairs of `evaluation`, against the same reference: what the gate holds the policy's share against.

    Raises NothingHeldOut for an evaluation without a snapshot.
    """
    if evaluation.snapshot is None:
        raise NothingHeldOut("The evaluation asked no held-out pairs.")
    return start(policy=champion, reference=evaluation.reference, snapshot=evaluation.snapshot, actor=actor, parts=("pairs",))


def _queued(
    *, policy: ModelVersion, reference: ModelVersion, snapshot: Snapshot | None, simulated: bool, inputs: dict[str, Any], label: str,
    dedupe_key: str, actor: User | None, seed: int,
) -> Evaluation:  # fmt: skip
    """The evaluation and its job; one that is under way already is returned as it is."""
    job = submissions.submit(
        kind="evaluate",
        label=label,
        spec={
            "seed": seed,
            "params": specs.check("evaluate", presets.EVALUATE["demo" if policy.toy and reference.toy else "clinic"]),
            "models": {"policy": {"version": policy.pk}, "reference": {"version": reference.pk}},
            "inputs": inputs,
        },
        requested_by=actor,
        dedupe_key=dedupe_key,
    )
    evaluation, created = Evaluation.objects.get_or_create(
        job=job, defaults={"policy": policy, "reference": reference, "snapshot": snapshot, "simulated": simulated}
    )
    if created:
        audit.record(actor, "evaluation.started", evaluation, policy=str(policy.public_id), reference=str(reference.public_id))
    return evaluation


def _has_pairs(snapshot: Snapshot, labels: str) -> bool:
    return any(True for _ in specs.held_out_pairs(snapshot, labels=labels))


def held_out_prompts(snapshot: Snapshot, *, most: int) -> list[int]:
    """Ids of evaluation-split prompts of the snapshot's campaign, in the order its pairs were handed out."""
    found = (
        Prompt.objects.filter(pairs__campaign=snapshot.campaign, sample__split=Split.EVALUATION)
        .order_by("pairs__position")
        .values_list("pk", flat=True)
    )
    return list(dict.fromkeys(found))[:most]


def of_version(version: ModelVersion) -> list[Evaluation]:
    """Every evaluation in which `version` is the policy, newest first."""
    return list(Evaluation.objects.filter(policy=version).select_related("job", "reference"))


def of_job(job: Job) -> Evaluation:
    return Evaluation.objects.select_for_update().get(job=job)


def fill(*, evaluation: Evaluation, metrics: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Write results, before/after texts and what came of each held-out pair, inside the publishing transaction.

    `evaluation` itself is not saved.
    """
    texts = [item for item in items if item["type"] == "prompt"]
    EvaluationItem.objects.filter(evaluation=evaluation).delete()
    made = EvaluationItem.objects.bulk_create(
        EvaluationItem(evaluation=evaluation, position=position, prompt_id=int(item["id"]), before=item["reference"], after=item["policy"])
        for position, item in enumerate(texts, start=1)
    )
    EvaluationPair.objects.filter(evaluation=evaluation).delete()
    EvaluationPair.objects.bulk_create(
        EvaluationPair(
            evaluation=evaluation, position=position, pair_id=int(item["id"]), margin=item["margin"], correct=item["correct"]
        )
        for position, item in enumerate((item for item in items if item["type"] == "pair"), start=1)
    )  # fmt: skip
    evaluation.results = dict(metrics) | {"labels": "planted" if evaluation.planted else "raters"}
    evaluation.results |= unseen.measured(evaluation=evaluation, items=items)
    if evaluation.snapshot is not None and evaluation.snapshot.simulated and evaluation.snapshot.toy:
        evaluation.results |= planted_scores(made)


def planted_scores(items: list[EvaluationItem]) -> dict[str, intervals.Share]:
    """What simulated raters look at, apart: does the new text close safely more often, is it right more often."""
    truths = dict(Prompt.objects.filter(pk__in=[item.prompt_id for item in items]).values_list("pk", "sample__output"))
    before = [toysamples.planted(item.before, truths[item.prompt_id]) for item in items]
    after = [toysamples.planted(item.after, truths[item.prompt_id]) for item in items]
    return {
        name: intervals.win_rate([seen[key] for seen in before], [seen[key] for seen in after])
        for name, key in (("style", "style"), ("correctness", "correct"))
    }
