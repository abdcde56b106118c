"""Campaigns: which texts are compared, by whom, how often and in what order; and a campaign's life from draft to close.

| from \\ verb | open | pause | resume | extend | close |
|---|---|---|---|---|---|
| draft | open | – | – | – | – |
| open | – | paused | – | open | closed |
| paused | – | – | open | paused | closed |
| closed | – | – | – | – | – |

`discard` takes a draft away, and only a draft: nobody has seen it. `derive` makes the next draft from any campaign that has opened.
What is closed stays closed: its members may have seen who wrote what.
"""

import random
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

from django.db import transaction
from django.db.models import Count, Max
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.models import Specialty, User
from annotation import assignments, golds, memberships, pairs, protocols, rubrics, slots, worth
from annotation.golds import GoldRefused
from annotation.memberships import MembershipRefused
from annotation.models import (
    AssignmentState,
    Campaign,
    CampaignState,
    GenerationBatch,
    Membership,
    Pair,
    Rubric,
    Selection,
    Slot,
    SlotKind,
    Split,
)
from annotation.pairs import EVERY_PAIR, ONE_PAIR, Candidate, NothingToCompare, Sources, sources_of

__all__ = ["EVERY_PAIR", "ONE_PAIR", "CampaignRefused", "Terms"]

T = TypeVar("T")

CALLED = {
    CampaignState.DRAFT: "not open yet", CampaignState.OPEN: "open", CampaignState.PAUSED: "paused", CampaignState.CLOSED: "closed",
}  # fmt: skip


class CampaignRefused(Exception):
    """A campaign cannot be made, opened, closed or joined as asked; the message says what to change."""


class Terms(TypedDict, total=False):
    """The part of a protocol that has defaults; what each means is told by `annotation.models.Campaign`."""

    purpose: str
    lease_minutes: int
    double_share: float
    repeat_share: float
    repeat_after_hours: int
    selection: str
    routing: Mapping[str, Any]
    rationale_when: Sequence[str]
    session_minutes: int
    deadline: date | None
    hourly_cost: Decimal | None
    qualification: Campaign | None
    pass_share: float
    attempts: int


# --- made --------------------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create(
    *,
    name: str,
    guideline: str,
    batches: Iterable[GenerationBatch],
    overlap: int,
    members: Iterable[User],
    actor: User | None,
    cohorts: Mapping[str, Collection[User]] | None = None,
    splits: Collection[str] = (),
    task_types: Collection[str] = (),
    pairing: str = EVERY_PAIR,
    leaving: Collection[str] = (),
    limit: int | None = None,
    gold: int = 0,
    seed: int | None = None,
    rubric: Rubric | None = None,
    toy: bool = False,
    simulated: bool = False,
    **terms: Unpack[Terms],
) -> Campaign:
    """A draft campaign over the texts that `batches` hold for the same prompts.

    Two texts of one prompt make a pair, in canonical order (the older completion first), each pair once; texts that are the same
    are left out and counted, and so are those that a reason of `leaving` (annotation/worth.py) speaks against. `splits` and `task_types`
    keep only such samples; `limit` keeps a part, drawn as `selection` says.
    Each pair gets `overlap` slots, in every cohort if there are any, and who stands on the left alternates over them and, over the
    campaign, within each two producers. The order, the draws and the sides follow `seed`. `gold` pairs that earlier campaigns have
    settled are mixed in. A qualification may consist of such pairs alone.

    Raises CampaignRefused if nothing is left to compare, a member may not rate, or the terms contradict each other.
    """
    people = list(members)
    groups = {cohort: list(inside) for cohort, inside in (cohorts or {}).items()}
    sources = Sources(tuple(batches), tuple(splits) or tuple(Split.values), tuple(task_types), pairing, tuple(leaving))
    _check(name, guideline, sources, overlap, people, groups, gold, terms)
    seed = secrets.randbits(62) if seed is None else seed
    draw = random.Random(seed)  # noqa: S311 (reproducible, not secret)
    taken, counts = _drawn(sources, terms.get("selection", Selection.RANDOM), limit, draw)
    if not taken and not (gold and terms.get("purpose") == "qualify"):
        raise CampaignRefused(_nothing(counts) if sources.batches else "Choose the texts to compare.")
    campaign = Campaign.objects.create(
        name=name, guideline=guideline, rubric=rubric or rubrics.default(), overlap=overlap, splits=list(sources.splits),
        cohorts=list(groups), seed=seed, simulated=simulated, toy=toy or _written_by_toys(sources.batches), counts=counts,
        protocol={"sources": sources.as_dict()}, created_by=actor, **terms,
    )  # fmt: skip
    pairs.lay_out(campaign, taken, draw)
    audit.record(actor, "campaign.created", campaign, **counts, overlap=overlap, batches=len(sources.batches))
    _let_in(campaign, people, groups, actor)
    _mix_in(campaign, gold, actor)
    return campaign


