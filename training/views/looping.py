"""The unattended loop: a campaign's policy, the proposals that came of it, and what people do with one."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation import freeze_jobs, snapshot_evidence
from annotation.models import Campaign, CampaignState
from annotation.snapshot_evidence import NobodyToHoldOut
from annotation.snapshots import FreezeRefused
from modelhub import aliases
from modelhub.models import AliasName
from training import loop_anchors, loop_freezing, loop_pages, loop_policies, loop_rounds, preflight
from training.loop_forms import DismissForm, LoopForm
from training.models import LoopPolicy, LoopRound, RoundState
from training.views.comparing import standing

PROPOSALS_A_PAGE = 50
# Of more pairs the votes are resolved only once the page is there, or when it is asked for.
COUNTED_AT_ONCE = 2_000


def get_campaign_for(user: User, public_id: UUID) -> Campaign:
    """A campaign that is learnt from and that a trainer may see unblinded: 404 while they rate in it."""
    return get_object_or_404(Campaign.objects.unblinded_for(user).filter(purpose="collect"), public_id=public_id)


def get_round_for(user: User, public_id: UUID) -> LoopRound:
    """A round a trainer may see: it says who wrote what, so not while they rate in its campaign."""
    mine = LoopRound.objects.for_page().filter(loop__campaign__in=Campaign.objects.unblinded_for(user))
    return get_object_or_404(mine, public_id=public_id)


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def loop(request: UserRequest, public_id: UUID) -> HttpResponse:
    """A campaign's policy: when a round begins and how it trains, what it waits for, and the rounds so far."""
    campaign = get_campaign_for(request.user, public_id)
    known = LoopPolicy.objects.filter(campaign=campaign).select_related("created_by", "campaign").first()
    if request.htmx and "count" in request.GET:
        return render(request, "training/loop.html#standing", {"campaign": campaign, "loop": known, **_standing(known)})
    form = LoopForm(request.POST or None, loop=known, campaign=campaign)
    if request.method == "POST" and form.is_valid():
        try:
            made = loop_policies.put(campaign=campaign, actor=request.user, **form.asked())
        except loop_policies.PolicyRefused as refused:
            form.refuse(refused.problems)
        else:
            messages.success(request, _said(made))
            return redirect("training:loop", campaign.public_id)
    page = {
        "campaign": campaign, "loop": known, "form": form, "start": loop_policies.start_model(known) if known else None,
        "rounds": LoopRound.objects.for_list().filter(loop=known) if known else [],
    }  # fmt: skip
    if campaign.counts.get("pairs", 0) <= COUNTED_AT_ONCE or "count" in request.GET:
        page |= _standing(known)
    return render(request, "training/loop.html", page, status=422 if form.errors else 200)


def _said(made: LoopPolicy) -> str:
    if not made.active:
        return "The policy is kept, and off: nothing begins by itself."
    return f"The policy is on: a round begins at {made.pairs_needed} new training pairs. It proposes; people decide."


def _standing(known: LoopPolicy | None) -> dict[str, Any]:
    """How near the next round is."""
    if known is None or known.campaign.state == CampaignState.DRAFT:
        return {"counted": True}
    try:
        if freeze_jobs.is_long(known.campaign):
            return {"counted": True, **_counted_by_a_job(known)}
        return {"counted": True, **_ready(loop_rounds.ready(known))}
    except NobodyToHoldOut as few:
        return {"counted": True, "waits": f"{few} It waits for another."}
    except FreezeRefused as refused:
        return {"counted": True, "refused": str(refused)}


def _counted_by_a_job(known: LoopPolicy) -> dict[str, Any]:
    snapshot_evidence.held_out_of(known.campaign, loop_policies.filters_of(known))
    ready, job = loop_rounds.counted(known)
    page = {"counted_by": job, "counting": loop_freezing.under_way(known), "long": True}
    return page | (_ready(ready) if ready else {"ready": None})


