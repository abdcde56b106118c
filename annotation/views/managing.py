"""Campaigns as a trainer sees and steers them, unblinded; never a running one in which they judge."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, User
from annotation import adjudications, protocols, worth
from annotation import campaigns as verbs
from annotation.campaign_form import CampaignFilter, DeriveForm, ExtendForm
from annotation.campaigns import CampaignRefused
from annotation.models import Campaign, CampaignState, Completion, Defect, DisputeState, Judgement, Membership, Pair, SlotKind
from web import prose
from web.charts import Series, line_chart


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign the user may see unblinded. Raises Http404 otherwise."""
    campaign = (
        Campaign.objects.unblinded_for(user)
        .with_progress()
        .select_related("rubric", "qualification", "predecessor")
        .filter(public_id=pk)
        .first()
    )
    if campaign is None:
        raise Http404
    return campaign


@access.allow(*TRAINERS)
@require_safe
def campaigns(request: UserRequest) -> HttpResponse:
    form = CampaignFilter(request.GET)
    found = form.narrow(Campaign.objects.unblinded_for(request.user).with_progress().order_by("-pk"))
    page = Paginator(found, 50).get_page(request.GET.get("page"))
    running = [CampaignState.OPEN, CampaignState.PAUSED]
    blinded = (
        Campaign.objects.for_member(request.user)
        .filter(state__in=running)
        .exclude(pk__in=Campaign.objects.unblinded_for(request.user).values("pk"))
    )
    return render(
        request,
        "annotation/campaigns.html",
        {
            "page": page, "blinded": blinded, "texts": Completion.objects.exists(), "form": form, "narrowed": form.narrows,
            "today": timezone.localdate(),
        },
    )  # fmt: skip


@access.allow(*TRAINERS)
@require_safe
def campaign(request: UserRequest, pk: UUID) -> HttpResponse:
    """Where it stands, what it promised, who judges, and what can be done next."""
    shown = get_campaign_for(request.user, pk)
    # Votes, like the total beside them; in a qualification its pairs' answers. Repeats and known answers come on top.
    voting = Q(slot__kind__in=[SlotKind.VOTE, SlotKind.REVIEW]) | Q(campaign__purpose="qualify")
    answered = shown.assignments.filter(voting, state="submitted")
    days = list(answered.annotate(day=TruncDate("submitted_at")).values("day").annotate(n=Count("pk")).order_by("day"))
    total, points = 0, []
    for number, day in enumerate(days):
        total += day["n"]
        points.append((float(number), float(total)))
    counts = dict(answered.values_list("annotator").annotate(n=Count("pk")))
    page: dict[str, Any] = {
        "campaign": shown,
        "producers": producers(shown),
        "left_out": [(told, shown.counts[why]) for why, told in worth.REASONS.items() if shown.counts.get(why)],
        "members": [(seat, counts.get(seat.user_id, 0), standing) for seat, standing in seats(shown)],
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
        "surplus": Judgement.objects.filter(assignment__campaign=shown, surplus=True).count(),
        "snapshots": shown.snapshots.all(),
        "share": round(100 * shown.done / shown.wanted) if shown.wanted else 0,  # type: ignore[attr-defined]
        "registration": protocols.text(shown),
        "guideline": prose.render(shown.guideline),
        "selected": shown.pairs.values("selected_by").annotate(n=Count("pk")).order_by("selected_by"),
        "disputes": shown.disputes.filter(state__in=[DisputeState.OPEN, DisputeState.DEFERRED]).count(),
        "defects": Defect.objects.filter(state="open", sample__prompts__pairs__campaign=shown).values("sample").distinct().count(),
        "unclear": adjudications.unclear(campaign=shown),
        "gold": shown.pairs.filter(gold__isnull=False).count(),
        "successors": shown.successors.order_by("pk"),
        "adjudicates": request.user.has_role(Role.ADJUDICATOR),
        "today": timezone.localdate(),
    }
    if shown.external:
        page["raters"] = shown.assignments.order_by().values("annotator").distinct().count()
    return render(request, "annotation/campaign.html", page)


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


def seats(shown: Campaign) -> list[tuple[Membership, str]]:
    """The members by name, each with where they stand: "" for somebody who may judge, else what keeps them from it."""
    found = list(shown.memberships.select_related("user").order_by("user__username"))
    asked_first = shown if shown.purpose == "qualify" else shown.qualification
    tried = {one.user_id: one for one in asked_first.memberships.all()} if asked_first else {}
    return [(seat, _standing(seat, tried.get(seat.user_id), asked_first)) for seat in found]


def _standing(seat: Membership, tried: Membership | None, asked_first: Campaign | None) -> str:
    if seat.revoked_at is not None:
        return "left out"
    if asked_first is None or (tried and tried.qualified_at):
        return "qualified" if tried else ""
    if tried and tried.failed_at:
        return "not passed"
    return f"qualifying, try {tried.attempt} of {asked_first.attempts}" if tried else "to qualify"