def _check(
    name: str,
    guideline: str,
    sources: Sources,
    overlap: int,
    people: Collection[User],
    groups: Mapping[str, Collection[User]],
    gold: int,
    terms: Terms,
) -> None:
    if not 1 <= overlap <= 20:
        raise CampaignRefused("A pair can be judged 1 to 20 times.")
    if terms.get("selection", Selection.RANDOM) != Selection.RANDOM:
        if Split.EVALUATION in sources.splits:
            raise CampaignRefused("Pairs of the evaluation split are drawn at random only: leave that split out, or choose random.")
        if terms.get("purpose") == "study":
            raise CampaignRefused("A study measures, so its pairs are drawn at random.")
    if groups and terms.get("routing"):
        raise CampaignRefused("A pair is given out by cohort or by field, not by both.")
    inside = {person.pk for cohort in groups.values() for person in cohort}
    outside = [person.username for person in people if person.pk not in inside]
    if groups and outside:
        raise CampaignRefused(f"Every pair goes to cohorts, and {', '.join(outside)} would be in none.")
    if (deadline := terms.get("deadline")) is not None and deadline < timezone.localdate():
        raise CampaignRefused("The deadline lies in the past.")
    asked_first = terms.get("qualification")
    if asked_first is not None and asked_first.purpose != "qualify":
        raise CampaignRefused(f"“{asked_first}” is no qualification.")
    if gold < 0:
        raise CampaignRefused("Gold pairs are counted from 0.")
    _check_names(name, guideline, sources.batches)


def _drawn(sources: Sources, how: str, limit: int | None, draw: random.Random) -> tuple[list[Candidate], dict[str, int]]:
    found, counts = pairs.candidates(sources, draw)
    if not found:
        return [], counts
    try:
        taken = pairs.take(found, how, limit, draw)
    except NothingToCompare as refused:
        raise CampaignRefused(str(refused)) from None
    if len(taken) < len(found):
        counts |= {"pairs": len(taken), "not_drawn": len(found) - len(taken)}
    return taken, counts


def _nothing(counts: Mapping[str, int]) -> str:
    left_out = "".join(f", {counts[why]} {told}" for why, told in worth.REASONS.items() if counts.get(why))
    return (
        f"No pair is left: {counts['prompts']} prompts match, {counts['single']} of them have only one text, "
        f"{counts['identical']} pairs hold the same text twice{left_out}."
    )


def _check_names(name: str, guideline: str, batches: Iterable[GenerationBatch]) -> None:
    """Annotators read the campaign's name and guideline: neither may say who wrote the texts."""
    if named := producer_named(f"{name} {guideline}", batches):
        raise CampaignRefused(f"Annotators see the campaign's name and guideline: they must not name a producer ({named}).")


def producer_named(text: str, batches: Iterable[GenerationBatch]) -> str:
    """The first producer of `batches` that `text`, which raters will read, names as a word of its own; else ""."""
    seen = text.casefold()
    for batch in batches:
        producer = str(batch).casefold()
        if len(producer) > 2 and re.search(rf"(?<!\w){re.escape(producer)}(?!\w)", seen):
            return str(batch)
    return ""


def _written_by_toys(batches: Iterable[GenerationBatch]) -> bool:
    return any(batch.version is not None and batch.version.toy for batch in batches)


def _let_in(campaign: Campaign, people: Collection[User], groups: Mapping[str, Collection[User]], actor: User | None) -> None:
    for cohort, inside in groups.items():
        add_members(campaign=campaign, members=inside, actor=actor, cohort=cohort)
    inside_any = {person.pk for cohort in groups.values() for person in cohort}
    add_members(campaign=campaign, members=[person for person in people if person.pk not in inside_any], actor=actor)


