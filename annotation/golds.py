"""Gold: pairs whose answer is known. They look like every other pair; what they show of a rater is for trainers and leads alone."""

import random
from collections.abc import Collection
from typing import NamedTuple

from django.db import models, transaction
from django.db.models import Count, F, Q

from accounts import audit
from accounts.models import User
from annotation.models import (
    Adjudication,
    AssignmentState,
    Campaign,
    CampaignState,
    DisputeState,
    Gold,
    Judgement,
    Outcome,
    Pair,
    Slot,
    SlotKind,
    Split,
    Verdict,
)

# Fewer votes than this are not called unanimous; a single rater always agrees with themselves.
UNANIMOUS = 3
# Below this many answers a share of right ones says nothing about anybody.
ENOUGH = 10

FIRST = (Verdict.FIRST_MUCH, Verdict.FIRST_SLIGHTLY)
SECOND = (Verdict.SECOND_MUCH, Verdict.SECOND_SLIGHTLY)


class GoldRefused(Exception):
    """A pair cannot be made gold, or not any more; the message says why."""


@transaction.atomic
def mark(*, pair: Pair, accepts: Collection[str], explanation: str, origin: str, actor: User | None) -> Gold:
    """Say which verdicts, by completion, are right for `pair`; said again, the newer holds. Only while its campaign is a draft.

    The pair's places for votes are taken away: what is asked to learn about raters is not counted as what they say about models.
    `explanation` is shown after a qualification's answer, whichever side is which there. Raises GoldRefused.
    """
    known = set(Verdict.values) - {Verdict.CANNOT_JUDGE}
    if not accepts or not set(accepts) <= known:
        raise GoldRefused("Say which verdicts are right: at least one, and “cannot judge” is none of them.")
    if Campaign.objects.select_for_update().get(pk=pair.campaign_id).state != CampaignState.DRAFT:
        raise GoldRefused("The campaign has opened: what it asks is fixed.")
    Slot.objects.filter(pair=pair, kind=SlotKind.VOTE).delete()
    right = [verdict for verdict in Verdict.values if verdict in accepts]
    gold, _ = Gold.objects.update_or_create(pair=pair, defaults={"accepts": right, "explanation": explanation, "origin": origin})
    audit.record(actor, "gold.marked", gold, campaign=str(pair.campaign.public_id), pair=pair.pk, origin=origin)
    return gold


@transaction.atomic
def add_settled(*, campaign: Campaign, count: int, actor: User | None) -> int:
    """Copy up to `count` pairs that closed campaigns have settled into the draft `campaign`, as gold; returns how many there were.

    Settled: three votes or more, all for the same side, or a lead's ruling for one side. One pair a prompt; those that no member of
    `campaign` has judged come first. Never a held-out pair of a study that is still to be decided, never a withdrawn sample, and
    simulated raters settle nothing for clinicians. Raises GoldRefused unless the campaign is a draft.
    """
    if Campaign.objects.select_for_update().get(pk=campaign.pk).state != CampaignState.DRAFT:
        raise GoldRefused("The campaign has opened: what it asks is fixed.")
    ruled, unanimous = _ruled(), _unanimous()
    favours = {**unanimous, **ruled}
    found = list(_settled_pairs(campaign).filter(pk__in=favours).order_by("pk"))
    judged = set(
        Pair.objects.filter(
            pk__in=[pair.pk for pair in found], assignments__annotator__in=campaign.memberships.values("user"),
            assignments__state__in=[AssignmentState.SUBMITTED, AssignmentState.SURPLUS],
        ).values_list("pk", flat=True)
    )  # fmt: skip
    random.Random(f"gold {campaign.seed}").shuffle(found)  # noqa: S311 (reproducible, not secret)
    by_prompt: dict[int, Pair] = {}
    for pair in sorted(found, key=lambda pair: pair.pk in judged):
        by_prompt.setdefault(pair.prompt_id, pair)
    last = campaign.pairs.aggregate(last=models.Max("position"))["last"]
    start = 0 if last is None else last + 1
    chosen = list(by_prompt.values())[:count]
    for position, pair in enumerate(chosen, start=start):
        copied = Pair.objects.create(
            campaign=campaign, prompt_id=pair.prompt_id, first_id=pair.first_id, second_id=pair.second_id, position=position
        )
        origin = "ruled" if pair.pk in ruled else "settled"
        mark(pair=copied, accepts=FIRST if favours[pair.pk] else SECOND, explanation="", origin=origin, actor=actor)
    return len(chosen)


