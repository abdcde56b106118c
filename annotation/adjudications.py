"""Adjudications: a lead's blinded rulings on disputes, put beside the votes and never over them; taking turns, putting off."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import defects
from annotation.disputes import GRADE
from annotation.models import Adjudication, Campaign, Dispute, DisputeState, Judgement, Outcome, Pair, Severity

# Long enough to read a long pair twice; a lead who walked away gives it back without doing anything.
TAKEN_FOR = timedelta(minutes=30)
PUT_OFF_FOR = timedelta(days=7)
# These say that something is wrong with what was asked, not with an answer: whoever mends it has to know what.
_NEEDS_WORDS = {Outcome.DEFECTIVE, Outcome.RUBRIC_UNCLEAR}


class RulingRefused(Exception):
    """A ruling cannot be recorded; the message says why and what to do. Nothing was stored."""


class NotTheirs(RulingRefused):
    """Blind and independent: who judged the pair, or may still be handed it, does not rule on it."""


class Taken(RulingRefused):
    """Another lead has the dispute before them."""


class VotesChanged(RulingRefused):
    """The votes are no longer those the lead looked at; the newest are to be looked at first."""


class KeyReused(RulingRefused):
    """A form came back with another ruling; the first one stands."""


@dataclass(frozen=True)
class Ruling:
    """What a lead decides, by completion: the outcome, the harm they find on each side (blank: none), and what follows from it."""

    outcome: str
    rationale: str = ""
    harm_first: str = ""
    harm_second: str = ""
    must_not_train_first: bool = False
    must_not_train_second: bool = False
    block_promotion_first: bool = False
    block_promotion_second: bool = False


@transaction.atomic
def rule(*, dispute: Dispute, adjudicator: User, ruling: Ruling, votes_version: int, key: UUID) -> Adjudication:
    """Record a ruling as the dispute's newest revision; earlier ones, and the votes, stay as they are. Sent again, it counts once.

    `votes_version` is what the lead's page was drawn with. A defective sample is reported to whoever owns the data; an unclear rubric
    is listed with its campaign. Lifting "must not train" or "block promotion" is a new ruling without it.
    Raises NotTheirs, Taken, VotesChanged, KeyReused, and RulingRefused when words are needed and there are none.
    """
    # The pair before the dispute, as disputes.consider does: a vote and a ruling at once take turns.
    Pair.objects.select_for_update(of=("self",), no_key=True).get(pk=dispute.pair_id)
    held = Dispute.objects.select_for_update(of=("self",)).select_related("pair__prompt").get(pk=dispute.pk)
    if known := Adjudication.objects.filter(idempotency_key=key).first():
        return _the_same(known, held, ruling)
    _check(held, adjudicator, ruling, votes_version)
    made = Adjudication.objects.create(
        dispute=held,
        revision=int(held.adjudications.aggregate(last=Max("revision"))["last"] or 0) + 1,
        adjudicator=adjudicator,
        idempotency_key=key,
        votes_version=held.votes_version,
        **asdict(ruling),
    )
    Dispute.objects.filter(pk=held.pk).update(
        state=DisputeState.RULED, ruled_at=Now(), taken_by=None, taken_until=None, deferred_until=None
    )
    if ruling.outcome == Outcome.DEFECTIVE:
        defects.report(sample=held.pair.prompt.sample, actor=adjudicator, note=ruling.rationale)
    audit.record(
        adjudicator,
        "dispute.ruled",
        held,
        outcome=str(ruling.outcome),
        revision=made.revision,
        must_not_train=ruling.must_not_train_first + ruling.must_not_train_second,
        block_promotion=ruling.block_promotion_first + ruling.block_promotion_second,
    )
    return made


def _the_same(known: Adjudication, held: Dispute, ruling: Ruling) -> Adjudication:
    if known.dispute_id != held.pk or any(getattr(known, name) != value for name, value in asdict(ruling).items()):
        raise KeyReused("This form was sent before with another ruling; the first one stands.")
    return known


def _check(held: Dispute, adjudicator: User, ruling: Ruling, votes_version: int) -> None:
    if not Dispute.objects.for_lead(adjudicator).filter(pk=held.pk).exists():
        raise NotTheirs("You judge in this campaign or have judged this pair: another lead has to rule on it.")
    if Dispute.objects.taken_from(adjudicator).filter(pk=held.pk).exists():
        raise Taken("Another lead is looking at this one now. Take the next; your words are kept on this page.")
    if held.votes_version != votes_version:
        raise VotesChanged("The votes changed while you were looking. They are shown anew below; look again, then rule.")
    if ruling.outcome not in Outcome.values:
        raise RulingRefused("Choose what you decide first.")
    if {ruling.harm_first, ruling.harm_second} - {"", *Severity.values}:
        raise RulingRefused("Choose a severity from the list.")
    if not ruling.rationale.strip() and (why := _why_words(held, ruling)):
        raise RulingRefused(f"A few words, please: {why}.")


def _why_words(held: Dispute, ruling: Ruling) -> str:
    """Why this ruling needs a rationale, or nothing."""
    if ruling.outcome in _NEEDS_WORDS:
        return "whoever mends it has to know what is wrong"
    if ruling.must_not_train_first or ruling.must_not_train_second or ruling.block_promotion_first or ruling.block_promotion_second:
        return "a text kept from training, or a model from promotion, is owed a reason"
    found = flagged(held)
    if GRADE[ruling.harm_first] < GRADE[found[0]] or GRADE[ruling.harm_second] < GRADE[found[1]]:
        return "you find less harm than a rater did"
    return ""


def flagged(dispute: Dispute) -> tuple[str, str]:
    """The worst harm that current answers flag in the first completion and in the second; blank: none."""
    flags = Judgement.objects.speaking().filter(assignment__pair=dispute.pair_id).values_list("harm_first", "harm_second")
    first, second = ["", *(one for one, _ in flags)], ["", *(other for _, other in flags)]
    return max(first, key=lambda harm: GRADE[harm]), max(second, key=lambda harm: GRADE[harm])


def take(*, dispute: Dispute, adjudicator: User) -> bool:
    """Put the dispute before this lead for a while, by the database's clock; False when another lead has it, or it is not theirs."""
    free = Dispute.objects.for_lead(adjudicator).filter(pk=dispute.pk).filter(_untaken(adjudicator))
    return free.update(taken_by=adjudicator, taken_until=Now() + TAKEN_FOR) == 1