def _ready(ready: loop_rounds.Ready) -> dict[str, Any]:
    return {"ready": ready, "dry": loop_policies.is_dry(ready.pairs), "exploratory": preflight.PAIRS_EXPLORATORY}


@require_POST
@access.allow(*TRAINERS)
def loop_pause(request: UserRequest, public_id: UUID) -> HttpResponse:
    known = _policy_of(request.user, public_id)
    loop_policies.pause(loop=known, actor=request.user)
    messages.success(request, "Paused: no round begins. One under way goes on to its proposal.")
    return redirect("training:loop", public_id)


@require_POST
@access.allow(*TRAINERS)
def loop_resume(request: UserRequest, public_id: UUID) -> HttpResponse:
    known = _policy_of(request.user, public_id)
    try:
        loop_policies.resume(loop=known, actor=request.user)
    except loop_policies.PolicyRefused as refused:
        messages.error(request, f"{refused} Change the policy first.")
    else:
        messages.success(request, "Resumed: a round begins as soon as there is enough to learn from.")
    return redirect("training:loop", public_id)


def _policy_of(user: User, public_id: UUID) -> LoopPolicy:
    found = LoopPolicy.objects.select_related("campaign").filter(campaign=get_campaign_for(user, public_id)).first()
    if found is None:
        raise Http404("This campaign has no policy.")
    return found


@require_GET
@access.allow(*TRAINERS)
def proposals(request: UserRequest) -> HttpResponse:
    """Every round of every loop, those that wait for a decision first."""
    mine = LoopRound.objects.for_list().filter(loop__campaign__in=Campaign.objects.unblinded_for(request.user))
    page = Paginator(mine, PROPOSALS_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/proposals.html", {"page": page, "campaigns": Campaign.objects.exists()})


@require_GET
@access.allow(*TRAINERS)
def proposal(request: UserRequest, public_id: UUID) -> HttpResponse:
    """What a round has made, and how it stands to the gates; the deciding itself is done where everything else is promoted."""
    one = get_round_for(request.user, public_id)
    if request.htmx and one.state != RoundState.WORKING:
        # What stands on the page besides its progress has changed too.
        return HttpResponseClientRefresh()
    asked = loop_pages.suites(one)
    page: dict[str, Any] = {"round": one, "parts": loop_pages.parts(one, asked), "campaign": one.loop.campaign}
    if one.evaluation is not None and one.evaluation.finished_at is not None:
        champion = aliases.current(AliasName.CHAMPION)
        page |= {
            **standing(request.user, one.evaluation, AliasName.CHAMPION, champion), "champion": champion,
            "moved": loop_pages.champion_moved(one), "beside": loop_anchors.beside(one, asked),
            "decisions": one.evaluation.promotions.select_related("decided_by"), "waits": one.state == RoundState.PROPOSED,
        }  # fmt: skip
        page["lost"] = any(line.lost for line in page["beside"])
        if one.gates:
            page["gates"] = loop_pages.kept_gates(one, page["gates"])
            page["passed_then"] = all(kept["passed"] for kept in one.gates)
    if one.snapshot is not None:
        page["dry"] = loop_policies.is_dry(preflight.train_pairs(one.snapshot))
    template = "training/proposal.html#progress" if request.htmx else "training/proposal.html"
    return render(request, template, page)


@require_POST
@access.allow(*TRAINERS)
def proposal_dismiss(request: UserRequest, public_id: UUID) -> HttpResponse:
    one = get_round_for(request.user, public_id)
    form = DismissForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Say in a few words why; nothing was changed.")
        return redirect("training:proposal", public_id)
    try:
        loop_rounds.dismiss(one=one, actor=request.user, reason=form.cleaned_data["reason"])
    except loop_rounds.NotOpen as late:
        messages.error(request, f"{late} Nothing was changed.")
    else:
        messages.success(request, "Put aside. The model, its evaluation and the snapshot stay.")
    return redirect("training:proposal", public_id)