def _mix_in(campaign: Campaign, gold: int, actor: User | None) -> None:
    """Copy settled pairs into a draft as gold. Fewer than asked for are too few to say anything about a rater."""
    if not gold:
        return
    try:
        found = golds.add_settled(campaign=campaign, count=gold, actor=actor)
    except GoldRefused as refused:
        raise CampaignRefused(str(refused)) from None
    if found < gold:
        raise CampaignRefused(
            f"Only {found} settled pair{'s' if found != 1 else ''} can be used as gold: closed campaigns settle one by three votes "
            "for the same side or by a ruling."
        )


def add_members(*, campaign: Campaign, members: Iterable[User], actor: User | None, cohort: str = "") -> int:
    """Let `members` rate in `campaign`; returns how many are new. Raises CampaignRefused for somebody who may not."""
    people = list(members)
    if not people:
        return 0
    if campaign.external:
        raise CampaignRefused("It was judged elsewhere and imported: nobody rates in it here.")
    if campaign.cohorts and not cohort and campaign.memberships.filter(user__in=people).count() < len(people):
        raise CampaignRefused(f"Every pair goes to a cohort: say which they join, {' or '.join(campaign.cohorts)}.")
    try:
        return memberships.add(campaign=campaign, users=people, actor=actor, cohort=cohort)
    except MembershipRefused as refused:
        raise CampaignRefused(str(refused)) from None


# --- opened, paused, closed --------------------------------------------------------------------------------------------------------------


@transaction.atomic
def open(*, campaign: Campaign, actor: User | None) -> Campaign:  # reads as campaigns.open
    """Let members rate. The protocol is locked with its digest, and each member who may begin is dealt their gold.

    Raises CampaignRefused unless it is a draft that somebody can judge: members at all, one of every cohort and of every field that
    pairs are routed to, an open qualification if one is to be passed, an expected answer to every pair of a qualification.
    """
    campaign = _held(campaign, CampaignState.DRAFT, "Only a campaign that was not open yet can be opened.")
    _check_people(campaign)
    _check_qualification(campaign)
    protocol, digest = protocols.lock(campaign)
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.OPEN, opened_at=Now(), protocol=protocol, protocol_digest=digest)
    campaign.refresh_from_db()
    for member in campaign.memberships.filter(active=True).select_related("user"):
        slots.deal_gold(campaign=campaign, user=member.user)
    audit.record(actor, "campaign.opened", campaign, protocol=digest)
    return campaign


def _held(campaign: Campaign, state: str | Collection[str], otherwise: str) -> Campaign:
    """The campaign, locked, in the state (or one of them) that a verb needs. Raises CampaignRefused with `otherwise`."""
    wanted = [state] if isinstance(state, str) else list(state)
    # Claims and answers, whose rows refer to the campaign, do not wait for this lock.
    held = Campaign.objects.select_for_update(of=("self",), no_key=True).select_related("rubric", "qualification", "predecessor")
    found = held.filter(pk=campaign.pk, state__in=wanted).first()
    if found is None:
        raise CampaignRefused(otherwise)
    return found


def _check_people(campaign: Campaign) -> None:
    """Somebody must be able to take every slot."""
    staying = campaign.memberships.filter(revoked_at__isnull=True)
    if not staying.exists():
        raise CampaignRefused("Nobody is a member yet: add the people who will rate.")
    known = {audience for audiences in staying.values_list("audiences", flat=True) for audience in audiences}
    wanted = Slot.objects.filter(campaign=campaign, open=True).exclude(audience="").values_list("audience")
    for audience, count in wanted.annotate(n=Count("pair", distinct=True)).order_by("audience"):
        if audience not in known:
            raise CampaignRefused(_nobody_for(audience, count))


def _nobody_for(audience: str, count: int) -> str:
    many = f"{count} pair{' is' if count == 1 else 's are'}"
    if audience.startswith("specialty:"):
        field = Specialty(audience.removeprefix("specialty:")).label if audience[10:] in Specialty.values else audience[10:]
        return f"{many} routed to {field}, and no member gives that as their field: add one, or change the routing."
    return f"{many} for the cohort “{audience}”, and nobody is in it."


