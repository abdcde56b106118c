"""The rater's first page: what there is to judge, how long it takes, and why there may be nothing; sessions, from start to card."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.db.models import Min
from django.db.models.functions import Now
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import access, joining
from accounts.access import UserRequest
from accounts.models import Role, User
from annotation import power, qualifications, sittings
from annotation.models import Assignment, AssignmentState, Campaign, CampaignState, Judgement, Membership, Sitting
from annotation.views.rating import RATERS, get_campaign_for, go_on


@dataclass
class Card:
    """One campaign on the queue. `state` says what its rater can do there and which words and buttons the card has:

    "ready", "running" (a session is under way), "busy", "done", "qualify", "failed" (no try at the qualification is left),
    "paused" or "deadline".
    """

    campaign: Campaign
    state: str
    answered: int
    left: int
    busy: int
    minutes: int = 0
    promised: int = 0
    own_pace: bool = False
    choices: tuple[int, ...] = ()
    sitting: sittings.Running | None = None
    qualification: Campaign | None = None
    qualification_pairs: int = 0
    qualification_minutes: int = 0
    next_free: datetime | None = None
    may_undo: bool = False

    @property
    def total(self) -> int:
        # Without `busy`: a repeat that waits for its day would show in it which answer it repeats.
        return self.answered + self.left


@access.allow(*RATERS)
@never_cache
@require_safe
def queue(request: UserRequest) -> HttpResponse:
    rows = list(Campaign.objects.for_queue(request.user).select_related("qualification").order_by("-pk"))
    cards = _cards(request.user, [row for row in rows if row.state in CampaignState.running()])
    page = {
        "cards": cards,
        "closed": [row for row in rows if row.state == CampaignState.CLOSED],
        "start": next((card for card in cards if card.state in ("running", "ready")), None),
        "waiting": Campaign.objects.for_member(request.user).filter(state=CampaignState.DRAFT).count(),
        "today": sittings.today(annotator=request.user),
        "step": joining.missing(request.user),
        "stuck": qualifications.waiting_for_a_lead() if request.user.has_role(Role.ADJUDICATOR) else 0,
    }
    return render(request, "annotation/queue.html", page)


def _cards(user: User, running: list[Campaign]) -> list[Card]:
    """The cards of campaigns that run, what can be rated first. A handful of queries, however many campaigns there are."""
    asks = {row.pk for row in running} | {row.qualification_id for row in running if row.qualification_id is not None}
    paces = sittings.paces(annotator=user, campaigns=asks)
    members = {member.campaign_id: member for member in Membership.objects.filter(user=user)}
    undoable = Judgement.objects.undoable_campaigns(user)
    open_sittings = sittings.running(annotator=user)
    frees = _next_free(user, running)
    asked = qualifications.sizes(asks)
    passed = {pk for pk, member in members.items() if member.qualified_at is not None}
    gates = {row.qualification_id for row in running if row.qualification_id is not None}
    cards = []
    for row in running:
        member = members[row.pk]
        if member.revoked_at is not None or (row.purpose == qualifications.QUALIFY and (row.pk in gates or row.pk in passed)):
            # A qualification that opens another campaign stands on that one's card; one that was passed is over.
            continue
        gate = row if row.purpose == qualifications.QUALIFY else row.qualification
        counts = row.answered, row.left, row.busy  # type: ignore[attr-defined]
        card = Card(row, "", *counts, may_undo=row.pk in undoable, next_free=frees.get(row.pk), sitting=open_sittings.get(row.pk))
        if gate is not None and gate.pk not in passed:
            card.qualification, card.qualification_pairs = gate, asked.get(gate.pk, 0)
            card.qualification_minutes = max(1, round(card.qualification_pairs * paces[gate.pk].minutes))
        pace = paces[row.pk]
        card.own_pace = pace.source == "times"
        card.minutes = max(1, round(card.left * pace.minutes))
        card.promised = min(power.pairs_promised(row.session_minutes, pace), card.left)
        card.choices = tuple(sorted({*sittings.MINUTES, row.session_minutes}))
        card.state = _state(card, members)
        cards.append(card)
    order = ("running", "ready", "qualify", "busy", "failed", "paused", "deadline", "done")
    return sorted(cards, key=lambda card: order.index(card.state))


def _state(card: Card, members: dict[int, Membership]) -> str:
    if card.campaign.state == CampaignState.PAUSED:
        return "paused"
    if card.campaign.deadline is not None and card.campaign.deadline < timezone.localdate():
        return "deadline"
    if card.qualification is not None:
        member = members.get(card.qualification.pk)
        return "failed" if member is not None and member.failed_at is not None else "qualify"
    if card.left:
        return "running" if card.sitting else "ready"
    return "busy" if card.busy else "done"


def _next_free(user: User, running: list[Campaign]) -> dict[int, datetime]:
    """When the first lease of a colleague runs out, by campaign."""
    held = Assignment.objects.filter(campaign__in=running, state=AssignmentState.LEASED, expires_at__gt=Now()).exclude(annotator=user)
    return dict(held.order_by().values("campaign").annotate(first=Min("expires_at")).values_list("campaign", "first"))


@access.allow(*RATERS, consented=True)
@require_POST
def next_pair(request: UserRequest, pk: UUID) -> HttpResponse:
    """To the next pair: with `minutes` a session begins, and without them the one under way goes on, else one of the usual length."""
    campaign = get_campaign_for(request.user, pk)
    if asked := qualifications.gate(campaign=campaign, user=request.user):
        return redirect("annotation:qualification", asked.public_id)
    if campaign.purpose == qualifications.QUALIFY:
        # Before the first pair of a try, and after the last, its page says where they stand.
        standing = qualifications.standing(campaign=campaign, user=request.user)
        under_way = standing is not None and standing.answered and not (standing.passed or standing.failed)
        return go_on(request, campaign) if under_way else redirect("annotation:qualification", campaign.public_id)
    try:
        minutes = int(request.POST.get("minutes") or campaign.session_minutes)
    except ValueError:
        minutes = 0
    if minutes not in {*sittings.MINUTES, campaign.session_minutes}:
        messages.error(request, "Choose how long the session is to be: 10, 20 or 30 minutes. Nothing was started.")
        return redirect("annotation:queue")
    if campaign.left:  # type: ignore[attr-defined]
        sittings.start(campaign=campaign, annotator=request.user, minutes=minutes)
    return go_on(request, campaign)


def get_sitting_for(user: User, pk: UUID) -> Sitting:
    """The user's own session. Raises Http404 for anybody else's."""
    found = Sitting.objects.filter(public_id=pk, annotator=user).select_related("campaign", "annotator").first()
    if found is None:
        raise Http404
    return found


@access.allow(*RATERS)
@never_cache
@require_safe
def sitting(request: UserRequest, pk: UUID) -> HttpResponse:
    """A session's card: what it came to, and what happens next."""
    shown = get_sitting_for(request.user, pk)
    campaign = Campaign.objects.for_queue(request.user).get(pk=shown.campaign_id)
    page = {
        "sitting": shown,
        "card": sittings.card(shown),
        "campaign": campaign,
        "today": sittings.today(annotator=request.user),
        "may_go_on": campaign.state == CampaignState.OPEN and campaign.left,  # type: ignore[attr-defined]
    }
    return render(request, "annotation/sitting.html", page)


@access.allow(*RATERS)
@require_POST
def sitting_end(request: UserRequest, pk: UUID) -> HttpResponse:
    """Stop for now. A pair that was before them stays theirs until its lease runs out; what was only fetched ahead goes back."""
    ended = sittings.end(sitting=get_sitting_for(request.user, pk))
    return redirect("annotation:sitting", ended.public_id)