def take_next(*, adjudicator: User, after: Dispute | None = None) -> Dispute | None:
    """The gravest dispute, then the oldest, that waits and nobody has, now before this lead; None when none is left for them."""
    waiting = Dispute.objects.for_lead(adjudicator).waiting().filter(_untaken(adjudicator))
    for dispute in waiting.exclude(pk=after.pk) if after else waiting:
        if take(dispute=dispute, adjudicator=adjudicator):
            return dispute
    return None


@transaction.atomic
def defer(*, disputes: Collection[Dispute], adjudicator: User) -> int:
    """Put disputes off for a week; they come back by themselves, or sooner when a graver flag arrives. Those of others stay."""
    theirs = Dispute.objects.for_lead(adjudicator).waiting().filter(_untaken(adjudicator), pk__in=[dispute.pk for dispute in disputes])
    put_off = list(theirs.select_for_update(of=("self",)))
    Dispute.objects.filter(pk__in=[dispute.pk for dispute in put_off]).update(
        state=DisputeState.DEFERRED, deferred_until=Now() + PUT_OFF_FOR, taken_by=None, taken_until=None
    )
    for dispute in put_off:
        audit.record(adjudicator, "dispute.deferred", dispute)
    return len(put_off)


def _untaken(adjudicator: User) -> Q:
    return Q(taken_until__isnull=True) | Q(taken_until__lte=Now()) | Q(taken_by=adjudicator)


def unclear(*, campaign: Campaign) -> list[Adjudication]:
    """Rulings of a campaign that found its rubric unclear, the newest first: what the next version of the rubric has to answer."""
    return list(Adjudication.objects.newest().filter(outcome=Outcome.RUBRIC_UNCLEAR, dispute__campaign=campaign).order_by("-decided_at"))
