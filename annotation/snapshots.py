"""Snapshots: a campaign's preferences, frozen and addressed by their content."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Unpack

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation import filters, leaks, records, resolution, safety, snapshot_evidence, worth
from annotation.filters import Asked, Filters
from annotation.models import (
    Adjudication,
    Campaign,
    CampaignState,
    Completion,
    Judgement,
    Pair,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
    Split,
)
from annotation.snapshot_evidence import Evidence
from annotation.snapshot_evidence import FreezeRefused as FreezeRefused
from annotation.staging import Tell, quiet

FORMAT = "snapshot-2"
FILTERED, DOCUMENT, TOO_FEW, WITHDRAWN, GOLD = "filtered", "document_type", "too_few_judgements", "withdrawn", "gold"
MARGIN, NEAR_IDENTICAL, LEAK = "margin", "near_identical", "near_duplicate_held_out"
OTHERS_SAID = "decided_by_other_raters"
DROP_REASONS = {
    **resolution.REASONS,
    FILTERED: "its task type was not asked for",
    DOCUMENT: "its document type was not asked for",
    TOO_FEW: "fewer judgements than asked for",
    filters.EXTERNAL: "only imported judgements, which were not asked for",
    filters.SIMULATED: "only simulated raters judged it",
    filters.DATES: "judged outside the days asked for",
    filters.FIELDS: "nobody of the fields asked for judged it",
    filters.HELD_OUT: "only raters who are held out judged it, and its sample is not",
    filters.NOT_HELD_OUT: "its sample is held out, and none of those who judged it is",
    OTHERS_SAID: "a harm flag or a ruling decides it, given by somebody on the other side of the hold-out",
    MARGIN: "its raters were less sure than asked for",
    NEAR_IDENTICAL: "its two texts are nearly the same",
    LEAK: "its sample is nearly the same as one that is held out",
    WITHDRAWN: "its sample was withdrawn as defective",
    GOLD: "its answer was known: it asks about raters, not about texts",
}
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be frozen: what its content is made of, and what the record that keeps it refers to. `digest` is that of its content.

    Of 300,000 rows each byte counts: digests are raw, `texts` holds those of sample, prompt, chosen and rejected text one after the other,
    and rows whose votes fell alike share one `votes`.
    """

    digest: bytes
    texts: bytes
    pair: int
    prompt: int
    sample: int
    chosen: int
    rejected: int
    p_chosen: float
    votes: dict[str, Any]
    split: str

    @property
    def content(self) -> dict[str, Any]:
        """What the snapshot's digest covers of it."""
        size = len(self.texts) // 4
        sample, prompt, chosen, rejected = (self.texts[place * size : (place + 1) * size].hex() for place in range(4))
        return {
            "sample": sample, "prompt": prompt, "chosen": chosen, "rejected": rejected,
            "p_chosen": self.p_chosen, "votes": self.votes, "split": self.split,
        }  # fmt: skip

    def record(self, snapshot: Snapshot, position: int) -> SnapshotRow:
        return SnapshotRow(
            snapshot=snapshot, position=position, pair_id=self.pair, prompt_id=self.prompt, chosen_id=self.chosen,
            rejected_id=self.rejected, p_chosen=self.p_chosen, votes=self.votes, split=self.split,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What would be frozen now: `rows` in the order of their content, and every other pair under the one reason it was left out for."""

    filters: Filters
    evidence: Evidence
    rows: Sequence[Row]
    dropped: Mapping[str, Sequence[int]]

    @property
    def lost(self) -> dict[str, int]:
        """How many pairs were left out, by reason."""
        return {reason: len(pairs) for reason, pairs in sorted(self.dropped.items())}

    @property
    def used(self) -> dict[str, int]:
        """How many rows each split has."""
        counted = Counter(row.split for row in self.rows)
        return {split.value: counted[split] for split in Split}


def freeze(*, campaign: Campaign, name: str, actor: User | None, **asked: Unpack[Asked]) -> Snapshot:
    """Freeze what the campaign's current votes, flags and rulings say: one row a pair that teaches a preference, split by its sample.

    An output flagged with major harm or worse is never favoured, unless a lead lowered the flag; a lead's ruling stands in place of the
    votes; no row holds a text that was ruled out of training, nor a withdrawn sample (product.md 2.5, 5.3). Gold, repeats, surplus and
    qualification answers are no votes. A row whose sample is nearly the same as one held out for more is left out (annotation/leaks.py).
    `asked` narrows as annotation.filters.Filters says, and may hold raters out (annotation/held_out_raters.py). The digest covers every
    row's content, every ruling, the campaign and how raters were held out; freezing the same content again returns the snapshot that is
    there.

    Raises FreezeRefused when no row is left, when the campaign was never opened or only qualifies raters, or when simulated raters
    judged in a campaign that is not marked simulated; ValueError for filters that contradict themselves.
    """
    wanted = Filters(**asked)  # type: ignore[arg-type]  # collections become sorted tuples
    with transaction.atomic():
        # Two freezes at once wait here for each other; claims, whose rows refer to the campaign, wait for none.
        campaign = Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
        return keep(campaign=campaign, name=name, made=plan(campaign=campaign, filters=wanted), actor=actor)


@transaction.atomic
def keep(*, campaign: Campaign, name: str, made: Plan, actor: User | None, digest: str = "", tell: Tell = quiet) -> Snapshot:
    """Freeze what was planned; the same content again gives the snapshot that is there. Raises FreezeRefused when no row is left.

    `digest` is that of the plan, where it was worked out before: of many rows it takes seconds.
    """
    if not made.rows:
        raise FreezeRefused(why_empty(made))
    digest = digest or digest_of(campaign, made)
    if known := Snapshot.objects.filter(digest=digest).first():
        return known
    try:
        with transaction.atomic():
            snapshot = Snapshot.objects.create(
                name=name, campaign=campaign, digest=digest, filters=made.filters.as_dict(), counts=_counts(made),
                simulated=campaign.simulated, toy=campaign.toy, external=campaign.external, frozen_by=actor,
            )  # fmt: skip
    except IntegrityError:
        # Somebody else froze the same between our look and now: the database lets one of us.
        return Snapshot.objects.get(digest=digest)
    for start in range(0, len(made.rows), CHUNK):
        chunk = made.rows[start : start + CHUNK]
        SnapshotRow.objects.bulk_create([row.record(snapshot, position) for position, row in enumerate(chunk, start=start)])
        tell("writing rows", start + len(chunk), len(made.rows))
    found = made.evidence.findings
    SnapshotEvidence.objects.create(
        snapshot=snapshot,
        judgements=list(made.evidence.answers),
        votes=[pk for votes in made.evidence.votes.values() for pk, _ in votes],
        rulings=sorted(ruling.pk for ruling in found.rulings.values()),
        findings={"harmful": sorted(found.harmful), "standing": sorted(found.rulings[pair].pk for pair in found.standing)},
        dropped={reason: list(pairs) for reason, pairs in made.dropped.items()},
    )
    audit.record(actor, "snapshot.frozen", snapshot, digest=digest, rows=len(made.rows), campaign=str(campaign.public_id))
    return snapshot


def check(campaign: Campaign) -> None:
    """Raises FreezeRefused for a campaign of which nothing is ever frozen."""
    if campaign.state == CampaignState.DRAFT:
        raise FreezeRefused("This campaign was never open: there is nothing to freeze.")
    if campaign.purpose == "qualify":
        raise FreezeRefused("A qualification asks what is known already: its answers train nobody.")


def plan(*, campaign: Campaign, filters: Filters, tell: Tell = quiet) -> Plan:
    """What freezing the campaign with these filters would give now; nothing is written. Raises FreezeRefused as `freeze` does.

    `tell` hears how far it is, at least every few seconds.
    """
    check(campaign)
    evidence = snapshot_evidence.read(campaign, filters, tell)
    rows, dropped = _resolve(campaign, evidence, filters, tell)
    if filters.drop_near_identical:
        rows = _without(rows, near_identical(rows, tell), NEAR_IDENTICAL, dropped)
    samples: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        samples[row.split].add(row.sample)
    leaking = leaks.across_splits(samples, tell)
    rows = _without(rows, {row.pair for row in rows if row.sample in leaking}, LEAK, dropped)
    return Plan(filters, evidence, rows, {reason: tuple(pairs) for reason, pairs in dropped.items()})


def _without(rows: list[Row], leaving: Collection[int], reason: str, dropped: dict[str, list[int]]) -> list[Row]:
    if leaving:
        dropped[reason] += sorted(leaving)
    return [row for row in rows if row.pair not in leaving]


def near_identical(rows: Sequence[Row], tell: Tell = quiet) -> set[int]:
    """The pairs whose two texts are nearly the same, or the same but for case and white space."""
    found: set[int] = set()
    for start in range(0, len(rows), 500):
        chunk = rows[start : start + 500]
        texts = dict(Completion.objects.filter(pk__in={pk for row in chunk for pk in (row.chosen, row.rejected)}).values_list("pk", "text"))
        found |= {row.pair for row in chunk if worth.alike(texts[row.chosen], texts[row.rejected])}
        tell("comparing texts", start + len(chunk), len(rows))
    return found


def _of_pairs(campaign: Campaign) -> Any:
    return Pair.objects.filter(campaign=campaign).select_related("prompt__sample", "first", "second", "gold").only(
        "prompt__digest", "prompt__sample__digest", "prompt__sample__split", "prompt__sample__task_type", "prompt__sample__input_data",
        "prompt__sample__withdrawn_at", "first__digest", "second__digest", "gold__id",
    )  # fmt: skip


def _resolve(campaign: Campaign, evidence: Evidence, asked: Filters, tell: Tell) -> tuple[list[Row], dict[str, list[int]]]:
    """The rows that teach a preference, in the order of their content, and the pairs that were left out for each reason."""
    dropped: dict[str, list[int]] = defaultdict(list)
    rows: list[Row] = []
    alike: dict[str, dict[str, Any]] = {}
    for number, pair in enumerate(_of_pairs(campaign).iterator(chunk_size=CHUNK)):
        if number % CHUNK == 0:
            tell("planning", number, max(number, campaign.counts.get("pairs", 0)))
        if reason := kept_out(pair, evidence.findings, asked.task_types, asked.document_types) or evidence.unasked.get(pair.pk, ""):
            dropped[reason].append(pair.pk)
            continue
        verdicts = [verdict for _, verdict in evidence.votes.get(pair.pk, ())]
        resolved = _resolved(pair, verdicts, evidence.findings)
        if resolved.first_is_chosen is None:
            dropped[resolved.reason].append(pair.pk)
        elif evidence.of_own is not None and resolved != _resolved(pair, verdicts, evidence.of_own):
            # A flag of somebody held out would teach, or one of somebody else be asked about: neither is lost, for the pair is left out.
            dropped[OTHERS_SAID].append(pair.pk)
        elif len(verdicts) < asked.min_judgements:
            dropped[TOO_FEW].append(pair.pk)
        elif not asked.takes(resolved.p_chosen):
            dropped[MARGIN].append(pair.pk)
        else:
            rows.append(_row(pair, resolved, alike))
    # In the order of their content: the same rows make the same files wherever and whenever they are written.
    rows.sort(key=lambda row: row.digest)
    return rows, dropped


def kept_out(pair: Pair, findings: safety.Findings, task_types: Collection[str] = (), document_types: Collection[str] = ()) -> str:
    """Why a pair is no candidate whatever its votes say, or nothing."""
    sample = pair.prompt.sample
    if task_types and sample.task_type not in task_types:
        return FILTERED
    if document_types and sample.input_data not in document_types:
        return DOCUMENT
    if getattr(pair, "gold", None) is not None:
        return GOLD
    if sample.withdrawn_at is not None:
        return WITHDRAWN
    if findings.barred & {pair.first_id, pair.second_id}:
        return resolution.MUST_NOT_TRAIN
    return ""


def _resolved(pair: Pair, verdicts: Sequence[str], findings: safety.Findings) -> resolution.Resolution:
    return resolution.resolve(verdicts, flags=_sides(pair, findings.harmful), ruling=_ruling(pair, findings))


def _sides(pair: Pair, harmful: Collection[int]) -> list[str]:
    sides = (("first", pair.first_id), ("second", pair.second_id))
    return [side for side, completion in sides if completion in harmful]


def _ruling(pair: Pair, findings: safety.Findings) -> resolution.Ruling | None:
    """The ruling that stands in place of the pair's votes, if the votes are still those it was given on."""
    if pair.pk not in findings.standing:
        return None
    # The lead's view of the harm, and what is known of the same texts from other pairs.
    return resolution.Ruling(outcome=findings.rulings[pair.pk].outcome, harmful=_sides(pair, findings.harmful))


def _row(pair: Pair, resolved: resolution.Resolution, alike: dict[str, dict[str, Any]]) -> Row:
    """`alike`: the votes of the rows so far, by how they are written: 2 and 2.0 are not the same to a digest."""
    chosen, rejected = (pair.first, pair.second) if resolved.first_is_chosen else (pair.second, pair.first)
    votes = {
        "chosen": resolved.chosen,
        "rejected": resolved.rejected,
        "tie": resolved.tie,
        # Minus zero and zero are one number to the database, and two to a digest.
        "strength": resolved.strength or 0.0,
        "basis": resolved.basis,
    }
    sample = pair.prompt.sample
    row = Row(
        digest=b"", texts=bytes.fromhex(sample.digest + pair.prompt.digest + chosen.digest + rejected.digest), pair=pair.pk,
        prompt=pair.prompt_id, sample=sample.pk, chosen=chosen.pk, rejected=rejected.pk, p_chosen=resolved.p_chosen,
        votes=alike.setdefault(repr(votes), votes), split=Split(sample.split).value,
    )  # fmt: skip
    return replace(row, digest=bytes.fromhex(records.digest_of(row.content)))


def _canonical(value: Any) -> str:
    """As records.digest_of writes what it digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(campaign: Campaign, made: Plan) -> str:
    """What the snapshot of this plan is called."""
    return _digest(campaign, made.rows, made.evidence.rulings.values(), made.filters)


def _digest(campaign: Campaign, rows: Sequence[Row], rulings: Collection[str], asked: Filters) -> str:
    """SHA-256 of the whole as canonical JSON (records.digest_of), fed row by row."""
    whole: dict[str, Any] = {
        "format": FORMAT,
        "campaign": str(campaign.public_id),
        "simulated": campaign.simulated,
        "toy": campaign.toy,
        "rulings": sorted(rulings),
        "rows": None,
    }
    if campaign.external:
        whole["external"] = True
    if asked.drawn:
        # Rows may be the same to the letter where nobody was held out, and whose votes they are is not.
        whole["held_out"] = asked.drawn
    said = sha256()
    for place, name in enumerate(sorted(whole)):
        said.update(f"{',' if place else '{'}{_canonical(name)}:".encode())
        if name != "rows":
            said.update(_canonical(whole[name]).encode())
            continue
        said.update(b"[")
        for number, row in enumerate(rows):
            said.update(f"{',' if number else ''}{_canonical(row.content)}".encode())
        said.update(b"]")
    said.update(b"}")
    return said.hexdigest()


def rebuild(snapshot: Snapshot) -> str:
    """The digest that the snapshot's evidence gives now: its votes, flags and rulings resolved anew, whatever was said since.

    Equal to `snapshot.digest` while nothing of what it rests on was changed behind the database's back. Raises LookupError for a
    snapshot frozen before its votes were kept one by one.
    """
    evidence = snapshot.evidence
    if not evidence.votes:
        raise LookupError("This snapshot was frozen before its votes were kept one by one.")
    left_out = {pair for pairs in evidence.dropped.values() for pair in pairs}
    votes: dict[int, list[str]] = defaultdict(list)
    for pair, verdict in Judgement.objects.filter(pk__in=evidence.votes).values_list("assignment__pair", "verdict").iterator():
        if pair not in left_out:
            votes[pair].append(verdict)
    standing = set(evidence.findings["standing"])
    harmful = set(evidence.findings["harmful"])
    rulings = {
        ruling.dispute.pair_id: ruling
        for ruling in Adjudication.objects.filter(pk__in=evidence.rulings).select_related("dispute__pair__first", "dispute__pair__second")
    }
    rows: list[Row] = []
    alike: dict[str, dict[str, Any]] = {}
    for pair in _of_pairs(snapshot.campaign).iterator(chunk_size=CHUNK):
        if pair.pk not in votes:
            continue
        flags, ruled = _sides(pair, harmful), rulings.get(pair.pk)
        ruling = resolution.Ruling(outcome=ruled.outcome, harmful=flags) if ruled is not None and ruled.pk in standing else None
        rows.append(_row(pair, resolution.resolve(votes[pair.pk], flags=flags, ruling=ruling), alike))
    rows.sort(key=lambda row: row.digest)
    decided = [snapshot_evidence.ruling_digest(ruling, ruling.pk in standing) for ruling in rulings.values()]
    return _digest(snapshot.campaign, rows, decided, filters.from_dict(snapshot.filters))


def dropped_pairs(snapshot: Snapshot) -> Iterator[tuple[int, str]]:
    """(pair, reason) of every pair that was left out, by pair. Empty for a snapshot frozen before they were listed."""
    kept = snapshot.evidence.dropped
    yield from sorted((pair, reason) for reason, pairs in kept.items() for pair in pairs)


def _counts(made: Plan) -> dict[str, Any]:
    basis = Counter(row.votes["basis"] for row in made.rows)
    return {
        "used": made.used,
        "dropped": made.lost,
        "judgements": made.evidence.counted,
        "raters": made.evidence.raters,
        "surplus": made.evidence.surplus,
        **({"held_out_raters": len(made.evidence.held_out)} if made.evidence.held_out else {}),
        "by_ruling": basis["ruling"],
        "by_harm": basis["harm"],
    }


def why_empty(made: Plan) -> str:
    """Why no row is left: which reason took how many pairs, the greatest first."""
    lost = sorted(made.lost.items(), key=lambda one: (-one[1], one[0]))
    return "No row is left. Left out: " + ", ".join(f"{count} ({DROP_REASONS[reason]})" for reason, count in lost) + "."
