"""Qualification: a few pairs whose answers are known, with feedback after each, before somebody judges for real."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, F
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import memberships
from annotation.models import Campaign, CampaignState, Gold, Judgement, JudgementQuerySet, Membership, Slot, SlotKind

QUALIFY = "qualify"

_WORDS = {
    "a_much": "A much better",
    "a_slightly": "A slightly better",
    "both_acceptable": "Both acceptable",
    "b_slightly": "B slightly better",
    "b_much": "B much better",
    "both_unacceptable": "Both unacceptable",
}


class NotQualifying(Exception):
    """A try cannot be begun, granted or counted; the message says why and what to do."""


@dataclass(frozen=True)
class Feedback:
    """What a qualification says after an answer: `expected` verdicts by side as this rater saw them, in words too."""

    right: bool
    expected: tuple[str, ...]
    expected_words: str
    explanation: str
    number: int
    total: int


@dataclass(frozen=True)
class Standing:
    """Where somebody stands in a qualification: the try under way, how much of it is answered, and its outcome if it is over."""

    attempt: int
    attempts: int
    answered: int
    total: int
    # Right answers of the last finished try; None while the first is under way, so that nobody counts along.
    right: int | None
    needed: int
    passed: bool
    failed: bool


def feedback(*, judgement: Judgement) -> Feedback | None:
    """What was expected, for an answer in a qualification; None anywhere else: there a gold pair stays like every other."""
    held = judgement.assignment
    if held.campaign.purpose != QUALIFY or held.slot.kind != SlotKind.GOLD:
        return None
    gold = Gold.objects.filter(pair=held.pair_id).first()
    if gold is None:
        return None
    expected = tuple(by_side(verdict, held.first_on_left) for verdict in gold.accepts)
    in_order = [code for code in _WORDS if code in expected]
    answered = _first_answers(held.campaign, held.annotator, held.repeat).count()
    return Feedback(
        right=judgement.verdict in gold.accepts,
        expected=tuple(in_order),
        expected_words=" or ".join(_WORDS[code] if not place else _lower(_WORDS[code]) for place, code in enumerate(in_order)),
        explanation=gold.explanation,
        number=answered,
        total=_total(held.campaign, held.annotator, held.repeat),
    )


def by_side(verdict: str, first_on_left: bool) -> str:
    """A verdict by completion as one by side: `first_much` reads `a_much` to whoever had the first on the left."""
    who, _, how = verdict.partition("_")
    sides = {"first": "a", "second": "b"} if first_on_left else {"first": "b", "second": "a"}
    return f"{sides.get(who, who)}_{how}"


def _lower(words: str) -> str:
    return words if words[:2] in ("A ", "B ") else words[0].lower() + words[1:]


def pairs_of(campaign: Campaign) -> int:
    """How many pairs a try at the qualification `campaign` has."""
    return Gold.objects.filter(pair__campaign=campaign, pair__prompt__sample__withdrawn_at__isnull=True).count()


def sizes(campaigns: Iterable[int]) -> dict[int, int]:
    """`pairs_of` for many campaigns in one query, by primary key; those without gold are left out."""
    gold = Gold.objects.filter(pair__campaign__in=list(campaigns), pair__prompt__sample__withdrawn_at__isnull=True)
    return dict(gold.order_by().values("pair__campaign").annotate(n=Count("pk")).values_list("pair__campaign", "n"))


def _total(campaign: Campaign, user: User, repeat: int) -> int:
    """How many pairs this try has: those dealt, less what was withdrawn from it meanwhile."""
    mine = Slot.objects.filter(campaign=campaign, kind=SlotKind.GOLD, reserved_for=user, repeat=repeat, withdrawn_at__isnull=True)
    return mine.count()


def _first_answers(campaign: Campaign, user: User, repeat: int) -> JudgementQuerySet:
    """The first answer to each pair of a try. What is changed after the feedback does not count, nor does it take anything away."""
    return Judgement.objects.filter(
        assignment__campaign=campaign, assignment__annotator=user, assignment__repeat=repeat,
        assignment__slot__kind=SlotKind.GOLD, revision=1,
    )  # fmt: skip


def score(*, campaign: Campaign, user: User, attempt: int) -> tuple[int, int]:
    """(right, answered) of a try, by first answers."""
    given = _first_answers(campaign, user, attempt - 1).values_list("verdict", "assignment__pair__gold__accepts")
    rows = list(given)
    return sum(verdict in (accepts or ()) for verdict, accepts in rows), len(rows)


def scores(*, campaign: Campaign) -> dict[int, tuple[int, int]]:
    """`score` of every member's try under way, or of their last, by user. One query."""
    given = Judgement.objects.filter(
        assignment__campaign=campaign, assignment__slot__kind=SlotKind.GOLD, revision=1,
        assignment__annotator__memberships__campaign=campaign,
        assignment__annotator__memberships__attempt=F("assignment__repeat") + 1,
    )  # fmt: skip
    found: dict[int, tuple[int, int]] = {}
    for user, verdict, accepts in given.values_list("assignment__annotator", "verdict", "assignment__pair__gold__accepts"):
        right, answered = found.get(user, (0, 0))
        found[user] = (right + (verdict in (accepts or ())), answered + 1)
    return found


