"""Round 0: the model a loop began with, and how a proposed one stands to it.

Held against the champion alone, each round may lose a little that no gate sees. Against the first model all of it shows (product.md 2.12:
evaluation always against the champion *and* the round-0 anchor). It is told beside the gates and is none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annotation import campaigns
from modelhub.models import ModelVersion
from training import gates, shapes, suiteruns
from training.evidence.figures import LONG, SHORT
from training.models import Evaluation, LoopPolicy, LoopRound, LoopRoundQuerySet, RoundState, SuiteRun


def so_far(loop: LoopPolicy) -> LoopRoundQuerySet:
    """The rounds of this loop and of those of the campaigns that its campaign follows: a derived campaign goes on with the loop."""
    return LoopRound.objects.filter(loop__campaign__in=campaigns.chain(loop.campaign)).order_by("pk")


def first_model(one: LoopRound) -> ModelVersion:
    """What the first round that came to anything, or is under way, has started from: for that round itself, its own start."""
    began = so_far(one.loop).filter(run__policy__isnull=False).exclude(state=RoundState.FAILED).select_related("run__policy__artifact")
    first = began.first()
    assert first is not None  # at the least it is `one` itself
    assert first.run is not None
    assert first.run.policy is not None
    return first.run.policy


# --- how a proposal stands to it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One figure against the champion and against round 0, in words; `lost` says that against round 0 it is worse beyond its margin."""

    name: str
    champion: str
    first: str
    lost: bool = False


def beside(one: LoopRound, asked: Sequence[SuiteRun]) -> list[Line]:
    """What was found of the proposed model, against the champion and against round 0's; nothing while they are the same model, or while
    one of both evaluations has not ended. `asked`: the suites of the round. Two queries."""
    evaluation, anchor = one.evaluation, one.anchor
    if evaluation is None or anchor is None or anchor == evaluation or not (evaluation.results and anchor.results):
        return []
    return [line for line in (_preferences(evaluation, anchor), _suite(evaluation, anchor, asked), *_form(evaluation, anchor)) if line]


def _preferences(evaluation: Evaluation, anchor: Evaluation) -> Line | None:
    """How often it orders held-out pairs as their raters did, more than that model does: one half is no difference."""
    ours, theirs = (_share(found) for found in (evaluation, anchor))
    if ours is None or theirs is None:
        return None
    lost = theirs["n"] > 0 and theirs["high"] < gates.BOUND_NEEDED
    return Line("Held-out preferences, one half being no difference", _said(ours), _said(theirs), lost)


def _share(found: Evaluation) -> dict[str, Any] | None:
    """As gate G1 reads it."""
    told: dict[str, Any] | None = found.results.get("preference_accuracy" if found.planted else "unseen")
    return told


def _said(share: dict[str, Any]) -> str:
    return f"{share['value']:.3f} on {share['n']} pairs ({share['low']:.3f} to {share['high']:.3f})"


def _suite(evaluation: Evaluation, anchor: Evaluation, asked: Sequence[SuiteRun]) -> Line | None:
    of = {run.version_id: run for run in asked if run.finished_at is not None}
    ours, champion, first = (of.get(version) for version in (evaluation.policy_id, evaluation.reference_id, anchor.reference_id))
    if ours is None or champion is None or first is None:
        return None
    try:
        against = [gates.suites_compared(before.public_id, ours.public_id) for before in (champion, first)]
    except suiteruns.SuitesDiffer as differ:
        return Line("Mini-suite", "", str(differ))
    told = [gates.told_of_suites(found) for found in against]
    return Line("Mini-suite", told[0], told[1], bool(against[1].regressions))


def _form(evaluation: Evaluation, anchor: Evaluation) -> list[Line]:
    """Length, and what a toy still knows of what it was taught."""
    ours, theirs = (shapes.beside(gates.answers_of(found)) for found in (evaluation, anchor))
    lines = []
    if ours.ratio is not None and theirs.ratio is not None:
        said = [f"{found.ratio:.2f} times as long" for found in (ours, theirs)]
        lines.append(Line("Median answer", said[0], said[1], not SHORT <= theirs.ratio <= LONG))
    if "recall" in evaluation.results and "recall" in anchor.results:
        said = [_recall(found.results) for found in (evaluation, anchor)]
        lines.append(Line("Questions of the family answered right", said[0], said[1]))
    return lines


def _recall(results: dict[str, Any]) -> str:
    now, before = (results[name]["all"]["value"] for name in ("recall", "recall_reference"))
    return f"{now:.2f}, and {before:.2f} by that model"
