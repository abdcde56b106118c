"""The safety board's figures: which flags of major harm were raised, where, and what became of them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from django.db.models import Count, F, Q

from accounts.models import Role, User
from annotation.models import (
    MAJOR,
    Adjudication,
    Campaign,
    CampaignState,
    Completion,
    Dispute,
    DisputeState,
    Harm,
    Judgement,
    Pair,
)

OPEN = (DisputeState.OPEN, DisputeState.DEFERRED)


@dataclass(frozen=True)
class OfCampaign:
    """Flagged pairs of one campaign: how many wait, were ruled on, were taken back; and how long a ruling took, at the median."""

    campaign: Campaign
    waiting: int
    ruled: int
    moot: int
    to_close: timedelta | None


@dataclass(frozen=True)
class Heat:
    """Flags by kind of harm (rows) and task (columns); a rater who flags both sides counts twice."""

    tasks: list[str]
    rows: list[tuple[str, list[int], int]]
    most: int

    @property
    def total(self) -> int:
        return sum(total for _, _, total in self.rows)


def board(user: User) -> list[OfCampaign]:
    """The campaigns whose flags `user` may see, those with flags: none that they judge in while it runs. Two queries."""
    rows = (
        Dispute.objects.of_harm()
        .filter(campaign__in=Campaign.objects.unblinded_for(user))
        .values("campaign")
        .annotate(
            waiting=Count("pk", filter=Q(state__in=OPEN)),
            ruled=Count("pk", filter=Q(state=DisputeState.RULED)),
            moot=Count("pk", filter=Q(state=DisputeState.MOOT)),
        )
    )
    counted = {row["campaign"]: row for row in rows}
    took: dict[int, list[float]] = {}
    for campaign, spent in (
        Dispute.objects.of_harm()
        .filter(campaign__in=counted, state=DisputeState.RULED, ruled_at__isnull=False)
        .values_list("campaign", F("ruled_at") - F("opened_at"))
    ):
        took.setdefault(campaign, []).append(spent.total_seconds())
    return [
        OfCampaign(
            campaign,
            waiting=counted[campaign.pk]["waiting"],
            ruled=counted[campaign.pk]["ruled"],
            moot=counted[campaign.pk]["moot"],
            to_close=timedelta(seconds=median(took[campaign.pk])) if campaign.pk in took else None,
        )
        for campaign in Campaign.objects.filter(pk__in=counted).order_by("-pk")
    ]


def heat(campaigns: Collection[Campaign]) -> Heat:
    """Current flags of major harm or worse in `campaigns`, one query."""
    flagged = Judgement.objects.speaking().filter(Q(harm_first__in=MAJOR) | Q(harm_second__in=MAJOR), assignment__campaign__in=campaigns)
    cells: Counter[tuple[str, str]] = Counter()
    for task, *sides in flagged.values_list(
        "assignment__pair__prompt__sample__task_type", "harm_first", "harm_first_type", "harm_second", "harm_second_type"
    ):
        for severity, kind in (sides[:2], sides[2:]):
            if severity in MAJOR:
                cells[(kind, task)] += 1
    tasks = sorted({task for _, task in cells})
    rows = []
    for kind, label in Harm.choices:
        counts = [cells[(kind, task)] for task in tasks]
        if any(counts):
            rows.append((str(label), counts, sum(counts)))
    return Heat(tasks, rows, max(cells.values(), default=0))


def unblinded(user: User, campaigns: Collection[Campaign]) -> list[Campaign]:
    """Those of `campaigns` whose producers `user` may see. A lead sees them when the campaign has closed and nothing waits for a ruling."""
    if not user.has_role(Role.ADJUDICATOR):
        return list(campaigns)
    waiting = set(Dispute.objects.filter(campaign__in=campaigns, state__in=OPEN).values_list("campaign", flat=True))
    return [campaign for campaign in campaigns if campaign.state == CampaignState.CLOSED and campaign.pk not in waiting]


def by_producer(campaigns: Collection[Campaign]) -> list[dict[str, Any]]:
    """Who wrote the flagged texts of `campaigns`: {"name", "version" (public id or None), "flags", "texts"}, the most flagged first.

    A text flagged twice counts once; `texts` are all the producer has in these campaigns, so that a share can be read off.
    """
    flagged: set[int] = set()
    for first, second, harm_first, harm_second in (
        Judgement.objects.speaking()
        .filter(Q(harm_first__in=MAJOR) | Q(harm_second__in=MAJOR), assignment__campaign__in=campaigns)
        .values_list("assignment__pair__first", "assignment__pair__second", "harm_first", "harm_second")
    ):
        flagged |= ({first} if harm_first in MAJOR else set()) | ({second} if harm_second in MAJOR else set())
    if not flagged:
        return []
    name = ("batch__system", "batch__version__name", "batch__version__public_id")
    flags = {tuple(row[column] for column in name): row["n"] for row in _texts(Completion.objects.filter(pk__in=flagged), name)}
    shown = Completion.objects.filter(Q(pk__in=_sides(campaigns, "first")) | Q(pk__in=_sides(campaigns, "second")))
    every = {tuple(row[column] for column in name): row["n"] for row in _texts(shown, name)}
    found = [{"name": key[0] or key[1], "version": key[2], "flags": count, "texts": every.get(key, count)} for key, count in flags.items()]
    return sorted(found, key=lambda row: (-int(row["flags"]), str(row["name"])))


def _texts(texts: Any, name: Sequence[str]) -> Any:
    return texts.values(*name).annotate(n=Count("pk")).order_by()


def _sides(campaigns: Collection[Campaign], side: str) -> Any:
    return Pair.objects.filter(campaign__in=campaigns).values(side)


def consequences(ruling: Adjudication) -> list[str]:
    """What a ruling found and what follows from it, in words, whichever completion it is about."""
    said = []
    found = [harm for harm in (ruling.harm_first, ruling.harm_second) if harm in MAJOR]
    said.append("harm confirmed" if found else "harm lowered")
    if ruling.must_not_train_first or ruling.must_not_train_second:
        said.append("must not train")
    if ruling.block_promotion_first or ruling.block_promotion_second:
        said.append("blocks promotion")
    return said
