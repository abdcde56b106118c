"""The lease behind the compare screen: more time, the next pair fetched ahead, and giving back what was fetched when leaving."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts import access
from accounts.access import UserRequest
from annotation import assignments, sittings
from annotation.models import Assignment, Campaign
from annotation.views import rating
from annotation.views.rating import RATERS, get_assignment_for, get_campaign_for
from web import errors


@access.allow(*RATERS, consented=True)
@never_cache
@require_POST
def extend(request: UserRequest, pk: UUID) -> HttpResponse:
    """More time on a pair, as often as asked for; with `?shown=1` a pair that was fetched ahead is on screen now and its time begins."""
    assignment = get_assignment_for(request.user, pk)
    shown = "shown" in request.GET
    # A script hears how long; a button without script leads back to the pair.
    background = shown or request.headers.get("X-Rounds") == "background"
    try:
        held = assignments.show(assignment=assignment) if shown else assignments.extend(assignment=assignment)
    except assignments.LeaseLost as lost:
        if background:
            return errors.problem(409, "Conflict", str(lost))
        messages.error(request, f"{lost} You can still answer: it is kept either way.")
        return redirect("annotation:judge", pk)
    if background:
        return HttpResponse(status=204, headers={"X-Rounds-Expires": str(seconds_left(held))})
    messages.success(request, "You have more time for this pair.")
    return redirect("annotation:judge", pk)


def seconds_left(assignment: Assignment) -> int:
    return max(0, int((assignment.expires_at - timezone.now()).total_seconds()))


@access.allow(*RATERS, consented=True)
@never_cache
@require_POST
def ahead(request: UserRequest, pk: UUID) -> HttpResponse:
    """The pair after this one, ready to be painted; 204 when there is none or the session will be over by then.

    In a qualification what was expected is shown first, so nothing is fetched ahead.
    """
    beside = get_assignment_for(request.user, pk)
    campaign = beside.campaign
    if campaign.purpose == "qualify" or _session_ends_first(request, campaign):
        return HttpResponse(status=204)
    held = assignments.lease_ahead(campaign=campaign, annotator=request.user, beside=beside)
    if held is None:
        return HttpResponse(status=204)
    shown = get_assignment_for(request.user, held.public_id)
    return rating.compare(request, shown, rating.fresh_form(shown))


def _session_ends_first(request: UserRequest, campaign: Campaign) -> bool:
    """Whether the pairs in hand are all that the session under way has still to come."""
    sitting = sittings.current(campaign=campaign, annotator=request.user)
    if sitting is None:
        return False
    running = sittings.running(annotator=request.user).get(campaign.pk)
    if running is None:
        return True
    in_hand = Assignment.objects.live().filter(campaign=campaign, annotator=request.user).count()
    return running.answered + in_hand >= running.sitting.planned_pairs


@access.allow(*RATERS)
@require_POST
def leave(request: UserRequest, pk: UUID) -> HttpResponse:
    """The page is being left: pairs fetched ahead and never looked at go back to colleagues. What is before them stays theirs."""
    assignments.release_ahead(campaign=get_campaign_for(request.user, pk), annotator=request.user)
    return HttpResponse(status=204)
