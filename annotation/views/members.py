"""Who judges in a campaign, and what is in their hands: added, left out, taken back, their pairs given to somebody else."""

from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation import campaigns
from annotation.campaign_form import MembersForm
from annotation.campaigns import CampaignRefused
from annotation.models import Campaign, CampaignState
from annotation.views.managing import carry_out, get_campaign_for, seats


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_members(request: UserRequest, pk: UUID) -> HttpResponse:
    """The table of people, and a form that lets more of them in."""
    shown = get_campaign_for(request.user, pk)
    form = MembersForm(request.POST if request.method == "POST" else None, campaign=shown)
    if form.is_valid():
        try:
            new = campaigns.add_members(campaign=shown, actor=request.user, **form.cleaned_data)
        except CampaignRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{new} {'person' if new == 1 else 'people'} added.")
            return redirect("annotation:campaign-members", pk)
    return _show(request, shown, form)


def _show(request: UserRequest, shown: Campaign, form: MembersForm) -> HttpResponse:
    held = shown.assignments.values("annotator").annotate(
        judged=Count("pk", filter=Q(state="submitted")), leases=Count("pk", filter=Q(state="leased"))
    )
    counts = {row["annotator"]: (row["judged"], row["leases"]) for row in held}
    kept = dict(
        shown.slots.filter(open=True, kind__in=["vote", "review"], reserved_for__isnull=False)
        .values_list("reserved_for").annotate(n=Count("pk"))
    )  # fmt: skip
    people = [
        {
            "seat": seat,
            "standing": standing,
            "judged": counts.get(seat.user_id, (0, 0))[0],
            "held": counts.get(seat.user_id, (0, 0))[1] + kept.get(seat.user_id, 0),
        }
        for seat, standing in seats(shown)
    ]
    page = {
        "campaign": shown,
        "form": form,
        "people": people,
        "takers": [one["seat"].user for one in people if one["seat"].active],
        "closed": shown.state == CampaignState.CLOSED,
    }
    return render(request, "annotation/campaign_members.html", page, status=422 if form.errors else 200)


def _member_of(shown: Campaign, user: int) -> User:
    """Raises Http404 for somebody who never was a member."""
    return get_object_or_404(User, pk=user, memberships__campaign=shown)


@access.allow(*TRAINERS)
@require_POST
def campaign_revoke(request: UserRequest, pk: UUID, user: int) -> HttpResponse:
    shown = get_campaign_for(request.user, pk)
    member = _member_of(shown, user)
    done = f"{member.username} is handed nothing more here. What they judged stays."
    carry_out(request, lambda: campaigns.revoke(campaign=shown, user=member, actor=request.user), done)
    return redirect("annotation:campaign-members", pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_readmit(request: UserRequest, pk: UUID, user: int) -> HttpResponse:
    shown = get_campaign_for(request.user, pk)
    member = _member_of(shown, user)
    done = f"{member.username} may judge here again."
    carry_out(request, lambda: campaigns.readmit(campaign=shown, user=member, actor=request.user), done)
    return redirect("annotation:campaign-members", pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_reassign(request: UserRequest, pk: UUID, user: int) -> HttpResponse:
    """Give what a member holds, and what is kept for them, to another member."""
    shown = get_campaign_for(request.user, pk)
    member = _member_of(shown, user)
    other = shown.memberships.filter(user__username=request.POST.get("to", "").replace("\x00", "")).select_related("user").first()
    if other is None:
        messages.error(request, "Choose who is to have their pairs.")
        return redirect("annotation:campaign-members", pk)
    try:
        moved = campaigns.reassign(campaign=shown, user=member, to=other.user, actor=request.user)
    except CampaignRefused as refused:
        messages.error(request, str(refused))
    else:
        left = f" {moved.kept} stay: {other.user.username} has had those pairs." if moved.kept else ""
        messages.success(request, f"{moved.moved} pair{'s' if moved.moved != 1 else ''} kept for {other.user.username}.{left}")
    return redirect("annotation:campaign-members", pk)
