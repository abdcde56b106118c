"""Policy against reference, on prompts that no training has seen."""

from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation.models import Prompt, Snapshot, Split
from jobs import submissions
from jobs.models import Job
from modelhub.models import ModelVersion
from training import intervals, specs
from training.engine import presets, toytext
from training.models import Evaluation, EvaluationItem

MOST_PROMPTS = 200
QUESTIONS_EACH = 48


class NothingHeldOut(Exception):
    """The snapshot's campaign has no evaluation-split prompts: there is nothing to measure on."""


@transaction.atomic
def start(
    *, policy: ModelVersion, reference: ModelVersion, snapshot: Snapshot, actor: User, seed: int = 0, most_prompts: int = MOST_PROMPTS
) -> Evaluation:
    """Queue an evaluation of `policy` against `reference` on the evaluation split of the snapshot's campaign.

    Held-out pairs are labelled by the raters, or by the planted truth where the raters were simulated on toy texts.
    Toy models are also asked the family's exam, so that forgetting shows. Raises NothingHeldOut.
    """
    prompts = held_out_prompts(snapshot, most=most_prompts)
    if not prompts:
        raise NothingHeldOut("The snapshot's campaign has no prompts of the evaluation split.")
    planted = snapshot.simulated and snapshot.toy
    toy = policy.toy and reference.toy
    spec: dict[str, Any] = {
        "seed": seed,
        "params": specs.check("evaluate", presets.EVALUATE["demo" if toy else "clinic"]),
        "models": {"policy": {"version": policy.pk}, "reference": {"version": reference.pk}},
        "inputs": {
            "pairs": {"snapshot": snapshot.pk, "labels": "planted" if planted else "raters"} if _has_pairs(snapshot, planted) else None,
            "prompts": prompts,
            "questions": {"each": QUESTIONS_EACH} if toy else None,
        },
    }
    job = submissions.submit(
        kind="evaluate", label=f"Evaluate {policy.name} against {reference.name}", spec=spec, requested_by=actor,
        dedupe_key=f"evaluate:{policy.pk}:{reference.pk}:{snapshot.pk}",
    )  # fmt: skip
    evaluation, created = Evaluation.objects.get_or_create(
        job=job, defaults={"policy": policy, "reference": reference, "snapshot": snapshot, "simulated": planted}
    )
    if created:
        audit.record(
            actor, "evaluation.started", evaluation, policy=str(policy.public_id), reference=str(reference.public_id), prompts=len(prompts)
        )
    return evaluation


def _has_pairs(snapshot: Snapshot, planted: bool) -> bool:
    return any(True for _ in specs.held_out_pairs(snapshot, labels="planted" if planted else "raters"))


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
    """Write results and before/after texts on the (unsaved) evaluation, inside the publishing transaction."""
    texts = [item for item in items if item["type"] == "prompt"]
    EvaluationItem.objects.filter(evaluation=evaluation).delete()
    made = EvaluationItem.objects.bulk_create(
        EvaluationItem(evaluation=evaluation, position=position, prompt_id=int(item["id"]), before=item["reference"], after=item["policy"])
        for position, item in enumerate(texts, start=1)
    )
    evaluation.results = dict(metrics) | {"labels": "planted" if evaluation.simulated else "raters"}
    if evaluation.simulated:
        evaluation.results |= planted_scores(made)


def planted_scores(items: list[EvaluationItem]) -> dict[str, intervals.Share]:
    """What simulated raters look at, apart: does the new text close safely more often, is it right more often."""
    truths = dict(Prompt.objects.filter(pk__in=[item.prompt_id for item in items]).values_list("pk", "sample__output"))
    before = [toytext.planted(item.before, truths[item.prompt_id]) for item in items]
    after = [toytext.planted(item.after, truths[item.prompt_id]) for item in items]
    return {
        name: intervals.win_rate([seen[key] for seen in before], [seen[key] for seen in after])
        for name, key in (("style", "style"), ("correctness", "correct"))
    }