# --- its life ----------------------------------------------------------------------------------------------------------------------------


@access.allow(*TRAINERS)
@require_POST
def campaign_open(request: UserRequest, pk: UUID) -> HttpResponse:
    opened = get_campaign_for(request.user, pk)
    carry_out(request, lambda: verbs.open(campaign=opened, actor=request.user))
    if not Campaign.objects.unblinded_for(request.user).filter(pk=opened.pk).exists():
        messages.success(request, "The campaign is open. You judge in it, so its pages are closed to you until it closes.")
    return _back(request, pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_pause(request: UserRequest, pk: UUID) -> HttpResponse:
    """Also for a trainer who judges in it, as closing is: it reveals nothing."""
    paused = get_object_or_404(Campaign, public_id=pk)
    carry_out(request, lambda: verbs.pause(campaign=paused, actor=request.user), "Paused: nobody is handed another pair.")
    return _back(request, pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_resume(request: UserRequest, pk: UUID) -> HttpResponse:
    resumed = get_object_or_404(Campaign, public_id=pk)
    carry_out(request, lambda: verbs.resume(campaign=resumed, actor=request.user), "It goes on.")
    return _back(request, pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_close(request: UserRequest, pk: UUID) -> HttpResponse:
    """Also for a trainer who judges in it: closing reveals nothing, and nobody else may be there to do it."""
    closed = get_object_or_404(Campaign, public_id=pk)
    carry_out(request, lambda: verbs.close(campaign=closed, actor=request.user))
    return _back(request, pk)


@access.allow(*TRAINERS)
@require_POST
def campaign_discard(request: UserRequest, pk: UUID) -> HttpResponse:
    draft = get_campaign_for(request.user, pk)
    gone = carry_out(request, lambda: verbs.discard(campaign=draft, actor=request.user), "The draft is gone; its texts are still there.")
    return redirect("annotation:campaigns") if gone else _back(request, pk)


def carry_out(request: UserRequest, verb: Callable[[], object], done: str = "") -> bool:
    """Do it and say so, or say why not."""
    try:
        verb()
    except CampaignRefused as refused:
        messages.error(request, str(refused))
        return False
    if done:
        messages.success(request, done)
    return True


def _back(request: UserRequest, pk: UUID) -> HttpResponse:
    """The campaign's page, or the list for somebody who may not see it now."""
    if Campaign.objects.unblinded_for(request.user).filter(public_id=pk).exists():
        return redirect("annotation:campaign", pk)
    return redirect("annotation:campaigns")


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_extend(request: UserRequest, pk: UUID) -> HttpResponse:
    """A later deadline, more pairs, more people, while it runs."""
    extended = get_campaign_for(request.user, pk)
    form = ExtendForm(request.POST if request.method == "POST" else None, campaign=extended)
    if form.is_valid():
        try:
            verbs.extend(campaign=extended, actor=request.user, **form.cleaned_data)
        except CampaignRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "Extended.")
            return _back(request, pk)
    page = {"campaign": extended, "form": form, "running": extended.state in {CampaignState.OPEN, CampaignState.PAUSED}}
    return render(request, "annotation/campaign_extend.html", page, status=422 if form.errors else 200)


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_derive(request: UserRequest, pk: UUID) -> HttpResponse:
    """The next draft by the same protocol: over other texts, or over what was left unjudged."""
    before = get_campaign_for(request.user, pk)
    usual = {"name": f"{before.name}, continued"[:120]}
    form = DeriveForm(request.POST if request.method == "POST" else None, initial=usual)
    if form.is_valid():
        try:
            made = verbs.derive(campaign=before, actor=request.user, **form.cleaned_data)
        except CampaignRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{made.pairs.count()} pairs are ready. Look them over, then open the campaign.")
            return redirect("annotation:campaign", made.public_id)
    page = {"campaign": before, "form": form}
    return render(request, "annotation/campaign_derive.html", page, status=422 if form.errors else 200)


@access.allow(*TRAINERS)
@require_safe
def campaign_protocol(request: UserRequest, pk: UUID) -> HttpResponseBase:
    """The locked protocol as a file: what its digest is the digest of. A draft has none yet."""
    shown = get_campaign_for(request.user, pk)
    if not shown.protocol_digest:
        raise Http404
    document = {"protocol": shown.protocol, "digest": shown.protocol_digest, "opened_at": shown.opened_at}
    answer = JsonResponse(document, json_dumps_params={"indent": 2, "ensure_ascii": False})
    answer["Content-Disposition"] = f'attachment; filename="protocol-{shown.protocol_digest[:8]}.json"'
    return answer
