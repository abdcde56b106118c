"""A campaign before it is made: the form, and beside it what it would cost and could find out."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from annotation import campaigns, pairs, protocols, worth
from annotation.campaign_form import CampaignForm
from annotation.campaigns import CampaignRefused
from annotation.models import Completion, GenerationBatch
from annotation.protocols import Plan


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_new(request: UserRequest) -> HttpResponse:
    form = CampaignForm(request.POST if request.method == "POST" else None, initial=_asked_for(request))
    if form.is_valid():
        plan = _plan(form)
        try:
            made = campaigns.create(actor=request.user, **form.terms())
        except CampaignRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{made.pairs.count()} pairs are ready. Look them over, then open the campaign.")
            for warning in plan.warnings if plan else []:
                messages.warning(request, warning)
            return redirect("annotation:campaign", made.public_id)
    plan = _plan(form) if form.is_bound else None
    return _show(request, form, plan, _outlook(form, plan), status=422 if form.errors else 200)


@access.allow(*TRAINERS)
@require_POST
def campaign_plan(request: UserRequest) -> HttpResponse:
    """The figures for what is in the form now; nothing is stored. Without htmx, the whole page with everything still in it."""
    form = CampaignForm(request.POST)
    form.is_valid()
    plan = _plan(form)
    if request.htmx:
        page = {"plan": plan, "assumed": protocols.ASSUMED, "outlook": _outlook(form, plan)}
        return render(request, "annotation/campaign_new.html#plan", page)
    return _show(request, form.as_asked(), plan, _outlook(form, plan))


def _show(
    request: UserRequest, form: CampaignForm, plan: Plan | None, outlook: dict[str, Any] | None, status: int = 200
) -> HttpResponse:  # fmt: skip
    page = {"form": form, "plan": plan, "assumed": protocols.ASSUMED, "texts": Completion.objects.exists(), "outlook": outlook}
    return render(request, "annotation/campaign_new.html", page, status=status)


def _plan(form: CampaignForm) -> Plan | None:
    """The plan for what could be read of the form; None while there is nothing to compare."""
    asked = form.cleaned_data
    people = form.people()
    measured = protocols.measure(form.sources(), people)
    if not measured.pairs:
        return None
    return protocols.plan(
        measured=measured,
        limit=asked.get("limit"),
        overlap=asked.get("overlap") or 1,
        double_share=asked.get("double_share") or 0,
        repeat_share=asked.get("repeat_share") or 0,
        gold=asked.get("gold") or 0,
        cohorts=[len(inside) for inside in (asked.get("cohorts") or {}).values()],
        members=len(people),
        purpose=asked.get("purpose") or "collect",
        session_minutes=asked.get("session_minutes") or 20,
        hourly_cost=asked.get("hourly_cost"),
        deadline=asked.get("deadline"),
        checks=asked["rubric"].content["checks"] if asked.get("rubric") else (),
        today=timezone.localdate(),
    )


def _outlook(form: CampaignForm, plan: Plan | None) -> dict[str, Any] | None:
    """What some of the pairs are like: which reasons to leave one out apply, and how many ties to expect."""
    seen = pairs.outlook(form.sources()) if plan else None
    if seen is None:
        return None
    used = form.sources().leaving
    rows = [(worth.REASONS[why], count, why in used) for why, count in seen.reasons.items() if count]
    ties = None if seen.tie_rate is None else round(100 * seen.tie_rate)
    return {"looked": seen.looked, "rows": rows, "ties": ties, "judged": seen.judged}


def _asked_for(request: UserRequest) -> dict[str, Any]:
    """Texts the address names (`?batch=…&batch=…`), chosen already: where a generation sends people on."""
    try:
        named = [UUID(text) for text in request.GET.getlist("batch")[:20]]
    except ValueError:
        raise Http404("No such texts.") from None
    found = GenerationBatch.objects.filter(public_id__in=named).order_by("pk").values_list("pk", flat=True)
    return {"batches": list(found)} if named else {}
