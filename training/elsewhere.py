"""Where else a model can be evaluated: other snapshots' evaluation pairs, and how many of each gate G1 would count for this model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import connection

from accounts.models import User
from annotation.models import Pair, Snapshot, Split
from modelhub.models import ModelVersion
from training import evaluations, unseen
from training.evaluations import NothingHeldOut
from training.models import Evaluation


@dataclass(frozen=True)
class Choice:
    """A snapshot to evaluate on: its evaluation `pairs`, those `counted` because nobody behind them taught the model, why it is `refused`
    if it is, and what has been measured or is being measured on it.
    """

    snapshot: Snapshot
    pairs: int
    counted: int
    refused: str = ""
    evaluation: Evaluation | None = None


# An answer's pair and rater, of all that each snapshot was made from; those by people who taught the model.
_COUNTED = """
WITH asked AS MATERIALIZED (
    SELECT snapshot_id, pair_id FROM annotation_snapshotrow WHERE snapshot_id = ANY(%(snapshots)s) AND split = %(split)s
), said AS MATERIALIZED (
    SELECT snapshot_id, unnest(judgements) AS id FROM annotation_snapshotevidence WHERE snapshot_id = ANY(%(snapshots)s)
), known AS MATERIALIZED (
    SELECT DISTINCT said.snapshot_id, a.pair_id FROM said
    JOIN annotation_judgement j ON j.id = said.id
    JOIN annotation_assignment a ON a.id = j.assignment_id
    WHERE a.annotator_id = ANY(%(taught)s)
)
SELECT asked.snapshot_id, count(*), count(*) FILTER (WHERE known.pair_id IS NULL)
FROM asked LEFT JOIN known ON known.snapshot_id = asked.snapshot_id AND known.pair_id = asked.pair_id
GROUP BY asked.snapshot_id
"""


def choices(*, policy: ModelVersion, reference: ModelVersion, snapshots: Sequence[Snapshot]) -> list[Choice]:
    """Each of `snapshots` as one to evaluate `policy` against `reference` on, in their order. Votes are counted by the database."""
    found = _counted(snapshots, unseen.taught(policy))
    known: dict[int | None, Evaluation] = {}
    asked = Evaluation.objects.filter(policy=policy, reference=reference, snapshot__in=snapshots).select_related("job").order_by("pk")
    for each in asked:
        if each.finished_at or not each.job.ended:
            known[each.snapshot_id] = each
    made = []
    for snapshot in snapshots:
        pairs, counted = found.get(snapshot.pk, (0, 0))
        refused = _refusal(policy, snapshot, pairs, counted)
        made.append(Choice(snapshot, pairs, 0 if refused else counted, refused, known.get(snapshot.pk)))
    return made


def _counted(snapshots: Sequence[Snapshot], taught: Collection[int]) -> dict[int, tuple[int, int]]:
    """(evaluation pairs, those of nobody in `taught`) by snapshot. A planted truth is nobody's: it is asked about every pair."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTED, {"snapshots": [each.pk for each in snapshots], "split": Split.EVALUATION, "taught": list(taught)})
        found = {snapshot: (int(pairs), int(counted)) for snapshot, pairs, counted in cursor.fetchall()}
    for snapshot in snapshots:
        if snapshot.planted:
            pairs = Pair.objects.filter(campaign=snapshot.campaign_id, prompt__sample__split=Split.EVALUATION).count()
            found[snapshot.pk] = (pairs, pairs)
    return found


def _refusal(policy: ModelVersion, snapshot: Snapshot, pairs: int, counted: int) -> str:
    if snapshot.simulated and not policy.toy:
        return "Its raters were simulated: they say nothing of a real model."
    if not pairs:
        return "It has no evaluation pairs."
    if not counted:
        return "Whoever judged its evaluation pairs also taught this model."
    return ""


def start(*, policy: ModelVersion, reference: ModelVersion, snapshot: Snapshot, actor: User | None) -> Evaluation:
    """Queue an evaluation on a snapshot of one's choice; one under way is returned as it is. Raises NothingHeldOut with the reason where
    none of its pairs would count for gate G1.
    """
    (found,) = choices(policy=policy, reference=reference, snapshots=[snapshot])
    if found.refused:
        raise NothingHeldOut(found.refused)
    return evaluations.start(policy=policy, reference=reference, snapshot=snapshot, actor=actor)
