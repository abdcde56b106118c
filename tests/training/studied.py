"""A study that has ended, with everything an evidence pack holds: votes with harm flags, held-out pairs, suites, a decision."""

import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from accounts.models import User
from annotation import campaigns, judgements, snapshots
from annotation.models import Sample, Split, Verdict
from jobs import claims, kinds
from jobs.attempts import folder_of
from jobs.models import Job
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from tests.training.study import answer
from training import evaluations, evidence_jobs, specs, studies
from training.engine import statistics
from training.models import Evaluation, Promotion, Study, SuiteRun

RATIONALE = "The second text forgets the interaction with warfarin."


def evaluated(folder: Path, raters: Sequence[User], dan: User, *, prompts: int, judged: int = 40) -> Evaluation:
    """A finished evaluation on a snapshot's held-out part, with the outcome of every pair: four of five are ordered as labelled."""
    source = annotating.campaign(raters, pairs=prompts, name="Letters")
    annotating.rewrite(Sample.objects.all(), split=Split.EVALUATION)
    annotating.rewrite(Sample.objects.filter(pk__in=Sample.objects.order_by("pk")[:4].values("pk")), split=Split.TRAIN)
    for number in range(judged):
        annotating.judge(source, raters[number % len(raters)])
    campaigns.close(campaign=source, actor=None)
    frozen = snapshots.freeze(campaign=source, name="spring", actor=None)
    sft, dpo = build.version(folder, "ward-sft"), build.version(folder, "ward-dpo", "dpo")
    found = evaluations.start(policy=dpo, reference=sft, snapshot=frozen, actor=dan)
    pairs = [
        {"type": "pair", "id": row["id"], "margin": 0.3 if number % 5 else -0.2, "correct": float(number % 5 > 0), "prompt": row["prompt"]}
        for number, row in enumerate(specs.held_out_pairs(frozen, labels="raters"))
    ]
    build.finish(found.job, metrics={"preference_accuracy": _accuracy(found, pairs)}, items=pairs)
    found.refresh_from_db()
    return found


def _accuracy(evaluation: Evaluation, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """As the engine computes it of these outcomes (training/engine/kinds/evaluate.py)."""
    groups: dict[str, list[float]] = {}
    for row in pairs:
        groups.setdefault(repr(row["prompt"]), []).append(row["correct"])
    value = sum(row["correct"] for row in pairs) / len(pairs)
    low, high = statistics.bootstrap_mean(list(groups.values()), evaluation.job.spec["params"]["bootstrap"], evaluation.job.spec["seed"])
    wilson_low, wilson_high = statistics.wilson(round(value * len(pairs)), len(pairs))
    return {
        "value": value, "low": min(low, wilson_low), "high": max(high, wilson_high), "n": len(pairs), "ties": 0, "prompts": len(groups),
        "by_sign_alone": value,
    }  # fmt: skip


def decided(evaluation: Evaluation, raters: Sequence[User], dan: User, *, fewest: int, share: float = 0.7) -> Study:
    """A study of it in which about `share` prefer the challenger, until it ends by itself at `fewest` votes or soon after."""
    study = studies.start(evaluation=evaluation, actor=dan, raters=raters, seed=3)
    answer(study.champion_texts, "Old answer to case {}: rest and fluids.")
    answer(study.challenger_texts, "New answer to case {}: rest, fluids and a review tomorrow.")
    studies.open_when_answered(study=study)
    study.refresh_from_db()
    assert study.campaign is not None
    draw = random.Random(5)
    for number in range(fewest + 12):
        if number >= fewest and (studies.consider(campaign=study.campaign) or Study.objects.filter(pk=study.pk, state="decided").exists()):
            break
        rater = raters[number % len(raters)]
        held = annotating.lease(study.campaign, rater)
        ours = held.pair.first.batch_id == study.challenger_texts_id
        wins = ours == (draw.random() < share)
        verdict = Verdict.BOTH_ACCEPTABLE if number % 9 == 8 else Verdict.FIRST_MUCH if wins else Verdict.SECOND_SLIGHTLY
        said: dict[str, Any] = {"rationale": RATIONALE} if number % 10 == 0 else {}
        if number == 31:
            said |= {"harm_first": "major", "harm_first_type": "omission"}
        judgements.submit(assignment=held, verdict=verdict, key=uuid4(), **said)
    found = Study.objects.get(pk=study.pk)
    assert found.state == "decided"
    return found


def suites(study: Study, dan: User) -> None:
    """The mini-suite of both, item by item."""
    for version, right in ((study.champion, 3), (study.challenger, 4)):
        job = Job.objects.create(kind="suite", label="suite", spec={}, spec_digest="d" * 64, requested_by=dan)
        scores = {"entailment": [float(number % right > 0) for number in range(24)], "summary": [number / 30 for number in range(20)]}
        tasks = {
            name: {
                "metric": "exact", "higher_is_better": True, "n": len(items), "score": sum(items) / len(items), "items": items,
                "outputs_sha256": sha256(name.encode()).hexdigest(),
            }
            for name, items in scores.items()
        }  # fmt: skip
        told = {
            "schema": 1, "suite": "mini", "model": version.artifact.digest, "seed": 0, "settings": {"each": 24}, "tasks": tasks,
            "tokens_per_s": None, "p50_latency_ms": None, "peak_rss_mb": None,
        }  # fmt: skip
        SuiteRun.objects.create(
            job=job, version=version, suite="mini", settings_digest="e" * 64, results=told, finished_at=study.decided_at
        )


def packed(study: Study, actor: User | None = None) -> evidence_jobs.Made:
    """Have its pack made, carried through as the runner does, by this very process."""
    job = evidence_jobs.start(study=study, actor=actor)
    claim, kind = build.claimed(job), kinds.get(job.kind)
    folder = folder_of(job, claim.number)
    assert kind.work is not None
    result = kind.work(job, folder, lambda *told: None)
    claims.begin_publish(claim)
    claims.publish(claim, kind=kind, result=result, staged=kind.stage(job, result, folder))
    made = evidence_jobs.made(study)
    assert made is not None
    return made


def promoted(study: Study, dan: User) -> Promotion:
    """A decision that rests on the study, one gate overridden in writing."""
    version: ModelVersion = study.challenger
    gates = [
        {"code": "G2", "name": "Blinded win-rate", "passed": study.verdict == "better", "value": study.verdict, "needed": "better"},
        {
            "code": "G6",
            "name": "Replay",
            "passed": False,
            "value": "not done",
            "needed": "the same",
            "override": "Replayed by hand, see log.",
        },
    ]
    return Promotion.objects.create(
        decision="promoted", alias="champion", version=version, replaced=study.champion, evaluation=study.evaluation, study=study,
        gates=gates, reason="All gates passed or were overridden.", decided_by=dan,
    )  # fmt: skip
