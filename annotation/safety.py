"""What flags and rulings say of completions, over all campaigns: which are harmful, which may not be trained on, which block a model."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from django.db.models import Q, QuerySet

from annotation.models import (
    MAJOR,
    Adjudication,
    Completion,
    DisputeState,
    Judgement,
    Prompt,
    Sample,
    Snapshot,
    SnapshotRow,
)
from modelhub.models import ModelVersion


@dataclass(frozen=True)
class Findings:
    """Of completions, by id: `harmful` do major harm or worse by what holds now, `barred` may not be trained on.

    `rulings` are the newest of each disputed pair, by pair id; `standing` those given on the votes as they are now.
    """

    harmful: frozenset[int] = frozenset()
    barred: frozenset[int] = frozenset()
    rulings: Mapping[int, Adjudication] = field(default_factory=dict)
    standing: frozenset[int] = frozenset()


def everybody(person: int) -> bool:
    return True


def of_prompts(prompts: "QuerySet[Prompt]", *, simulated: bool, external: bool = False, by: Callable[[int], bool] = everybody) -> Findings:
    """What holds for the completions of `prompts`, in two queries, and four more where something was found. `by`: of whose flags and
    rulings alone, by account.

    Harm belongs to a text, not to the campaign it was seen in: a flag counts in every campaign that shows the text again. In its own
    pair a lead's ruling stands in place of the flags it was given on; flags that came later count again until the lead looked anew.
    "Must not train" holds until a later ruling on that pair lifts it, whatever becomes of the votes. Flags of simulated raters count
    only where `simulated`, imported ones only where `external`; those of our own raters everywhere.
    """
    ruled = (
        Adjudication.objects.newest()
        .filter(dispute__pair__prompt__in=prompts)
        .select_related("dispute__pair__first", "dispute__pair__second")
        .only(
            *("outcome", "votes_version", "harm_first", "harm_second", "must_not_train_first", "must_not_train_second", "adjudicator"),
            *("dispute__state", "dispute__votes_version", "dispute__pair__first__digest", "dispute__pair__second__digest"),
        )
    )
    rulings = {ruling.dispute.pair_id: ruling for ruling in ruled if by(ruling.adjudicator_id)}
    standing = frozenset(pair for pair, ruling in rulings.items() if stands(ruling))
    harmful: set[int] = set()
    for ruling in rulings.values():
        pair = ruling.dispute.pair
        harmful |= _worst(pair.first_id, ruling.harm_first) | _worst(pair.second_id, ruling.harm_second)
    for pair_id, person, first, second, harm_first, harm_second in _flags(prompts, simulated=simulated, external=external):
        if pair_id not in standing and by(person):
            harmful |= _worst(first, harm_first) | _worst(second, harm_second)
    return Findings(_wherever_written(harmful), barred_by(rulings.values()), rulings, standing)


def barred_by(rulings: Iterable[Adjudication]) -> frozenset[int]:
    """The completions that these rulings keep from training: the texts, whoever else wrote the same for the same prompt."""
    found: set[int] = set()
    for ruling in rulings:
        pair = ruling.dispute.pair
        found |= {pair.first_id} if ruling.must_not_train_first else set()
        found |= {pair.second_id} if ruling.must_not_train_second else set()
    return _wherever_written(found)


def _wherever_written(completions: Collection[int]) -> frozenset[int]:
    """`completions`, and every other with the same text for the same prompt: two models, or one asked twice, may write the same."""
    if not completions:
        return frozenset()
    texts = set(Completion.objects.filter(pk__in=completions).values_list("prompt", "digest"))
    beside = Completion.objects.filter(prompt__in={prompt for prompt, _ in texts}).values_list("pk", "prompt", "digest")
    return frozenset(pk for pk, prompt, digest in beside if (prompt, digest) in texts)


def stands(ruling: Adjudication) -> bool:
    """Whether the votes are still those the ruling was given on."""
    return ruling.dispute.state == DisputeState.RULED and ruling.votes_version == ruling.dispute.votes_version


def _flags(prompts: "QuerySet[Prompt]", *, simulated: bool, external: bool) -> "QuerySet[Judgement, tuple[int, int, int, int, str, str]]":
    said = Judgement.objects.speaking()
    if external:
        said |= Judgement.objects.speaking(external=True)
    flagged = said.filter(Q(harm_first__in=MAJOR) | Q(harm_second__in=MAJOR), assignment__pair__prompt__in=prompts)
    if not simulated:
        flagged = flagged.filter(assignment__campaign__simulated=False)
    texts = ("assignment__pair__first", "assignment__pair__second", "harm_first", "harm_second")
    return flagged.values_list("assignment__pair", "assignment__annotator", *texts)


def _worst(completion: int, harm: str) -> set[int]:
    return {completion} if harm in MAJOR else set()


@dataclass(frozen=True)
class Since:
    """How many rows of a snapshot would not be frozen as they are today: each counted once, for the first reason that holds."""

    must_not_train: int = 0
    withdrawn: int = 0
    harmful: int = 0

    @property
    def rows(self) -> int:
        return self.must_not_train + self.withdrawn + self.harmful

    def __str__(self) -> str:
        said = [
            (self.must_not_train, "a text that a lead has since ruled out of training"),
            (self.withdrawn, "a sample withdrawn since"),
            (self.harmful, "a preferred text found harmful since"),
        ]
        return ", ".join(f"{count} with {what}" for count, what in said if count)


def since(snapshot: Snapshot) -> Since:
    """What came to light about a snapshot's rows after it was frozen. Few queries, one of them over its rows."""
    rows = SnapshotRow.objects.filter(snapshot=snapshot)
    prompts = Prompt.objects.filter(pk__in=rows.values("prompt"))
    found = of_prompts(prompts, simulated=snapshot.simulated, external=snapshot.external)
    gone = set(Sample.objects.filter(withdrawn_at__isnull=False, prompts__in=rows.values("prompt")).values_list("prompts", flat=True))
    if not (found.barred or found.harmful or gone):
        return Since()
    counted: dict[str, int] = defaultdict(int)
    for prompt, chosen, rejected in rows.values_list("prompt", "chosen", "rejected").iterator(chunk_size=5000):
        if found.barred & {chosen, rejected}:
            counted["must_not_train"] += 1
        elif prompt in gone:
            counted["withdrawn"] += 1
        elif chosen in found.harmful:
            counted["harmful"] += 1
    return Since(**counted)


def blocks(version: ModelVersion) -> list[Adjudication]:
    """The rulings that keep this version from promotion: the newest of each dispute, about a text that it wrote."""
    wrote = Q(block_promotion_first=True, dispute__pair__first__batch__version=version) | Q(
        block_promotion_second=True, dispute__pair__second__batch__version=version
    )
    return list(Adjudication.objects.newest().filter(wrote).select_related("dispute__campaign").order_by("decided_at"))