def _check_qualification(campaign: Campaign) -> None:
    if campaign.qualification is not None and campaign.qualification.state != CampaignState.OPEN:
        state = CALLED[CampaignState(campaign.qualification.state)]
        raise CampaignRefused(f"Nobody could qualify: “{campaign.qualification}” is {state}.")
    if campaign.purpose != "qualify":
        return
    missing = campaign.pairs.filter(gold__isnull=True).count()
    if missing:
        raise CampaignRefused(f"{missing} pair{'s' if missing > 1 else ''} of this qualification have no expected answer yet.")
    if not campaign.pairs.exists():
        raise CampaignRefused("A qualification needs pairs whose answer is known.")


@transaction.atomic
def pause(*, campaign: Campaign, actor: User | None) -> Campaign:
    """Hand out no more pairs for now. What is on somebody's screen may still be answered; what was fetched ahead is given back."""
    _move(campaign, [CampaignState.OPEN], CampaignState.PAUSED, "Only an open campaign can be paused.")
    assignments.release_ahead(campaign=campaign)
    return _told(campaign, actor, "campaign.paused")


@transaction.atomic
def resume(*, campaign: Campaign, actor: User | None) -> Campaign:
    _move(campaign, [CampaignState.PAUSED], CampaignState.OPEN, "Only a paused campaign can be resumed.")
    return _told(campaign, actor, "campaign.resumed")


@transaction.atomic
def close(*, campaign: Campaign, actor: User | None) -> Campaign:
    """Hand out no more pairs, for good. Leases end; an answer that arrives later is kept as surplus."""
    _move(campaign, [CampaignState.OPEN, CampaignState.PAUSED], CampaignState.CLOSED, "Only an open campaign can be closed.")
    Campaign.objects.filter(pk=campaign.pk).update(closed_at=Now())
    assignments.release_all(campaign=campaign)
    return _told(campaign, actor, "campaign.closed")


@transaction.atomic
def discard(*, campaign: Campaign, actor: User | None) -> None:
    """Take a draft away with its pairs; the texts stay. Raises CampaignRefused for anything that was ever open, or that others ask for."""
    held = _held(campaign, CampaignState.DRAFT, "Only a draft can be discarded: what was open has been seen, and stays on record.")
    if asking := held.opens.order_by("pk").first():
        raise CampaignRefused(f"“{asking.name}” asks for this qualification: discard that one first, or open this one.")
    audit.record(actor, "campaign.discarded", held, pairs=held.pairs.count())
    held.delete()


def _move(campaign: Campaign, before: Collection[str], after: str, otherwise: str) -> None:
    """Decide a race with a conditional update. Raises CampaignRefused with `otherwise` when it was lost."""
    if not Campaign.objects.filter(pk=campaign.pk, state__in=before).update(state=after):
        raise CampaignRefused(otherwise)


def _told(campaign: Campaign, actor: User | None, verb: str) -> Campaign:
    campaign.refresh_from_db()
    audit.record(actor, verb, campaign)
    return campaign


# --- changed on the way ------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def extend(
    *, campaign: Campaign, actor: User | None, deadline: date | None = None, more_pairs: int = 0, members: Iterable[User] = (),
    cohort: str = "",
) -> Campaign:  # fmt: skip
    """A later deadline, more pairs drawn by the same protocol from what was not drawn, more members. The protocol stays as it was.

    Raises CampaignRefused for a campaign that does not run, a deadline that is no later, and when nothing more can be drawn.
    """
    campaign = _held(campaign, [CampaignState.OPEN, CampaignState.PAUSED], "Only a campaign that runs can be extended.")
    if deadline is not None:
        if deadline < timezone.localdate():
            raise CampaignRefused("The deadline lies in the past.")
        if campaign.deadline is not None and deadline <= campaign.deadline:
            raise CampaignRefused("Extending means a later deadline.")
        Campaign.objects.filter(pk=campaign.pk).update(deadline=deadline)
    drawn = _draw_more(campaign, more_pairs) if more_pairs else 0
    new = add_members(campaign=campaign, members=members, actor=actor, cohort=cohort)
    if deadline is None and not drawn and not new:
        raise CampaignRefused("Say what is to be extended: the deadline, the pairs or the people.")
    campaign.refresh_from_db()
    audit.record(actor, "campaign.extended", campaign, pairs=drawn, members=new, deadline=str(deadline or ""))
    return campaign


