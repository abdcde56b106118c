"""Campaigns as a trainer sees them, unblinded; never an open one in which they judge."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation import campaigns as verbs
from annotation import snapshots
from annotation.campaigns import CampaignRefused
from annotation.forms import CampaignForm, FreezeForm
from annotation.models import Campaign, CampaignState, Completion, GenerationBatch, Judgement, Pair
from web.charts import Series, line_chart


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign the user may see unblinded. Raises Http404 otherwise."""
    campaign = Campaign.objects.unblinded_for(user).with_progress().filter(public_id=pk).first()
    if campaign is None:
        raise Http404
    return campaign


@access.allow(*TRAINERS)
@require_safe
def campaigns(request: UserRequest) -> HttpResponse:
    page = Paginator(Campaign.objects.unblinded_for(request.user).with_progress().order_by("-pk"), 50).get_page(request.GET.get("page"))
    blinded = Campaign.objects.for_member(request.user).filter(state=CampaignState.OPEN)
    return render(request, "annotation/campaigns.html", {"page": page, "blinded": blinded, "texts": Completion.objects.exists()})


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_new(request: UserRequest) -> HttpResponse:
    form = CampaignForm(request.POST if request.method == "POST" else None, initial=_asked_for(request))
    if form.is_valid():
        try:
            made = verbs.create(actor=request.user, **form.cleaned_data)
        except CampaignRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{made.pairs.count()} pairs are ready. Look them over, then open the campaign.")
            return redirect("annotation:campaign", made.public_id)
    return render(
        request,
        "annotation/campaign_new.html",
        {"form": form, "texts": Completion.objects.exists()},
        status=422 if form.errors else 200,
    )


def _asked_for(request: UserRequest) -> dict[str, Any]:
    """Texts the address names (`?batch=…&batch=…`), chosen already: where a generation sends people on."""
    try:
        named = [UUID(text) for text in request.GET.getlist("batch")[:20]]
    except ValueError:
        raise Http404("No such texts.") from None
    return {"batches": list(GenerationBatch.objects.filter(public_id__in=named).values_list("pk", flat=True))} if named else {}


@access.allow(*TRAINERS)
@require_safe
def campaign(request: UserRequest, pk: UUID) -> HttpResponse:
    shown = get_campaign_for(request.user, pk)
    return show(request, shown, FreezeForm(initial={"name": f"{shown.name}, {timezone.localdate():%d %B %Y}", "min_judgements": 1}))


def show(request: UserRequest, shown: Campaign, form: FreezeForm, status: int = 200) -> HttpResponse:
    answered = shown.assignments.filter(state="submitted")
    days = list(answered.annotate(day=TruncDate("submitted_at")).values("day").annotate(n=Count("pk")).order_by("day"))
    total, points = 0, []
    for number, day in enumerate(days):
        total += day["n"]
        points.append((float(number), float(total)))
    members = shown.memberships.select_related("user").order_by("user__username")
    counts = dict(answered.values_list("annotator").annotate(n=Count("pk")))
    unusable = Judgement.objects.current().filter(assignment__campaign=shown, surplus=False, assignment__state="submitted")
    page: dict[str, Any] = {
        "campaign": shown,
        "producers": producers(shown),
        "members": [(membership.user, counts.get(membership.user_id, 0)) for membership in members],
        "days": days,
        "chart": line_chart(
            [Series("judgements", points)],
            title="Judgements so far",
            x_label="days with judgements",
            y_label="judgements",
            y_from_zero=True,
        )
        if len(points) > 1
        else "",
        "verdicts": dict(unusable.values_list("verdict").annotate(n=Count("pk"))),
        "surplus": Judgement.objects.filter(assignment__campaign=shown, surplus=True).count(),
        "snapshots": shown.snapshots.all(),
        "form": form,
        "share": round(100 * shown.done / shown.wanted) if shown.wanted else 0,  # type: ignore[attr-defined]
    }
    return render(request, "annotation/campaign.html", page, status=status)


def producers(shown: Campaign) -> list[dict[str, Any]]:
    """Who wrote the campaign's texts, and how many of them it compares."""
    pairs = Pair.objects.filter(campaign=shown)
    texts = Completion.objects.filter(Q(pk__in=pairs.values("first")) | Q(pk__in=pairs.values("second")))
    rows = (
        texts.values("batch__system", "batch__version__name", "batch__version__public_id").annotate(n=Count("pk")).order_by("batch__system")
    )
    return [
        {"name": row["batch__system"] or row["batch__version__name"], "version": row["batch__version__public_id"], "texts": row["n"]}
        for row in rows
    ]


@access.allow(*TRAINERS)
@require_POST
def campaign_open(request: UserRequest, pk: UUID) -> HttpResponse:
    opened = get_campaign_for(request.user, pk)
    try:
        verbs.open(campaign=opened, actor=request.user)
    except CampaignRefused as refused:
        messages.error(request, str(refused))
    if not Campaign.objects.unblinded_for(request.user).filter(pk=opened.pk).exists():
        messages.success(request, "The campaign is open. You judge in it, so its pages are closed to you until it closes.")
        return redirect("annotation:campaigns")
    return redirect("annotation:campaign", pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_close(request: UserRequest, pk: UUID) -> HttpResponse:
    """Also for a trainer who judges in it: closing reveals nothing, and nobody else may be there to do it."""
    try:
        verbs.close(campaign=get_object_or_404(Campaign, public_id=pk), actor=request.user)
    except CampaignRefused as refused:
        messages.error(request, str(refused))
    if not Campaign.objects.unblinded_for(request.user).filter(public_id=pk).exists():
        return redirect("annotation:campaigns")
    return redirect("annotation:campaign", pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_freeze(request: UserRequest, pk: UUID) -> HttpResponse:
    frozen_from = get_campaign_for(request.user, pk)
    form = FreezeForm(request.POST)
    if form.is_valid():
        try:
            snapshot = snapshots.freeze(campaign=frozen_from, actor=request.user, **form.cleaned_data)
        except snapshots.FreezeRefused as refused:
            form.add_error(None, str(refused))
        else:
            return redirect("annotation:snapshot", snapshot.public_id)
    return show(request, frozen_from, form, status=422)
