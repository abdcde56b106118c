"""Snapshots: a campaign's preferences, frozen and addressed by their content."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import records, resolution
from annotation.models import (
    Assignment,
    AssignmentState,
    Campaign,
    CampaignState,
    Judgement,
    Pair,
    Snapshot,
    SnapshotRow,
    Split,
)

FORMAT = "snapshot-1"
FILTERED, TOO_FEW = "filtered", "too_few_judgements"
DROP_REASONS = {
    **resolution.REASONS,
    FILTERED: "its task type was not asked for",
    TOO_FEW: "fewer judgements than asked for",
}


class FreezeRefused(Exception):
    """A snapshot cannot be frozen; the message says which filter removed what, or whose judgements do not belong."""


@transaction.atomic
def freeze(*, campaign: Campaign, name: str, actor: User | None, min_judgements: int = 1, task_types: Collection[str] = ()) -> Snapshot:
    """Freeze what the campaign's current judgements say: one row a pair that teaches a preference, split by its sample.

    The digest covers every row's content (prompt, chosen, rejected, target, votes, split) and the campaign; freezing the same content
    again returns the snapshot that is there. Surplus judgements are counted and not used.

    Raises FreezeRefused when no row is left, when the campaign was never opened, or when simulated raters judged in a campaign that
    is not marked simulated.
    """
    # Two freezes at once wait here for each other.
    campaign = Campaign.objects.select_for_update().get(pk=campaign.pk)
    if campaign.state == CampaignState.DRAFT:
        raise FreezeRefused("This campaign was never open: there is nothing to freeze.")
    answers = list(
        Judgement.objects.current()
        .filter(assignment__campaign=campaign, surplus=False, assignment__state=AssignmentState.SUBMITTED)
        .order_by("pk")
        .values_list("assignment__pair_id", "verdict", "assignment__annotator_id", "assignment__annotator__simulated")
    )
    if not campaign.simulated and any(simulated for *_, simulated in answers):
        raise FreezeRefused(
            "Simulated raters judged in this campaign, which is not marked simulated: their judgements may not be frozen as clinicians'."
        )
    verdicts: dict[int, list[str]] = defaultdict(list)
    for answered, verdict, *_ in answers:
        verdicts[answered].append(verdict)

    dropped: Counter[str] = Counter()
    rows: list[tuple[str, dict[str, Any], SnapshotRow]] = []
    pairs = Pair.objects.filter(campaign=campaign).select_related("prompt__sample", "first", "second").only(
        "prompt__digest", "prompt__sample__digest", "prompt__sample__split", "prompt__sample__task_type", "first__digest", "second__digest"
    )  # fmt: skip
    for pair in pairs.iterator(chunk_size=2000):
        resolved = resolution.resolve(verdicts[pair.pk])
        sample = pair.prompt.sample
        if task_types and sample.task_type not in task_types:
            dropped[FILTERED] += 1
        elif resolved.first_is_chosen is None:
            dropped[resolved.reason] += 1
        elif len(verdicts[pair.pk]) < min_judgements:
            dropped[TOO_FEW] += 1
        else:
            chosen, rejected = (pair.first, pair.second) if resolved.first_is_chosen else (pair.second, pair.first)
            votes = {"chosen": resolved.chosen, "rejected": resolved.rejected, "tie": resolved.tie, "strength": resolved.strength}
            content = {
                "sample": sample.digest,
                "prompt": pair.prompt.digest,
                "chosen": chosen.digest,
                "rejected": rejected.digest,
                "p_chosen": resolved.p_chosen,
                "votes": votes,
                "split": sample.split,
            }
            row = SnapshotRow(
                pair=pair, prompt=pair.prompt, chosen=chosen, rejected=rejected, p_chosen=resolved.p_chosen, votes=votes, split=sample.split
            )
            rows.append((records.digest_of(content), content, row))
    if not rows:
        raise FreezeRefused(f"No row is left. {_why(dropped)}")
    # In the order of their content: the same rows make the same files wherever and whenever they are written.
    rows.sort(key=lambda row: row[0])
    digest = records.digest_of(
        {
            "format": FORMAT,
            "campaign": str(campaign.public_id),
            "simulated": campaign.simulated,
            "toy": campaign.toy,
            "rows": [content for _, content, _ in rows],
        }
    )
    if known := Snapshot.objects.filter(digest=digest).first():
        return known
    used = Counter(row.split for *_, row in rows)
    snapshot = Snapshot.objects.create(
        name=name,
        campaign=campaign,
        digest=digest,
        filters={"min_judgements": min_judgements, "task_types": sorted(task_types)},
        counts={
            "used": {split.value: used[split] for split in Split},
            "dropped": dict(sorted(dropped.items())),
            "judgements": len(answers),
            "raters": len({annotator for _, _, annotator, _ in answers}),
            "surplus": Assignment.objects.filter(campaign=campaign, judgements__surplus=True, judgements__undone_at__isnull=True)
            .distinct()
            .count(),
        },
        simulated=campaign.simulated,
        toy=campaign.toy,
        frozen_by=actor,
    )
    for position, (*_, row) in enumerate(rows):
        row.snapshot, row.position = snapshot, position
    SnapshotRow.objects.bulk_create([row for *_, row in rows], batch_size=2000)
    audit.record(actor, "snapshot.frozen", snapshot, digest=digest, rows=len(rows), campaign=str(campaign.public_id))
    return snapshot


def _why(dropped: Counter[str]) -> str:
    return "Left out: " + ", ".join(f"{count} ({DROP_REASONS[reason]})" for reason, count in dropped.most_common()) + "."


def training_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split, in the snapshot's order, as trainers read them.

    {"prompt": [system turn, user turn], "chosen": [assistant turn], "rejected": [assistant turn], "p_chosen": float, "pair_id": int,
    "sample_id": str, "task_type": str}; a turn is {"role", "content"}.
    """
    rows = SnapshotRow.objects.filter(snapshot=snapshot, split=split).order_by("position")
    for row in rows.select_related("prompt__sample", "chosen", "rejected").iterator(chunk_size=1000):
        yield {
            "prompt": row.prompt.messages,
            "chosen": [{"role": "assistant", "content": row.chosen.text}],
            "rejected": [{"role": "assistant", "content": row.rejected.text}],
            "p_chosen": row.p_chosen,
            "pair_id": row.pair_id,
            "sample_id": row.prompt.sample.external_id,
            "task_type": row.prompt.sample.task_type,
        }
