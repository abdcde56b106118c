"""Slots beyond the plain vote: gold, second readers, repeats; what is withdrawn; and the books, which must balance.

To the annotator they all look alike: a slot's kind never leaves the server.
"""

import random
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256

from django.db import connection, models, transaction
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Assignment, AssignmentState, Campaign, CampaignState, Pair, Slot, SlotKind

VOTES = (SlotKind.VOTE, SlotKind.REVIEW)
# The repeat a swapped second asking is: see SlotKind.REPEAT.
ASKED_AGAIN = 1

# Every slot is open, withdrawn, or held by one lease or answer: exactly one of the three (reliability.md A1, promise 9).
_UNBALANCED = """
SELECT s.id, s.kind, s.open, s.withdrawn_at IS NOT NULL AS withdrawn, count(a.id) AS holders
FROM annotation_slot s
LEFT JOIN annotation_assignment a ON a.slot_id = s.id AND a.state IN ('leased', 'submitted')
WHERE s.campaign_id = %s
GROUP BY s.id
HAVING s.open::int + (s.withdrawn_at IS NOT NULL)::int + count(a.id) <> 1
ORDER BY s.id
"""


def unbalanced(campaign: Campaign) -> list[dict[str, object]]:
    """Slots of `campaign` that are not exactly one of open, withdrawn and held: must be empty at every moment.

    Each is {"slot": id, "kind", "open", "withdrawn", "holders"}.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNBALANCED, [campaign.pk])
        return [dict(zip(("slot", "kind", "open", "withdrawn", "holders"), row, strict=True)) for row in cursor.fetchall()]


@transaction.atomic
def deal_gold(*, campaign: Campaign, user: User, repeat: int = 0) -> int:
    """Give `user` a slot of their own for every gold pair of `campaign`; returns how many are new. Doing it again adds none.

    In a qualification they stand in the pairs' order; elsewhere they are spread at random over what is still to be judged, so that
    nothing tells them apart. `repeat` counts the tries; a later one shows the pair with its sides swapped.
    """
    dealt = Slot.objects.filter(pair=models.OuterRef("pk"), kind=SlotKind.GOLD, reserved_for=user, repeat=repeat, withdrawn_at__isnull=True)
    # The pairs' locks number the slots one after the other, whoever else adds one; the order of locking is everybody's.
    pairs = list(
        Pair.objects.select_for_update(no_key=True, of=("self",))
        .filter(campaign=campaign, gold__isnull=False, prompt__sample__withdrawn_at__isnull=True)
        .exclude(models.Exists(dealt))
        .order_by("pk")
    )
    pairs.sort(key=lambda pair: (pair.position, pair.pk))
    if not pairs:
        return 0
    numbers = _next_numbers(pairs)
    seen = dict(
        Assignment.objects.filter(pair__in=pairs, annotator=user).order_by("pk").values_list("pair", "first_on_left"),
    )
    first, last = (1, 0) if campaign.purpose == "qualify" else _still_to_judge(campaign)
    slots = []
    for order, pair in enumerate(pairs, start=1):
        draw = random.Random(f"{campaign.seed}:{pair.pk}:{user.pk}:{repeat}")  # noqa: S311 (reproducible, not secret)
        left = draw.random() < 0.5
        slots.append(
            Slot(
                pair=pair,
                campaign=campaign,
                kind=SlotKind.GOLD,
                number=numbers[pair.pk],
                position=order if campaign.purpose == "qualify" else draw.randint(first, last),
                first_on_left=not seen[pair.pk] if pair.pk in seen else left,
                reserved_for=user,
                repeat=repeat,
            )
        )
    Slot.objects.bulk_create(slots, batch_size=1000)
    return len(slots)


def _still_to_judge(campaign: Campaign) -> tuple[int, int]:
    """First and last position of the open votes of `campaign`; of all pairs when none is open."""
    span = campaign.slots.filter(open=True, kind__in=VOTES).aggregate(first=models.Min("position"), last=models.Max("position"))
    if span["first"] is None:
        span = campaign.pairs.aggregate(first=models.Min("position"), last=models.Max("position"))
    return span["first"], span["last"]


def _next_numbers(pairs: Iterable[Pair]) -> dict[int, int]:
    """The next free slot number of each pair. Hold the pairs' locks."""
    used = Slot.objects.filter(pair__in=pairs).values("pair").annotate(last=models.Max("number")).values_list("pair", "last")
    last = dict(used)
    return {pair.pk: last.get(pair.pk, 0) + 1 for pair in pairs}