def needed(campaign: Campaign, total: int) -> int:
    """How many of `total` answers have to be right: the pass share, rounded up."""
    return -int(-round(campaign.pass_share * total, 6) // 1)


def standing(*, campaign: Campaign, user: User) -> Standing | None:
    """Where `user` stands in the qualification `campaign`; None before they took part."""
    member = Membership.objects.filter(campaign=campaign, user=user).first()
    if member is None:
        return None
    total = _total(campaign, user, member.attempt - 1) or pairs_of(campaign)
    right, answered = score(campaign=campaign, user=user, attempt=member.attempt)
    over = member.qualified_at is not None or member.failed_at is not None
    if over:
        last: int | None = right
    elif member.attempt > 1:
        last = score(campaign=campaign, user=user, attempt=member.attempt - 1)[0]
    else:
        last = None
    return Standing(
        attempt=member.attempt, attempts=max(campaign.attempts, member.attempt), answered=answered, total=total, right=last,
        needed=needed(campaign, total), passed=member.qualified_at is not None, failed=member.failed_at is not None,
    )  # fmt: skip


@transaction.atomic
def enrol(*, campaign: Campaign, user: User) -> Membership:
    """Let `user` take the qualification `campaign`, if they are in a campaign that asks for it. Raises NotQualifying."""
    member = Membership.objects.filter(campaign=campaign, user=user).first()
    if member is not None:
        return member
    if campaign.state != CampaignState.OPEN:
        raise NotQualifying("This qualification is not open now. Ask whoever invited you to open it.")
    if not Membership.objects.filter(user=user, campaign__qualification=campaign, revoked_at__isnull=True).exists():
        raise NotQualifying("No campaign of yours asks for this qualification.")
    memberships.add(campaign=campaign, users=[user], actor=user)
    return Membership.objects.get(campaign=campaign, user=user)


@transaction.atomic
def consider(*, campaign: Campaign, user: User) -> str:
    """After an answer: "under_way", or once the try is complete "passed", "again" (the next try is dealt) or "failed".

    A pass opens every campaign that asks for this qualification. A last failure is on record for the leads, who may grant another
    try; nothing is taken away and nobody is removed.
    """
    member = Membership.objects.select_for_update().filter(campaign=campaign, user=user).first()
    if campaign.purpose != QUALIFY or member is None:
        return "under_way"
    if member.qualified_at is not None:
        return "passed"
    if member.failed_at is not None:
        return "failed"
    total = _total(campaign, user, member.attempt - 1)
    right, answered = score(campaign=campaign, user=user, attempt=member.attempt)
    if answered < total or not total:
        return "under_way"
    figures = {"attempt": member.attempt, "right": right, "asked": total}
    if right >= needed(campaign, total):
        Membership.objects.filter(pk=member.pk).update(qualified_at=Now())
        audit.record(user, "qualification.passed", campaign, user=user.pk, **figures)
        memberships.refresh(user=user)
        return "passed"
    if member.attempt < campaign.attempts:
        _deal_next(campaign, member)
        audit.record(user, "qualification.tried", campaign, user=user.pk, **figures)
        return "again"
    Membership.objects.filter(pk=member.pk).update(failed_at=Now())
    audit.record(user, "qualification.failed", campaign, user=user.pk, **figures)
    memberships.refresh(user=user)
    return "failed"


@transaction.atomic
def grant(*, campaign: Campaign, user: User, actor: User) -> Membership:
    """Let somebody who has no try left try once more: a lead has talked to them. Raises NotQualifying."""
    member = Membership.objects.select_for_update().filter(campaign=campaign, user=user).first()
    if member is None or member.failed_at is None:
        raise NotQualifying("Only somebody who has no try left needs another one.")
    if campaign.state != CampaignState.OPEN:
        raise NotQualifying("The qualification is not open: nobody can try it now.")
    _deal_next(campaign, member)
    audit.record(actor, "qualification.granted", campaign, user=user.pk, attempt=member.attempt)
    return member


def waiting_for_a_lead() -> int:
    """How many have no try left at a qualification that is open."""
    return Membership.objects.filter(
        failed_at__isnull=False, revoked_at__isnull=True, campaign__purpose=QUALIFY, campaign__state=CampaignState.OPEN
    ).count()


def _deal_next(campaign: Campaign, member: Membership) -> None:
    """The next try: the same pairs with their sides swapped."""
    member.attempt += 1
    member.failed_at = None
    member.save(update_fields=["attempt", "failed_at"])
    # Whoever may go on is dealt the gold of their try.
    memberships.refresh(user=member.user)


def gate(*, campaign: Campaign, user: User) -> Campaign | None:
    """The qualification that `user` has still to pass before `campaign` hands them pairs, or None."""
    asked = campaign.qualification
    if asked is None or Membership.objects.filter(campaign=asked, user=user, qualified_at__isnull=False).exists():
        return None
    return asked