def _draw_more(campaign: Campaign, count: int) -> int:
    if campaign.purpose == "qualify":
        raise CampaignRefused("A qualification asks everybody the same: it is not extended by pairs.")
    if "left_by" in campaign.protocol["sources"]:
        raise CampaignRefused("It was made of what another campaign left unjudged: there is nothing more of that.")
    last = campaign.pairs.aggregate(last=Max("position"))["last"]
    draw = random.Random(f"{campaign.seed} from {last + 1}")  # noqa: S311 (reproducible, not secret)
    found, _ = pairs.candidates(sources_of(campaign), draw, without=campaign)
    if not found:
        raise CampaignRefused("Every pair there is has been drawn already.")
    try:
        taken = pairs.take(found, campaign.selection, count, draw)
    except NothingToCompare as refused:
        raise CampaignRefused(str(refused)) from None
    new = {(one.first, one.second) for one in taken}
    left_over = [one for one in found if (one.first, one.second) not in new]
    pairs.lay_out(campaign, pairs.reweigh(campaign, taken, left_over), draw, start=last + 1)
    counts = {**campaign.counts, "pairs": campaign.counts["pairs"] + len(taken), "not_drawn": len(left_over)}
    Campaign.objects.filter(pk=campaign.pk).update(counts=counts)
    return len(taken)


@transaction.atomic
def derive(
    *, campaign: Campaign, name: str, actor: User | None, batches: Iterable[GenerationBatch] = (), limit: int | None = None
) -> Campaign:
    """The next draft: the same terms, rubric, guideline, members and cohorts, over `batches`, or over what this one left unjudged.

    Without batches the campaign must be closed: until then its pairs are still being judged. Raises CampaignRefused.
    """
    if campaign.state == CampaignState.DRAFT:
        raise CampaignRefused("Open this campaign first, or change it: nothing can follow a draft.")
    if campaign.external:
        raise CampaignRefused("It was judged elsewhere and imported: its protocol is not known. Make a new campaign over its texts.")
    chosen = tuple(batches)
    staying = campaign.memberships.filter(revoked_at__isnull=True).select_related("user").order_by("pk")
    seats = [seat for seat in staying if seat.user.is_active and seat.user.has_role("annotator", "adjudicator")]
    terms = Terms(**{name: getattr(campaign, name) for name in Terms.__annotations__ if name != "deadline"})  # type: ignore[typeddict-item]
    common: dict[str, Any] = {
        "guideline": campaign.guideline, "overlap": campaign.overlap, "rubric": campaign.rubric, "simulated": campaign.simulated,
    }  # fmt: skip
    groups = {cohort: [seat.user for seat in seats if seat.cohort == cohort] for cohort in campaign.cohorts}
    people = [] if groups else [seat.user for seat in seats]
    if chosen:
        asked = campaign.protocol["sources"]
        made = create(
            name=name, batches=chosen, members=people, actor=actor, cohorts=groups, splits=campaign.splits, limit=limit,
            task_types=asked["task_types"], pairing=asked["pairing"], leaving=asked.get("leaving", ()), toy=False, **common, **terms,
        )  # fmt: skip
    else:
        made = _left_unjudged(campaign, name, limit, common, terms, actor)
        _let_in(made, people, groups, actor)
    Campaign.objects.filter(pk=made.pk).update(predecessor=campaign)
    made.refresh_from_db()
    audit.record(actor, "campaign.derived", made, predecessor=str(campaign.public_id))
    return made


