"""Snapshots: a campaign's preferences, frozen and addressed by their content."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import records, resolution, safety
from annotation.models import (
    Adjudication,
    AssignmentState,
    Campaign,
    CampaignState,
    Judgement,
    Pair,
    Prompt,
    SlotKind,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
    Split,
)

FORMAT = "snapshot-2"
FILTERED, TOO_FEW, WITHDRAWN, GOLD = "filtered", "too_few_judgements", "withdrawn", "gold"
DROP_REASONS = {
    **resolution.REASONS,
    FILTERED: "its task type was not asked for",
    TOO_FEW: "fewer judgements than asked for",
    WITHDRAWN: "its sample was withdrawn as defective",
    GOLD: "its answer was known: it asks about raters, not about texts",
}
# Votes that hold a slot; the rest of what raters said is kept as evidence and in the raw export.
_VOTES = {SlotKind.VOTE, SlotKind.REVIEW}


class FreezeRefused(Exception):
    """A snapshot cannot be frozen; the message says which filter removed what, or whose judgements do not belong."""


@dataclass(frozen=True)
class _Evidence:
    """What a campaign's pairs are resolved from: `votes` (verdicts by pair), findings, and the ids of every answer and ruling read."""

    votes: dict[int, list[str]]
    raters: frozenset[int]
    answers: tuple[int, ...]
    surplus: int
    findings: safety.Findings
    rulings: dict[int, str] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        return sum(len(verdicts) for verdicts in self.votes.values())


@dataclass(frozen=True)
class _Row:
    """A row to be frozen: its content, as the digest covers it, and the record that keeps it."""

    digest: str
    content: dict[str, Any]
    record: SnapshotRow


@transaction.atomic
def freeze(*, campaign: Campaign, name: str, actor: User | None, min_judgements: int = 1, task_types: Collection[str] = ()) -> Snapshot:
    """Freeze what the campaign's current votes, flags and rulings say: one row a pair that teaches a preference, split by its sample.

    An output flagged with major harm or worse is never favoured, unless a lead lowered the flag; a lead's ruling stands in place of the
    votes; no row holds a text that was ruled out of training, nor a withdrawn sample (product.md 2.5, 5.3). Gold, repeats, surplus and
    qualification answers are no votes. The digest covers every row's content, every ruling and the campaign; freezing the same content
    again returns the snapshot that is there.

    Raises FreezeRefused when no row is left, when the campaign was never opened or only qualifies raters, or when simulated raters
    judged in a campaign that is not marked simulated.
    """
    # Two freezes at once wait here for each other; claims, whose rows refer to the campaign, wait for none.
    campaign = Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
    if campaign.state == CampaignState.DRAFT:
        raise FreezeRefused("This campaign was never open: there is nothing to freeze.")
    if campaign.purpose == "qualify":
        raise FreezeRefused("A qualification asks what is known already: its answers train nobody.")
    evidence = _evidence(campaign)
    rows, dropped = _resolve(campaign, evidence, min_judgements=min_judgements, task_types=task_types)
    if not rows:
        raise FreezeRefused(f"No row is left. {_why(dropped)}")
    digest = _digest(campaign, rows, evidence)
    if known := Snapshot.objects.filter(digest=digest).first():
        return known
    snapshot = Snapshot.objects.create(
        name=name,
        campaign=campaign,
        digest=digest,
        filters={"min_judgements": min_judgements, "task_types": sorted(task_types)},
        counts=_counts(rows, dropped, evidence),
        simulated=campaign.simulated,
        toy=campaign.toy,
        frozen_by=actor,
    )
    for position, row in enumerate(rows):
        row.record.snapshot, row.record.position = snapshot, position
    SnapshotRow.objects.bulk_create([row.record for row in rows], batch_size=2000)
    SnapshotEvidence.objects.create(
        snapshot=snapshot, judgements=list(evidence.answers), rulings=sorted(ruling.pk for ruling in evidence.findings.rulings.values())
    )
    audit.record(actor, "snapshot.frozen", snapshot, digest=digest, rows=len(rows), campaign=str(campaign.public_id))
    return snapshot


def _evidence(campaign: Campaign) -> _Evidence:
    """Read once what the campaign's raters and leads said. Raises FreezeRefused for simulated raters where clinicians judge."""
    answers = list(
        Judgement.objects.speaking()
        .filter(assignment__campaign=campaign)
        .exclude(assignment__slot__kind=SlotKind.GOLD)
        .order_by("pk")
        .values_list(
            "pk", "assignment__pair_id", "verdict", "assignment__annotator_id", "assignment__annotator__simulated", "surplus",
            "assignment__state", "assignment__repeat", "assignment__slot__kind",
        )
    )  # fmt: skip
    votes: dict[int, list[str]] = defaultdict(list)
    raters: set[int] = set()
    for _, pair, verdict, annotator, simulated, surplus, state, repeat, kind in answers:
        if simulated and not campaign.simulated:
            raise FreezeRefused(
                "Simulated raters judged in this campaign, which is not marked simulated: "
                "their judgements may not be frozen as clinicians'."
            )
        if not surplus and state == AssignmentState.SUBMITTED and repeat == 0 and kind in _VOTES:
            votes[pair].append(verdict)
            raters.add(annotator)
    findings = safety.of_prompts(Prompt.objects.filter(pairs__campaign=campaign), simulated=campaign.simulated)
    return _Evidence(
        votes=votes,
        raters=frozenset(raters),
        answers=tuple(answer[0] for answer in answers),
        surplus=sum(1 for answer in answers if answer[5]),
        findings=findings,
        rulings={pair: _ruling_digest(ruling) for pair, ruling in findings.rulings.items()},
    )