def _settled_pairs(campaign: Campaign) -> models.QuerySet[Pair]:
    """Pairs of closed campaigns that may become gold in `campaign`, settled or not."""
    undecided = Pair.objects.filter(campaign__purpose="study").exclude(campaign__state=CampaignState.CLOSED)
    there = Pair.objects.filter(campaign=campaign, prompt=models.OuterRef("prompt"))
    return (
        Pair.objects.filter(
            campaign__state=CampaignState.CLOSED,
            campaign__simulated=campaign.simulated,
            campaign__toy=campaign.toy,
            campaign__external=False,
            prompt__sample__withdrawn_at__isnull=True,
        )
        .exclude(prompt__sample__split=Split.EVALUATION, prompt__in=undecided.values("prompt"))
        .exclude(models.Exists(there))
    )


def _unanimous() -> dict[int, bool]:
    """Pair id → whether all of its votes, three or more, are for the first. What a lead had to look at is left to the ruling."""
    undisputed = Q(assignment__pair__dispute__isnull=True) | Q(assignment__pair__dispute__state=DisputeState.MOOT)
    votes = (
        Judgement.objects.votes()
        .filter(undisputed, assignment__campaign__state=CampaignState.CLOSED)
        .values("assignment__pair")
        .annotate(n=Count("pk"), first=Count("pk", filter=Q(verdict__in=FIRST)), second=Count("pk", filter=Q(verdict__in=SECOND)))
        .filter(Q(first=F("n")) | Q(second=F("n")), n__gte=UNANIMOUS)
    )
    return {row["assignment__pair"]: row["first"] > 0 for row in votes}


def _ruled() -> dict[int, bool]:
    """Pair id → whether a lead ruled for the first; pairs with any other ruling are not among them."""
    standing = Adjudication.objects.filter(dispute=models.OuterRef("dispute")).order_by("-revision").values("pk")[:1]
    rulings = Adjudication.objects.filter(
        pk=models.Subquery(standing), outcome__in=[Outcome.FIRST, Outcome.SECOND], dispute__state=DisputeState.RULED,
        dispute__campaign__state=CampaignState.CLOSED,
    )  # fmt: skip
    return {pair: outcome == Outcome.FIRST for pair, outcome in rulings.values_list("dispute__pair", "outcome")}


class Result(NamedTuple):
    """How a member did on gold: `right` of `asked`; `enough` says whether that is more than a handful."""

    user: User
    right: int
    asked: int

    @property
    def enough(self) -> bool:
        return self.asked >= ENOUGH


def results(*, campaign: Campaign) -> list[Result]:
    """Every member's standing answers on gold, by name. For trainers and leads; a rater never sees their own while it can be gamed."""
    answers = (
        Judgement.objects.current()
        .filter(assignment__campaign=campaign, assignment__slot__kind=SlotKind.GOLD, surplus=False)
        .values_list("assignment__annotator_id", "verdict", "assignment__pair__gold__accepts")
    )
    asked: dict[int, list[bool]] = {}
    for annotator, verdict, accepts in answers:
        asked.setdefault(annotator, []).append(verdict in (accepts or ()))
    members = User.objects.filter(memberships__campaign=campaign).order_by("username")
    return [Result(member, sum(asked.get(member.pk, [])), len(asked.get(member.pk, []))) for member in members]


class PairResult(NamedTuple):
    """How a gold pair was answered first: `right` of `asked` raters. One that most miss is more likely wrong than they are."""

    number: int
    task: str
    right: int
    asked: int


def by_pair(*, campaign: Campaign) -> list[PairResult]:
    """Every gold pair with its first answers of every rater's first asking, in the campaign's order. Two queries."""
    given = Judgement.objects.filter(
        assignment__campaign=campaign, assignment__slot__kind=SlotKind.GOLD, assignment__repeat=0, revision=1
    ).values_list("assignment__pair", "verdict", "assignment__pair__gold__accepts")
    answers: dict[int, list[bool]] = {}
    for pair, verdict, accepts in given:
        answers.setdefault(pair, []).append(verdict in (accepts or ()))
    pairs = campaign.pairs.filter(gold__isnull=False).order_by("position").values_list("pk", "prompt__sample__task_type")
    return [
        PairResult(number, task, sum(answers.get(pk, [])), len(answers.get(pk, []))) for number, (pk, task) in enumerate(pairs, start=1)
    ]
