"""A run done once more, by the same frozen spec and seed: does the same model come of it?

A replay makes no model version. What it made is compared and let go: it is in no list, nothing can start from it, nothing can promote it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from jobs import submissions
from jobs.models import State
from modelhub.models import ModelVersion
from training.models import Run

# How far a figure of the replay may lie from the run's, recorded with every replay: losses by `relative`, shares by `absolute`. On one
# machine the weights agree to the last bit, with one thread or two. Another processor or a GPU adds in another order; another seed moves
# the loss by more than one part in a hundred (docs/evaluation.md: measured), and must not pass for the same.
TOLERANCE = {"relative": 0.002, "absolute": 0.01}
LOSSES = ("loss", "train_loss", "validation_loss")
SHARES = ("validation_accuracy", "train_accuracy")
SAME, WITHIN, DIFFERS, UNDER_WAY, FAILED = "same", "within tolerance", "differs", "under way", "failed"


class ReplayRefused(Exception):
    """The run cannot be done once more; the message says why. Nothing was queued."""


@dataclass(frozen=True)
class Figure:
    """One figure of the run and of its replay, and how far apart they may lie."""

    name: str
    first: float
    again: float
    allowed: float

    @property
    def holds(self) -> bool:
        return abs(self.first - self.again) <= self.allowed


@dataclass(frozen=True)
class Agreement:
    """What the newest replay says: SAME (weights to the last bit), WITHIN (its figures hold), DIFFERS, UNDER_WAY or FAILED."""

    state: str
    replay: Run
    figures: list[Figure] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.state in (SAME, WITHIN)

    @property
    def said(self) -> str:
        """In words."""
        one = self.farthest
        apart = f"; {one.name} {one.first:.4f}, then {one.again:.4f} (allowed ± {one.allowed:.4f})" if one else ""
        return {
            SAME: "the same weights, to the last bit", WITHIN: f"other weights, figures within the tolerance{apart}",
            DIFFERS: f"other weights{apart}", UNDER_WAY: "being replayed", FAILED: "the replay did not finish",
        }[self.state]  # fmt: skip

    @property
    def farthest(self) -> Figure | None:
        """The figure that comes nearest to its limit, or lies farthest beyond it."""
        return max(self.figures, key=lambda one: abs(one.first - one.again) - one.allowed, default=None)


def refusal(run: Run) -> str:
    """Why a run cannot be done once more, or nothing."""
    if run.replays_id is not None:
        return f"{run.name} is a replay itself."
    if run.output_id is None:
        return f"{run.name} made no model: there is nothing to compare with."
    if run.job.stop_requested_at is not None:
        return f"{run.name} was stopped by hand and kept as it was: nobody can stop another at the very same step."
    return ""


@transaction.atomic
def start(*, run: Run, actor: User | None) -> Run:
    """Queue the frozen spec of `run` once more. One at a time: a replay that is under way is returned as it is. Raises ReplayRefused."""
    run = Run.objects.select_related("job").select_for_update(of=("self",)).get(pk=run.pk)
    if why := refusal(run):
        raise ReplayRefused(why)
    newest = newest_of(run)
    if newest is not None and not newest.job.ended:
        return newest
    # Only what the engine never reads is added: it gets the same parameters, seed, models and rows.
    spec = run.job.spec | {"replay": {"of": str(run.job.public_id), "tolerance": TOLERANCE}}
    job = submissions.submit(kind=run.job.kind, label=f"Replay {run.name}", spec=spec, requested_by=actor, dedupe_key=f"replay:{run.pk}")
    try:
        with transaction.atomic():
            replay = Run.objects.create(
                job=job, name=_name(run), preset=run.preset if run.snapshot_id else "", params=run.params, seed=run.seed, policy=run.policy,
                reference=run.reference, snapshot=run.snapshot, replays=run,
            )  # fmt: skip
    except IntegrityError:
        raise ReplayRefused(f"Somebody else has just asked for a replay of {run.name}.") from None
    audit.record(actor, "run.replayed", replay, of=run.name, spec=run.job.spec_digest)
    return replay


def _name(run: Run) -> str:
    return f"{run.name[:66]}-replay-{run.replayed_by.count() + 1}"


def newest_of(run: Run) -> Run | None:
    return run.replayed_by.select_related("job").order_by("-pk").first()


def made(*, artifact: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """What a replay's job keeps of what it made, in place of a version."""
    return {"replayed": {"artifact": artifact, "metrics": {name: metrics[name] for name in (*LOSSES, *SHARES) if name in metrics}}}


def agreement(run: Run) -> Agreement | None:
    """How the newest replay of `run` compares; None while there is none. Two queries."""
    newest = newest_of(run)
    return None if newest is None or run.output is None else compared(newest, run.output)


def compared(replay: Run, output: ModelVersion) -> Agreement:
    """A replay beside the version that its run made."""
    job = replay.job
    if job.state != State.SUCCEEDED:
        return Agreement(FAILED if job.ended else UNDER_WAY, replay)
    told = (job.result or {}).get("replayed", {})
    allowed = job.spec["replay"]["tolerance"]
    figures = _figures(output.metrics, told.get("metrics", {}), allowed)
    if told.get("artifact") == output.artifact.digest:
        return Agreement(SAME, replay, figures)
    return Agreement(WITHIN if figures and all(one.holds for one in figures) else DIFFERS, replay, figures)


def _figures(first: dict[str, Any], again: dict[str, Any], allowed: dict[str, float]) -> list[Figure]:
    """Figures that either has, held against each other; one that the other lacks holds never."""
    found = []
    for name in (*LOSSES, *SHARES):
        if name not in first and name not in again:
            continue
        one, other = (float(side.get(name, math.nan)) for side in (first, again))
        found.append(Figure(name, one, other, allowed["relative"] * abs(one) if name in LOSSES else allowed["absolute"]))
    return found
