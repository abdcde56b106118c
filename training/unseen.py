"""Held-out preferences of people whose votes nothing was trained on: how often a model orders them as those people did.

The evaluation split keeps prompts from training. A rater of the training pairs may still have judged held-out ones, and a model that has
learnt one person's taste orders that person's held-out pairs well without being better (product.md 2.13, G1).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from annotation import snapshot_raters
from annotation.estimates import clustered_share, numbered, summed, wilson
from annotation.models import Judgement, Pair, Snapshot, SnapshotRow, Split
from modelhub import lineage
from modelhub.models import ModelVersion
from training.models import Evaluation


def taught(version: ModelVersion) -> set[int]:
    """The accounts whose votes `version` or a model it was made from has learnt: those on train or validation rows of their snapshots."""
    edges = lineage.edges_above(version)
    digests = {edge.source_digest for above in edges.values() for edge in above if edge.source_kind == "snapshot"}
    found: set[int] = set()
    for snapshot in Snapshot.objects.filter(digest__in=digests):
        rows = SnapshotRow.objects.filter(snapshot=snapshot, split__in=(Split.TRAIN, Split.VALIDATION))
        found |= {person for people in voters(snapshot, rows.values("pair")).values() for person in people}
    return found


def voters(snapshot: Snapshot, pairs: Any) -> dict[int, list[int]]:
    """The accounts that a snapshot heard of each of these pairs, each once, in the order of their assignments."""
    heard = Judgement.objects.filter(pk__in=snapshot_raters.heard(snapshot), assignment__pair__in=pairs)
    found: dict[int, dict[int, None]] = {}
    for pair, person in heard.order_by("assignment").values_list("assignment__pair", "assignment__annotator"):
        found.setdefault(pair, {})[person] = None
    return {pair: list(people) for pair, people in found.items()}


def measured(*, evaluation: Evaluation, items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the held-out pairs none of whose raters taught the policy, as {"unseen": {…}}; nothing for an evaluation without pairs.

    {"value", "low", "high", "n", "raters", "left_out": [pair, …]}: the share ordered as they did, with its 95 % interval over prompts, and
    the pairs it does not count. Labels from a planted truth are nobody's: nothing is left out, and there are no raters. Those of simulated
    raters who were held out are theirs.
    """
    right = {int(item["id"]): float(item["correct"]) for item in items if item["type"] == "pair"}
    if not right or evaluation.snapshot is None:
        return {}
    ids = list(right)
    who = {} if evaluation.planted else voters(evaluation.snapshot, ids)
    trained_on = taught(evaluation.policy) if who else set()
    kept = [pair for pair in ids if trained_on.isdisjoint(who.get(pair, ()))]
    prompts = dict(Pair.objects.filter(pk__in=kept).values_list("pk", "prompt"))
    told = share({pair: right[pair] for pair in kept}, prompts)
    raters = {person for pair in kept for person in who.get(pair, ())}
    return {"unseen": told | {"raters": len(raters), "left_out": sorted(set(ids) - set(kept))}}


def share(right: Mapping[int, float], prompts: Mapping[int, int]) -> dict[str, Any]:
    """The share of pairs ordered as the raters did, ties half, and its interval: over prompts, and never narrower than Wilson's."""
    if not right:
        return {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    pairs = list(right)
    rows = np.array([[right[pair], 1.0] for pair in pairs])
    sums = summed(rows, numbered(prompts.get(pair, -pair) for pair in pairs))
    value = float(rows[:, 0].mean())
    low, high = wilson(float(rows[:, 0].sum()), len(pairs))
    clustered = clustered_share(sums[:, 0], sums[:, 1], floor=1)
    if clustered.low is not None and clustered.high is not None:
        low, high = min(low, clustered.low), max(high, clustered.high)
    return {"value": value, "low": low, "high": high, "n": len(pairs)}


def of_same_pairs(other: Evaluation, unseen: Mapping[str, Any]) -> float | None:
    """How often `other`'s policy ordered the pairs that `unseen` counted; None where it was not asked all of them."""
    kept = other.pairs.exclude(pair__in=unseen["left_out"]).values_list("correct", flat=True)
    return sum(kept) / len(kept) if len(kept) == unseen["n"] and kept else None