def _ruling_digest(ruling: Adjudication) -> str:
    """A ruling by its content: what was decided about which texts, and whether the votes are still those it was given on."""
    pair = ruling.dispute.pair
    return records.digest_of(
        {
            "first": pair.first.digest,
            "second": pair.second.digest,
            "outcome": ruling.outcome,
            "harm": [ruling.harm_first, ruling.harm_second],
            "must_not_train": [ruling.must_not_train_first, ruling.must_not_train_second],
            "stands": safety.stands(ruling),
        }
    )


def _resolve(
    campaign: Campaign, evidence: _Evidence, *, min_judgements: int, task_types: Collection[str]
) -> tuple[list[_Row], Counter[str]]:
    """The rows that teach a preference, in the order of their content, and how many pairs were left out for which reason."""
    dropped: Counter[str] = Counter()
    rows: list[_Row] = []
    pairs = Pair.objects.filter(campaign=campaign).select_related("prompt__sample", "first", "second", "gold").only(
        "prompt__digest", "prompt__sample__digest", "prompt__sample__split", "prompt__sample__task_type", "prompt__sample__withdrawn_at",
        "first__digest", "second__digest", "gold__id",
    )  # fmt: skip
    for pair in pairs.iterator(chunk_size=2000):
        if reason := kept_out(pair, evidence.findings, task_types):
            dropped[reason] += 1
            continue
        verdicts = evidence.votes.get(pair.pk, [])
        resolved = resolution.resolve(verdicts, flags=_harmful_sides(pair, evidence.findings), ruling=_ruling(pair, evidence.findings))
        if resolved.first_is_chosen is None:
            dropped[resolved.reason] += 1
        elif len(verdicts) < min_judgements:
            dropped[TOO_FEW] += 1
        else:
            rows.append(_row(pair, resolved))
    # In the order of their content: the same rows make the same files wherever and whenever they are written.
    rows.sort(key=lambda row: row.digest)
    return rows, dropped


def kept_out(pair: Pair, findings: safety.Findings, task_types: Collection[str]) -> str:
    """Why a pair is no candidate whatever its votes say, or nothing."""
    sample = pair.prompt.sample
    if task_types and sample.task_type not in task_types:
        return FILTERED
    if getattr(pair, "gold", None) is not None:
        return GOLD
    if sample.withdrawn_at is not None:
        return WITHDRAWN
    if findings.barred & {pair.first_id, pair.second_id}:
        return resolution.MUST_NOT_TRAIN
    return ""


def _harmful_sides(pair: Pair, findings: safety.Findings) -> list[str]:
    sides = (("first", pair.first_id), ("second", pair.second_id))
    return [side for side, completion in sides if completion in findings.harmful]


def _ruling(pair: Pair, findings: safety.Findings) -> resolution.Ruling | None:
    """The ruling that stands in place of the pair's votes, if the votes are still those it was given on."""
    if pair.pk not in findings.standing:
        return None
    # The lead's view of the harm, and what is known of the same texts from other pairs.
    return resolution.Ruling(outcome=findings.rulings[pair.pk].outcome, harmful=_harmful_sides(pair, findings))


def _row(pair: Pair, resolved: resolution.Resolution) -> _Row:
    chosen, rejected = (pair.first, pair.second) if resolved.first_is_chosen else (pair.second, pair.first)
    votes = {
        "chosen": resolved.chosen,
        "rejected": resolved.rejected,
        "tie": resolved.tie,
        # Minus zero and zero are one number to the database, and two to a digest.
        "strength": resolved.strength or 0.0,
        "basis": resolved.basis,
    }
    content = {
        "sample": pair.prompt.sample.digest,
        "prompt": pair.prompt.digest,
        "chosen": chosen.digest,
        "rejected": rejected.digest,
        "p_chosen": resolved.p_chosen,
        "votes": votes,
        "split": pair.prompt.sample.split,
    }
    record = SnapshotRow(
        pair=pair,
        prompt=pair.prompt,
        chosen=chosen,
        rejected=rejected,
        p_chosen=resolved.p_chosen,
        votes=votes,
        split=pair.prompt.sample.split,
    )
    return _Row(records.digest_of(content), content, record)


def _digest(campaign: Campaign, rows: list[_Row], evidence: _Evidence) -> str:
    return records.digest_of(
        {
            "format": FORMAT,
            "campaign": str(campaign.public_id),
            "simulated": campaign.simulated,
            "toy": campaign.toy,
            "rulings": sorted(evidence.rulings.values()),
            "rows": [row.content for row in rows],
        }
    )


def _counts(rows: list[_Row], dropped: Counter[str], evidence: _Evidence) -> dict[str, Any]:
    used = Counter(row.record.split for row in rows)
    basis = Counter(row.content["votes"]["basis"] for row in rows)
    return {
        "used": {split.value: used[split] for split in Split},
        "dropped": dict(sorted(dropped.items())),
        "judgements": evidence.counted,
        "raters": len(evidence.raters),
        "surplus": evidence.surplus,
        "by_ruling": basis["ruling"],
        "by_harm": basis["harm"],
    }


def _why(dropped: Counter[str]) -> str:
    return "Left out: " + ", ".join(f"{count} ({DROP_REASONS[reason]})" for reason, count in dropped.most_common()) + "."
