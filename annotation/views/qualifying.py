"""Qualification, as the rater takes it and as leads look after it; and what gold shows, which no rater sees."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access, joining
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, User
from annotation import assignments, golds, qualifications, sittings
from annotation.models import Campaign, CampaignState, Membership
from annotation.views.rating import RATERS
from web import prose

LEADS = (*TRAINERS, Role.ADJUDICATOR)


def get_qualification_for(user: User, pk: UUID) -> Campaign:
    """A qualification that `user` takes, or that a campaign of theirs asks for. Raises Http404 otherwise."""
    mine = Q(memberships__user=user) | Q(opens__memberships__user=user, opens__memberships__revoked_at__isnull=True)
    found = Campaign.objects.filter(mine, public_id=pk, purpose=qualifications.QUALIFY).exclude(state=CampaignState.DRAFT)
    campaign = found.select_related("rubric").distinct().first()
    if campaign is None:
        raise Http404
    return campaign


@access.allow(*RATERS)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def qualification(request: UserRequest, pk: UUID) -> HttpResponseBase:
    """What is asked and how, with worked examples; then the way into a try, and what came of it."""
    campaign = get_qualification_for(request.user, pk)
    if request.method == "POST":
        return _go_on(request, campaign)
    standing = qualifications.standing(campaign=campaign, user=request.user)
    pairs = standing.total if standing else qualifications.pairs_of(campaign)
    pace = sittings.paces(annotator=request.user, campaigns=[campaign.pk])[campaign.pk]
    opens = Campaign.objects.for_queue(request.user).filter(qualification=campaign, state=CampaignState.OPEN).order_by("-pk")
    page = {
        "campaign": campaign,
        "standing": standing,
        "pairs": pairs,
        "minutes": max(1, round(pairs * pace.minutes)),
        "needed": qualifications.needed(campaign, pairs),
        "guideline": prose.render(campaign.guideline),
        "opens": opens,
        "open": campaign.state == CampaignState.OPEN,
        "step": joining.missing(request.user),
    }
    return render(request, "annotation/qualification.html", page)


def _go_on(request: UserRequest, campaign: Campaign) -> HttpResponseBase:
    if step := joining.missing(request.user):
        return access.lead_to(request, step)
    try:
        qualifications.enrol(campaign=campaign, user=request.user)
    except qualifications.NotQualifying as refused:
        messages.error(request, str(refused))
        return redirect("annotation:qualification", campaign.public_id)
    standing = qualifications.standing(campaign=campaign, user=request.user)
    begun = standing is not None and (standing.answered or "begin" in request.POST)
    held = assignments.lease_next(campaign=campaign, annotator=request.user) if begun else None
    # After the last pair of a try, and before the first of the next, its page says where they stand.
    return redirect("annotation:judge", held.public_id) if held else redirect("annotation:qualification", campaign.public_id)


class SettledForm(forms.Form):
    count = forms.IntegerField(label="At most this many", min_value=1, max_value=200, initial=10)


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign whose gold `user` may look at: not a running one they judge in, unless it is a qualification. Raises Http404."""
    running = Membership.objects.filter(user=user, campaign__state__in=CampaignState.running()).exclude(
        campaign__purpose=qualifications.QUALIFY
    )
    return get_object_or_404(Campaign.objects.exclude(pk__in=running.values("campaign")), public_id=pk)


@access.allow(*LEADS)
@require_safe
def qualification_list(request: UserRequest) -> HttpResponse:
    """Every qualification with who has passed and who waits for a lead."""
    counted = Count("memberships", filter=Q(memberships__revoked_at__isnull=True))
    passed = Count("memberships", filter=Q(memberships__qualified_at__isnull=False))
    stuck = Count("memberships", filter=Q(memberships__failed_at__isnull=False, memberships__revoked_at__isnull=True))
    found = Campaign.objects.filter(purpose=qualifications.QUALIFY).annotate(members=counted, passed=passed, stuck=stuck)
    rows = found.order_by("-stuck", "-pk")
    return render(request, "annotation/qualifications.html", {"rows": rows, "may_manage": request.user.has_role(*TRAINERS)})


@access.allow(*LEADS)
@require_safe
def gold(request: UserRequest, pk: UUID) -> HttpResponse:
    """How the members did on pairs whose answer is known."""
    return _show(request, get_campaign_for(request.user, pk), SettledForm())


def _show(request: UserRequest, campaign: Campaign, form: SettledForm, status: int = 200) -> HttpResponse:
    members = {member.user_id: member for member in campaign.memberships.all()}
    results, by_pair = golds.results(campaign=campaign), golds.by_pair(campaign=campaign)
    if campaign.purpose == qualifications.QUALIFY:
        scores = qualifications.scores(campaign=campaign)
        results = [golds.Result(result.user, *scores.get(result.user.pk, (0, 0))) for result in results]
    page = {
        "campaign": campaign,
        "pairs": len(by_pair),
        "by_pair": by_pair,
        "rows": [(result, members[result.user.pk]) for result in results],
        "qualifies": campaign.purpose == qualifications.QUALIFY,
        "enough": golds.ENOUGH,
        "form": form,
        "draft": campaign.state == CampaignState.DRAFT,
        "open": campaign.state == CampaignState.OPEN,
        "may_manage": request.user.has_role(*TRAINERS),
    }
    return render(request, "annotation/gold.html", page, status=status)


@access.allow(*TRAINERS)
@require_POST
def gold_settled(request: UserRequest, pk: UUID) -> HttpResponse:
    """Take pairs that earlier campaigns have settled into a draft, as gold."""
    campaign = get_campaign_for(request.user, pk)
    form = SettledForm(request.POST)
    if not form.is_valid():
        return _show(request, campaign, form, status=422)
    try:
        added = golds.add_settled(campaign=campaign, count=form.cleaned_data["count"], actor=request.user)
    except golds.GoldRefused as refused:
        messages.error(request, str(refused))
    else:
        if added:
            messages.success(request, f"{added} settled pair{'s' if added > 1 else ''} added as gold.")
        else:
            messages.warning(request, "No closed campaign has settled a further pair: three votes for one side, or a ruling.")
    return redirect("annotation:gold", campaign.public_id)


@access.allow(*LEADS)
@require_POST
def qualification_grant(request: UserRequest, pk: UUID, user: int) -> HttpResponse:
    """One more try for somebody who has none left."""
    campaign = get_campaign_for(request.user, pk)
    rater = get_object_or_404(User, pk=user, memberships__campaign=campaign)
    if rater == request.user:
        messages.error(request, "Nobody gives themselves another try: ask another lead.")
        return redirect("annotation:gold", campaign.public_id)
    try:
        qualifications.grant(campaign=campaign, user=rater, actor=request.user)
    except qualifications.NotQualifying as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"{rater.username} may try once more.")
    return redirect("annotation:gold", campaign.public_id)
