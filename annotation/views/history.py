"""A rater's own answers, newest first: what was said, how it was changed, and the way back to change it."""

from typing import Any

from django import forms
from django.db.models import Exists, OuterRef, Prefetch, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import UserRequest
from accounts.models import User
from annotation import answers, judgements, qualifications
from annotation.judgements import SideVerdict
from annotation.models import Campaign, CampaignState, Judgement, JudgementQuerySet, Membership, Severity
from annotation.views.rating import RATERS

LATEST = 100


class HistoryFilter(forms.Form):
    campaign = forms.ModelChoiceField(Campaign.objects.none(), to_field_name="public_id", required=False, empty_label="every campaign")
    verdict = forms.ChoiceField(required=False, choices=[("", "every verdict"), *SideVerdict.choices])
    flagged = forms.BooleanField(required=False, label="with a safety flag")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mine = Campaign.objects.for_member(user).exclude(state=CampaignState.DRAFT).order_by("-pk")
        self.fields["campaign"].queryset = mine  # type: ignore[attr-defined]


@access.allow(*RATERS)
@never_cache
@require_safe
def history(request: UserRequest) -> HttpResponse:
    """The last hundred answers that stand, with every revision of each."""
    form = HistoryFilter(request.GET, user=request.user)
    wanted = form.cleaned_data if form.is_valid() else {}
    found = answers_of(request.user)
    if campaign := wanted.get("campaign"):
        found = found.filter(assignment__campaign=campaign)
    if verdict := wanted.get("verdict"):
        found = found.filter(pressed(verdict))
    if wanted.get("flagged"):
        found = found.exclude(harm_first="", harm_second="")
    rows = [as_row(judgement) for judgement in found[:LATEST]]
    page = {"form": form, "rows": rows, "filtered": any(wanted.values()), "latest": LATEST}
    return render(request, "annotation/history.html", page)


def answers_of(user: User) -> JudgementQuerySet:
    """What `user` has answered and not taken back, newest first, with its revisions. Two queries."""
    revoked = Membership.objects.filter(campaign=OuterRef("assignment__campaign"), user=user, revoked_at__isnull=False)
    revisions = Judgement.objects.order_by("revision")
    return (
        Judgement.objects.current()
        .filter(assignment__annotator=user)
        .select_related("assignment__campaign__rubric", "assignment__pair__prompt__sample")
        .prefetch_related(Prefetch("assignment__judgements", queryset=revisions))
        .annotate(revoked=Exists(revoked))
        .defer("rationale", "assignment__pair__prompt__messages", "assignment__campaign__guideline", "assignment__campaign__protocol")
        .order_by("-submitted_at", "-pk")
    )


def pressed(verdict: str) -> Q:
    """Judgements for which their rater pressed `verdict`, whichever completion stood on the left."""
    stored = {left: judgements.by_side(_Shown(left), verdict) for left in (True, False)}
    either = [Q(assignment__first_on_left=left, verdict=what) for left, what in stored.items()]
    return either[0] | either[1]


class _Shown:
    def __init__(self, first_on_left: bool) -> None:
        self.first_on_left = first_on_left


def as_row(judgement: Judgement) -> dict[str, Any]:
    """One answer by side, as its rater saw the pair; what kind of asking it was is not said."""
    held = judgement.assignment
    campaign = held.campaign
    labels = {one["key"]: one["label"] for one in campaign.rubric.content.get("reasons", [])}
    revoked = judgement.revoked  # type: ignore[attr-defined]
    harms = {answers.side_of(held, of): getattr(judgement, f"harm_{of}") for of in ("first", "second")}
    flags = [(side.upper(), Severity(harms[side]).label) for side in "ab" if harms[side]]
    return {
        "judgement": judgement,
        "assignment": held,
        "campaign": campaign,
        "sample": held.pair.prompt.sample,
        "verdict": judgements.seen_from(held, judgement.verdict).label,
        "cannot": judgement.get_cannot_reason_display() if judgement.cannot_reason else "",
        "reasons": [labels.get(key, key) for key in judgement.reasons],
        "flags": flags,
        "revisions": [(one, judgements.seen_from(held, one.verdict).label) for one in held.judgements.all() if one.pk != judgement.pk],
        "open": not revoked,
        "amendable": not revoked and campaign.state == CampaignState.OPEN and campaign.purpose != qualifications.QUALIFY,
    }
