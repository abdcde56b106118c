"""Campaigns: which texts are compared, by whom, how often, and in what order."""

import random
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Role, User
from annotation import assignments, records, rubrics
from annotation.models import (
    LOCKED,
    Campaign,
    CampaignState,
    Completion,
    GenerationBatch,
    Membership,
    Pair,
    Rubric,
    Slot,
)

EVERY_PAIR, ONE_PAIR = "every", "one"


class CampaignRefused(Exception):
    """A campaign cannot be made, opened, closed or joined as asked; the message says what to change."""


class _Candidate(NamedTuple):
    """Two different texts of one prompt, the older first, who wrote them, and how likely it was that they were drawn."""

    prompt: int
    first: int
    second: int
    producers: tuple[int, int]
    probability: float


@transaction.atomic
def create(
    *,
    name: str,
    guideline: str,
    batches: Iterable[GenerationBatch],
    overlap: int,
    members: Iterable[User],
    actor: User | None,
    splits: Collection[str] = (),
    task_types: Collection[str] = (),
    pairing: str = EVERY_PAIR,
    limit: int | None = None,
    seed: int | None = None,
    lease_minutes: int = 30,
    purpose: str = "collect",
    rubric: Rubric | None = None,
    toy: bool = False,
    simulated: bool = False,
) -> Campaign:
    """A draft campaign over the texts that `batches` hold for the same prompts.

    Two texts of one prompt make a pair, in canonical order (the older completion first), each pair once; texts that are the same
    are left out and counted. With n texts a prompt gives n·(n−1)/2 pairs (`pairing="every"`) or one of them, drawn (`"one"`).
    `splits` and `task_types` keep only such samples; `limit` keeps a random part. The order, the draws and the sides follow `seed`.
    Each pair gets `overlap` slots, and who stands on the left alternates over them and, over the campaign, within each two producers.

    Raises CampaignRefused if nothing is left to compare or a member may not rate.
    """
    chosen = list(batches)
    if not chosen:
        raise CampaignRefused("Choose the texts to compare.")
    if not 1 <= overlap <= 20:
        raise CampaignRefused("A pair can be judged 1 to 20 times.")
    _check_names(name, guideline, chosen)
    seed = secrets.randbits(62) if seed is None else seed
    draw = random.Random(seed)  # noqa: S311 (reproducible, not secret)

    found, counts = _candidates(chosen, splits, task_types, pairing, limit, draw)
    campaign = Campaign.objects.create(
        name=name, guideline=guideline, purpose=purpose, rubric=rubric or rubrics.default(), overlap=overlap,
        lease_minutes=lease_minutes, seed=seed, simulated=simulated, toy=toy or _written_by_toys(chosen), counts=counts, created_by=actor,
    )  # fmt: skip
    _lay_out(campaign, found, draw)
    audit.record(actor, "campaign.created", campaign, **counts, overlap=overlap, batches=len(chosen))
    add_members(campaign=campaign, members=members, actor=actor)
    return campaign


def _candidates(
    batches: Sequence[GenerationBatch],
    splits: Collection[str],
    task_types: Collection[str],
    pairing: str,
    limit: int | None,
    draw: random.Random,
) -> tuple[list[_Candidate], dict[str, int]]:
    """The pairs to judge in the order they are handed out, and the counts of what was found and left out."""
    texts = (
        Completion.objects.filter(batch__in=batches)
        .order_by("prompt_id", "pk")
        .values_list("pk", "prompt_id", "batch_id", "digest", "prompt__sample__task_type", "prompt__sample__split")
    )
    by_prompt: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for pk, prompt, batch, digest, task_type, split in texts:
        if (not splits or split in splits) and (not task_types or task_type in task_types):
            by_prompt[prompt].append((pk, batch, digest))

    found: list[_Candidate] = []
    identical = 0
    for prompt, answers in by_prompt.items():
        different = []
        for (a, batch_a, digest_a), (b, batch_b, digest_b) in combinations(answers, 2):
            if digest_a == digest_b:
                identical += 1
            else:
                different.append(_Candidate(prompt, a, b, (batch_a, batch_b), 1.0))
        if pairing == ONE_PAIR and different:
            different = [draw.choice(different)._replace(probability=1 / len(different))]
        found += different
    counts = {
        "prompts": len(by_prompt),
        "single": sum(len(answers) < 2 for answers in by_prompt.values()),
        "identical": identical,
        "pairs": len(found),
    }
    if not found:
        raise CampaignRefused(
            f"No pair is left: {counts['prompts']} prompts match, {counts['single']} of them have only one text, "
            f"{identical} pairs hold the same text twice."
        )
    draw.shuffle(found)
    if limit is not None and limit < len(found):
        kept = limit / len(found)
        found = [one._replace(probability=one.probability * kept) for one in found[:limit]]
        counts["pairs"], counts["not_drawn"] = limit, counts["pairs"] - limit
    return found, counts