def _left_unjudged(
    campaign: Campaign, name: str, limit: int | None, common: Mapping[str, Any], terms: Terms, actor: User | None
) -> Campaign:
    """A draft over the pairs of a closed campaign that have no vote, in their order; each keeps the probability it was drawn with."""
    if campaign.state != CampaignState.CLOSED:
        raise CampaignRefused("Its pairs are still being judged: close it first, or choose other texts.")
    _check_names(name, campaign.guideline, sources_of(campaign).batches)
    judged = campaign.assignments.filter(state=AssignmentState.SUBMITTED, repeat=0).values("pair")
    rest = (
        Pair.objects.filter(campaign=campaign, gold__isnull=True, prompt__sample__withdrawn_at__isnull=True)
        .exclude(pk__in=judged)
        .order_by("position")
        .values_list(
            "prompt", "first", "second", "first__batch", "second__batch", "prompt__sample__split", "prompt__sample__task_type",
            "prompt__sample__input_data", "stratum", "selection_probability", "selected_by",
        )
    )  # fmt: skip
    found = [
        Candidate(prompt, first, second, (by, other), split, stratum, (task, document), probability, selected_by)
        for prompt, first, second, by, other, split, task, document, stratum, probability, selected_by in rest[:limit]
    ]
    if not found:
        raise CampaignRefused("Every pair has been judged: choose other texts for the next campaign.")
    seed = secrets.randbits(62)
    counts = {"prompts": len({one.prompt for one in found}), "single": 0, "identical": 0, "pairs": len(found)}
    made = Campaign.objects.create(
        name=name, splits=campaign.splits, cohorts=campaign.cohorts, seed=seed, toy=campaign.toy, counts=counts, created_by=actor,
        protocol={"sources": campaign.protocol["sources"] | {"left_by": str(campaign.public_id)}}, **common, **terms,
    )  # fmt: skip
    pairs.lay_out(made, found, random.Random(seed))  # noqa: S311 (reproducible, not secret)
    audit.record(actor, "campaign.created", made, **counts, overlap=made.overlap, batches=0)
    return made


# --- members ------------------------------------------------------------------------------------------------------------------------------


def revoke(*, campaign: Campaign, user: User, actor: User | None) -> Membership:
    """Hand nothing more to `user`. Raises CampaignRefused if they do not rate here."""
    return _asked(lambda: memberships.revoke(campaign=campaign, user=user, actor=actor))


def readmit(*, campaign: Campaign, user: User, actor: User | None) -> int:
    """Let a revoked member rate again, in the cohort they were in. Raises CampaignRefused if they may not."""
    return _asked(lambda: memberships.add(campaign=campaign, users=[user], actor=actor))


def _asked(verb: Callable[[], T]) -> T:
    try:
        return verb()
    except MembershipRefused as refused:
        raise CampaignRefused(str(refused)) from None


class Moved(NamedTuple):
    """Of what a member held: how many pairs were `moved`, and how many were `kept`, for the other has had them."""

    moved: int
    kept: int


@transaction.atomic
def reassign(*, campaign: Campaign, user: User, to: User, actor: User | None) -> Moved:
    """Give the pairs that `user` holds unanswered, and the votes kept for them, to `to`; gold and repeats are one person's and stay.

    Raises CampaignRefused for a campaign that does not run, for `user` themselves, and when there is nothing to give.
    """
    campaign = _held(
        campaign, [CampaignState.OPEN, CampaignState.PAUSED], "Only pairs of a campaign that runs can be given to somebody else."
    )
    if user.pk == to.pk:
        raise CampaignRefused("Choose somebody else.")
    seat = campaign.memberships.filter(user=to, active=True).first()
    if seat is None:
        raise CampaignRefused(f"{to.username} may not judge here now.")
    votes = [SlotKind.VOTE, SlotKind.REVIEW]
    leases = list(campaign.assignments.filter(annotator=user, state=AssignmentState.LEASED, slot__kind__in=votes).order_by("pk"))
    kept_for = list(campaign.slots.filter(reserved_for=user, open=True, kind__in=votes).order_by("pk"))
    moved = 0
    for handed in [{"assignment": lease} for lease in leases] + [{"slot": slot} for slot in kept_for]:
        try:
            with transaction.atomic():
                assignments.reassign(to=to, actor=actor, **handed)
        except assignments.ReassignRefused:
            continue
        moved += 1
    if not leases and not kept_for:
        raise CampaignRefused(f"{user.username} holds no pair that could be given to somebody else.")
    audit.record(actor, "campaign.reassigned", campaign, user=user.pk, to=to.pk, pairs=moved)
    return Moved(moved, len(leases) + len(kept_for) - moved)


def chain(campaign: Campaign) -> list[int]:
    """The campaign and those it was derived from, one after the other, the first of them last. A query for each that it follows."""
    found, following = [campaign.pk], campaign.predecessor_id
    while following is not None and following not in found:
        found.append(following)
        following = Campaign.objects.values_list("predecessor", flat=True).get(pk=following)
    return found
