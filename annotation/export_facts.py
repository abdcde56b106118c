"""What an export says of itself beside its rows: protocol, raters in bands, agreement, sides, lengths, licences. No text and no name."""

import importlib.metadata
from hashlib import sha256
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Count, Q, QuerySet

from annotation import agreement, bias, figures, prompts, snapshot_heard, snapshot_raters, snapshots
from annotation.estimates import Estimate, share
from annotation.models import Judgement, SlotKind, Snapshot, SnapshotRow, Source

AGGREGATION = "mean-1 (annotation/resolution.py)"


def of_gathered(snapshot: Snapshot, level: str) -> dict[str, Any]:
    """Everything a card and a manifest need, as JSON, of a snapshot that is gathered (`annotation.snapshot_heard`). A dozen queries; of
    pairs only counts are held."""
    votes = _votes(snapshot)
    fields, others = snapshot_raters.cohorts(snapshot_heard.raters())
    return {
        "level": level,
        "layout": prompts.LAYOUT,
        "code": importlib.metadata.version("rounds") if _installed() else "0",
        "aggregation": AGGREGATION,
        "snapshot": {
            "name": snapshot.name, "digest": snapshot.digest, "format": snapshots.FORMAT, "filters": snapshot.filters,
            "counts": snapshot.counts, "simulated": snapshot.simulated, "toy": snapshot.toy, "external": snapshot.external,
        },
        "drop_reasons": snapshots.DROP_REASONS,
        "campaign": _campaign(snapshot),
        "sources": sources(snapshot),
        "raters": {"fields": fields, "others": others, "shared_by": snapshot_raters.SHARED_BY},
        "figures": {**_agreement(votes), **_sides(votes), **_lengths(snapshot)},
        "answers": (answers := snapshot_heard.answers().count()),
        # What a writer has to go through, for its progress.
        "total": SnapshotRow.objects.filter(snapshot=snapshot).count() + answers + snapshot_heard.pairs(),
    }  # fmt: skip


def _installed() -> bool:
    try:
        importlib.metadata.version("rounds")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _campaign(snapshot: Snapshot) -> dict[str, Any]:
    campaign = snapshot.campaign
    return {
        "id": str(campaign.public_id),
        "protocol": campaign.protocol_digest,
        "guideline_version": sha256(campaign.guideline.encode()).hexdigest(),
        "form_version": f"{campaign.rubric} {campaign.rubric.digest[:12]}",
        "overlap": campaign.overlap,
        "double_share": campaign.double_share,
        "repeat_share": campaign.repeat_share,
        "selection": campaign.get_selection_display().lower(),
        "axes": [{"key": axis["key"], "label": axis["label"], "scale": axis["scale"]} for axis in campaign.rubric.content.get("axes", [])],
        "marks": [{"key": mark["key"], "label": mark["label"]} for mark in campaign.rubric.content.get("spans", [])],
    }


def sources(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Where its samples come from, with the licence of each."""
    within = SnapshotRow.objects.filter(snapshot=snapshot).values("prompt")
    found = Source.objects.filter(samples__prompts__in=within).distinct().order_by("name")
    return [{"name": source.name, "licence": source.licence, "synthetic": source.synthetic} for source in found]


def _votes(snapshot: Snapshot) -> "QuerySet[Judgement]":
    """The votes among what was heard, on pairs that chance chose."""
    by_chance = {"assignment__pair__selected_by__in": figures.BY_CHANCE}
    if snapshot_raters.votes_listed(snapshot):
        return snapshot_heard.votes().filter(**by_chance)
    return (
        snapshot_heard.answers()
        .filter(**by_chance)
        .filter(surplus=False, assignment__repeat=0, assignment__slot__kind__in=[SlotKind.VOTE, SlotKind.REVIEW])
    )


def _told(estimate: Estimate) -> dict[str, Any]:
    """Rounded, so that the same votes make the same bytes on every machine."""
    return {
        **{name: None if (value := getattr(estimate, name)) is None else round(value, 6) for name in ("value", "low", "high")},
        "n": estimate.n,
        "note": estimate.note,
    }


def _agreement(votes: "QuerySet[Judgement]") -> dict[str, Any]:
    """Over the table of pairs and verdicts, which is filled as the database counts: no vote is held."""
    counted = votes.filter(verdict__in=agreement.VERDICTS)
    size = counted.aggregate(n=Count("assignment__pair", distinct=True))["n"]
    counts, clusters = np.zeros((size, len(agreement.VERDICTS))), np.zeros(size, dtype=np.intp)
    column = {verdict: place for place, verdict in enumerate(agreement.VERDICTS)}
    grouped = (
        counted.order_by("assignment__pair__prompt__sample_id", "assignment__pair_id", "verdict")
        .values("assignment__pair__prompt__sample_id", "assignment__pair_id", "verdict")
        .annotate(n=Count("pk"))
        .values_list("assignment__pair__prompt__sample_id", "assignment__pair_id", "verdict", "n")
    )
    row, cluster, last = -1, -1, (-1, -1)
    for sample, pair, verdict, n in grouped.iterator(chunk_size=5000):
        cluster += sample != last[0]
        row += pair != last[1]
        last = (sample, pair)
        counts[row, column[verdict]], clusters[row] = n, cluster
    table = agreement.Table(counts, clusters)
    return {
        "raw": _told(agreement.raw_agreement(table)),
        "alpha": _told(agreement.krippendorff_alpha(table)),
        "ac1": _told(agreement.gwet_ac1(table)),
    }


def _sides(votes: "QuerySet[Judgement]") -> dict[str, Any]:
    """How often the side shown on the left won, of votes for a side."""
    first, second = ([verdict for verdict, side in agreement.SIDES.items() if side == wanted] for wanted in ("first", "second"))
    left = Q(verdict__in=first, assignment__first_on_left=True) | Q(verdict__in=second, assignment__first_on_left=False)
    counted = votes.filter(verdict__in=agreement.SIDES).aggregate(left=Count("pk", filter=left), decisive=Count("pk"))
    return {"left": _told(bias.left_share(counted["left"], counted["decisive"]).share)}


_GAP = """
SELECT count(*), count(*) FILTER (WHERE length(c.text) > length(r.text)),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (length(c.text) + 1.0) / (length(r.text) + 1))
FROM annotation_snapshotrow w JOIN annotation_completion c ON c.id = w.chosen_id JOIN annotation_completion r ON r.id = w.rejected_id
WHERE w.snapshot_id = %s
"""


def _lengths(snapshot: Snapshot) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(_GAP, [snapshot.pk])
        count, longer, ratio = cursor.fetchone()
    return {"longer": _told(share(longer, count)), "length_ratio": None if ratio is None else round(float(ratio), 6)}