def _lay_out(campaign: Campaign, found: Sequence[_Candidate], draw: random.Random) -> None:
    """Write the pairs and, for each, as many slots as judgements are wanted."""
    pairs = Pair.objects.bulk_create(
        [
            Pair(
                campaign=campaign,
                prompt_id=one.prompt,
                first_id=one.first,
                second_id=one.second,
                position=position,
                selection_probability=one.probability,
            )
            for position, one in enumerate(found)
        ],
        batch_size=1000,
    )
    left = _sides([one.producers for one in found], draw)
    Slot.objects.bulk_create(
        [
            Slot(
                pair=pair, campaign=campaign, number=number, position=pair.position, first_on_left=left[pair.position] == (number % 2 == 1)
            )
            for pair in pairs
            for number in range(1, campaign.overlap + 1)
        ],
        batch_size=2000,
    )


def _sides(producers: Sequence[tuple[int, int]], draw: random.Random) -> list[bool]:
    """Whether each pair's first text starts on the left: half of the pairs of every two producers, drawn. Clinicians favour the left."""
    left = [False] * len(producers)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, pair in enumerate(producers):
        groups[pair].append(position)
    for positions in groups.values():
        sides = [index % 2 == 0 for index in range(len(positions))]
        draw.shuffle(sides)
        for position, side in zip(positions, sides, strict=True):
            left[position] = side
    return left


def _check_names(name: str, guideline: str, batches: Iterable[GenerationBatch]) -> None:
    """Annotators read the campaign's name and guideline: neither may say who wrote the texts."""
    seen = f"{name} {guideline}".casefold()
    for batch in batches:
        producer = str(batch).casefold()
        if len(producer) > 2 and re.search(rf"(?<!\w){re.escape(producer)}(?!\w)", seen):
            raise CampaignRefused(f"Annotators see the campaign's name and guideline: they must not name a producer ({batch}).")


def _written_by_toys(batches: Iterable[GenerationBatch]) -> bool:
    return any(batch.version is not None and batch.version.toy for batch in batches)


@transaction.atomic
def add_members(*, campaign: Campaign, members: Iterable[User], actor: User | None) -> int:
    """Let `members` rate in `campaign`; returns how many are new. Simulated raters belong in simulated campaigns only."""
    people = list(members)
    for person in people:
        if not person.has_role(Role.ANNOTATOR, Role.ADJUDICATOR):
            raise CampaignRefused(f"{person.username} may not rate: give them the clinician's role first.")
        if person.simulated and not campaign.simulated:
            raise CampaignRefused(f"{person.username} is simulated and may rate in simulated campaigns only.")
    known = set(campaign.memberships.values_list("user_id", flat=True))
    new = [Membership(campaign=campaign, user=person) for person in people if person.pk not in known]
    Membership.objects.bulk_create(new, ignore_conflicts=True)
    if new:
        audit.record(actor, "campaign.members_added", campaign, users=[membership.user_id for membership in new])
    return len(new)


@transaction.atomic
def open(*, campaign: Campaign, actor: User | None) -> Campaign:  # reads as campaigns.open
    """Let members rate. A draft opens once; what is closed stays closed, for its members may have seen who wrote what."""
    if not campaign.memberships.exists():
        raise CampaignRefused("Nobody is a member yet: add the people who will rate.")
    protocol = _protocol(campaign)
    moved = Campaign.objects.filter(pk=campaign.pk, state=CampaignState.DRAFT).update(
        state=CampaignState.OPEN, opened_at=Now(), protocol=protocol, protocol_digest=records.digest_of(protocol)
    )
    if not moved:
        raise CampaignRefused("Only a campaign that was not open yet can be opened.")
    campaign.refresh_from_db()
    audit.record(actor, "campaign.opened", campaign)
    return campaign


def _protocol(campaign: Campaign) -> dict[str, Any]:
    """What the digest covers: every locked field, the rubric by its own digest."""
    fixed = {
        name: getattr(campaign, name)
        for name in LOCKED
        if name not in {"protocol", "protocol_digest", "rubric", "qualification", "predecessor"}
    }
    return fixed | {"rubric": [str(campaign.rubric), campaign.rubric.digest]}


@transaction.atomic
def close(*, campaign: Campaign, actor: User | None) -> Campaign:
    """Hand out no more pairs. Leases end; an answer that arrives later is kept as surplus."""
    moved = Campaign.objects.filter(pk=campaign.pk, state=CampaignState.OPEN).update(state=CampaignState.CLOSED, closed_at=Now())
    if not moved:
        raise CampaignRefused("Only an open campaign can be closed.")
    assignments.release_all(campaign=campaign)
    campaign.refresh_from_db()
    audit.record(actor, "campaign.closed", campaign)
    return campaign
