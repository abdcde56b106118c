"""The rater's first page: what there is to judge, how long it takes, and why there may be nothing; and the way to the next pair."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import access
from accounts.access import UserRequest
from annotation.models import Campaign, CampaignState, Judgement
from annotation.views.rating import RATERS, get_campaign_for, go_on


@access.allow(*RATERS, consented=True)
@never_cache
@require_safe
def queue(request: UserRequest) -> HttpResponse:
    rows = list(Campaign.objects.for_queue(request.user).order_by("-pk"))
    pace = Judgement.objects.pace(request.user)
    undoable = Judgement.objects.undoable_campaigns(request.user)
    for row in rows:
        row.minutes = max(1, round(row.left * pace / 60))  # type: ignore[attr-defined]
        row.may_undo = row.pk in undoable  # type: ignore[attr-defined]
    opened = [row for row in rows if row.state == CampaignState.OPEN]
    closed = [row for row in rows if row.state == CampaignState.CLOSED]
    start = next((row for row in opened if row.left), None)  # type: ignore[attr-defined]
    waiting = Campaign.objects.for_member(request.user).filter(state=CampaignState.DRAFT).count()
    return render(request, "annotation/queue.html", {"opened": opened, "closed": closed, "start": start, "waiting": waiting, "pace": pace})


@access.allow(*RATERS, consented=True)
@require_POST
def next_pair(request: UserRequest, pk: UUID) -> HttpResponse:
    return go_on(request, get_campaign_for(request.user, pk))