@transaction.atomic
def add_review(*, pair: Pair) -> Slot | None:
    """One more reader for a pair with a major flag that only one person was to judge; None if it has or had one.

    It is handed out where the campaign stands now, so that the next to come meets it. A closed campaign gets none.
    """
    pair = Pair.objects.select_for_update(no_key=True, of=("self",)).select_related("campaign", "prompt__sample").get(pk=pair.pk)
    votes = list(pair.slots.filter(kind__in=VOTES, withdrawn_at__isnull=True).order_by("number"))
    if len(votes) != 1 or pair.campaign.state == CampaignState.CLOSED or pair.prompt.sample.withdrawn_at is not None:
        return None
    return Slot.objects.create(
        pair=pair,
        campaign=pair.campaign,
        kind=SlotKind.REVIEW,
        number=_next_numbers([pair])[pair.pk],
        position=max(pair.position, _stands_at(pair.campaign)),
        first_on_left=not votes[0].first_on_left,
        audience=votes[0].audience,
    )


def _stands_at(campaign: Campaign) -> int:
    """The position handed out last."""
    newest = campaign.assignments.filter(slot__kind__in=VOTES).order_by("-pk").values_list("slot__position", flat=True)
    return newest.first() or 0


def schedule_repeat(*, assignment: Assignment) -> Slot | None:
    """Ask the same rater again on a later day, with sides swapped, about the share of their votes that the protocol names; else None.

    Which ones follows from the campaign's seed, the pair and the rater: answering again, or undoing, does not draw anew.
    """
    campaign = assignment.campaign
    if assignment.repeat or campaign.state == CampaignState.CLOSED or not _asked_again(campaign, assignment):
        return None
    return _schedule(assignment)


def _asked_again(campaign: Campaign, assignment: Assignment) -> bool:
    if not campaign.repeat_share:
        return False
    drawn = sha256(f"{campaign.seed}:{assignment.pair_id}:{assignment.annotator_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < campaign.repeat_share * 2**64


@transaction.atomic
def _schedule(assignment: Assignment) -> Slot | None:
    pair = Pair.objects.select_for_update(no_key=True, of=("self",)).get(pk=assignment.pair_id)
    vote = Slot.objects.get(pk=assignment.slot_id)
    again = Slot.objects.filter(
        pair=pair, kind=SlotKind.REPEAT, reserved_for=assignment.annotator_id, repeat=ASKED_AGAIN, withdrawn_at__isnull=True
    )
    if vote.kind not in VOTES or again.exists():
        return None
    return Slot.objects.create(
        pair=pair,
        campaign_id=assignment.campaign_id,
        kind=SlotKind.REPEAT,
        number=_next_numbers([pair])[pair.pk],
        position=vote.position,
        first_on_left=not assignment.first_on_left,
        reserved_for_id=assignment.annotator_id,
        repeat=ASKED_AGAIN,
        available_from=Now() + timedelta(hours=assignment.campaign.repeat_after_hours),
    )


@transaction.atomic
def moot_repeat(*, assignment: Assignment) -> int:
    """Withdraw the unanswered repeat of an answer that was taken back, and end a lease on it; returns how many."""
    if assignment.repeat or not _asked_again(assignment.campaign, assignment):
        return 0
    return _withdraw(Slot.objects.filter(pair=assignment.pair_id, kind=SlotKind.REPEAT, reserved_for=assignment.annotator_id))


@transaction.atomic
def withdraw(*, pairs: Iterable[Pair]) -> int:
    """Nobody is to judge `pairs` any more: open slots are withdrawn, leases end; what was answered stays. Returns how many slots."""
    return _withdraw(Slot.objects.filter(pair__in=list(pairs)))


def _withdraw(slots: models.QuerySet[Slot]) -> int:
    """Withdraw what is not answered of `slots`. Assignments are locked before slots, as everywhere."""
    withdrawn = 0
    while True:
        leases = Assignment.objects.select_for_update().filter(slot__in=slots, state=AssignmentState.LEASED).order_by("pk")
        ended = list(leases.values_list("pk", "slot"))
        Assignment.objects.filter(pk__in=[lease for lease, _ in ended]).update(state=AssignmentState.RELEASED)
        Slot.objects.filter(pk__in=[slot for _, slot in ended]).update(open=True)
        found = slots.filter(open=True).update(open=False, withdrawn_at=Now())
        withdrawn += found
        # A claim that was faster took one of them meanwhile: its lease ends in the next round.
        if not found and not ended:
            return withdrawn
