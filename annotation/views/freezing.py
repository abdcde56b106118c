"""Snapshots: what would be frozen, what was frozen, what was left out and why, and the files."""

from collections.abc import Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from accounts import access, fresh
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from annotation import export_rights, filters, freeze_jobs, held_out_raters, lint, safety
from annotation import snapshots as verbs
from annotation.exports import card, levels
from annotation.filters import Filters
from annotation.forms import AskedForm, FreezeForm
from annotation.models import Campaign, CampaignState, Snapshot, SnapshotEvidence, Split
from annotation.views import exporting
from annotation.views.managing import get_campaign_for
from jobs import advice, pulses
from jobs.models import Job
from web.charts import bar_chart

# A steward sees what was frozen, and takes nothing away.
READERS = (*TRAINERS, Role.STEWARD)


@access.allow(*READERS)
@require_safe
def snapshots(request: UserRequest) -> HttpResponse:
    page = Paginator(Snapshot.objects.unblinded_for(request.user).select_related("campaign").order_by("-pk"), 50).get_page(
        request.GET.get("page")
    )
    ready = Campaign.objects.unblinded_for(request.user).exclude(state=CampaignState.DRAFT).order_by("-pk").first()
    return render(request, "annotation/snapshots.html", {"page": page, "ready": ready})


# Above this the page comes at once, and what freezing would give when it is worked out.
AT_ONCE = 2000


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_freeze(request: UserRequest, pk: UUID) -> HttpResponse:
    """What freezing would give, looked over before the button; then the snapshot. Of many pairs a job does both, watched here."""
    campaign = get_campaign_for(request.user, pk)
    if "job" in request.GET and request.method != "POST":
        return _watched(request, campaign)
    sent = request.POST or request.GET
    asked = AskedForm(sent or {"min_judgements": "1"}, campaign=campaign)
    looking = "look" in request.POST
    form = FreezeForm(request.POST if request.method == "POST" and not looking else None, initial={"name": _usual_name(campaign)})
    long = freeze_jobs.is_long(campaign)
    if long and asked.is_valid() and (looking or form.is_valid()):
        return _begun(request, campaign, asked, form, looking)
    if form.is_valid() and asked.is_valid():
        try:
            frozen = verbs.freeze(campaign=campaign, actor=request.user, name=form.cleaned_data["name"], **asked.asked())
        except verbs.FreezeRefused as refused:
            form.add_error(None, str(refused))
        else:
            return redirect("annotation:snapshot", frozen.public_id)
    later = not (request.htmx or sent) and not long and campaign.counts.get("pairs", 0) > AT_ONCE
    page = {"campaign": campaign, "form": form, "asked": asked, "later": later, "long": long}
    if long:
        if not request.htmx and (under_way := freeze_jobs.of_campaign(campaign)):
            page |= _progress(under_way, f"{request.path}?job={under_way.public_id}")
    elif not later:
        page |= _looked_over(campaign, asked)
    template = "annotation/campaign_freeze.html#report" if request.htmx else "annotation/campaign_freeze.html"
    return render(request, template, page, status=422 if form.errors or asked.errors else 200)


def _usual_name(campaign: Campaign) -> str:
    return f"{campaign.name}, {timezone.localdate():%d %B %Y}"[:120]


def _looked_over(campaign: Campaign, asked: AskedForm) -> dict[str, Any]:
    if not asked.is_valid():
        return {"report": None}
    wanted = Filters(**asked.asked())  # type: ignore[arg-type]  # collections become sorted tuples
    said = asked.cleaned_data
    return _told(lint.look(campaign=campaign, filters=wanted, model=said.get("model"), context=said.get("context")).told())


def _told(report: dict[str, Any]) -> dict[str, Any]:
    """A report as the page shows it (`lint.Report.told`)."""
    used, dropped = report["used"], report["dropped"]
    return {
        "report": report,
        "used": [(Split(split).label, used[split]) for split in Split.values if split in used],
        "rows": sum(used.values()),
        "dropped": [(verbs.DROP_REASONS.get(reason, reason), count) for reason, count in dropped.items()],
        "lost": sum(dropped.values()),
        "chart": targets_chart([(step["low"], step["high"], step["rows"]) for step in report["targets"]]),
        "pairs_needed": held_out_raters.PAIRS_NEEDED,
    }


# --- many pairs: by a job ----------------------------------------------------------------------------------------------------------------


def _begun(request: UserRequest, campaign: Campaign, asked: AskedForm, form: FreezeForm, looking: bool) -> HttpResponse:
    said = asked.cleaned_data
    try:
        job = freeze_jobs.start(
            campaign=campaign, name="" if looking else form.cleaned_data["name"], actor=request.user, look=looking,
            model=said.get("model"), context=said.get("context"), **asked.asked(),
        )  # fmt: skip
    except verbs.FreezeRefused as refused:
        messages.error(request, str(refused))
        return redirect("annotation:campaign-freeze", campaign.public_id)
    # What was asked for stays in the address, so that what was looked over can be frozen from there.
    kept = QueryDict(mutable=True)
    kept["job"] = str(job.public_id)
    for name, value in asked.kept:
        kept.appendlist(name, value)
    return redirect(f"{reverse('annotation:campaign-freeze', args=[campaign.public_id])}?{kept.urlencode()}")


def _watched(request: UserRequest, campaign: Campaign) -> HttpResponse:
    """How far a job is that freezes the campaign or looks it over; then what came of it."""
    job = _job_of(campaign, request.GET["job"])
    if frozen := freeze_jobs.snapshot_of(job):
        address = reverse("annotation:snapshot", args=[frozen.public_id])
        return HttpResponseClientRedirect(address) if request.htmx else redirect(address)
    page = {"campaign": campaign, "long": True, **_progress(job, request.get_full_path())}
    if request.htmx:
        return render(request, "annotation/campaign_freeze.html#watched", page)
    page["asked"] = AskedForm(request.GET, campaign=campaign)
    page["form"] = FreezeForm(initial={"name": job.spec["name"] or _usual_name(campaign)})
    return render(request, "annotation/campaign_freeze.html", page)


def _progress(job: Job, address: str) -> dict[str, Any]:
    page: dict[str, Any] = {"job": job, "address": address}
    if not job.ended:
        return page | {"missing": pulses.missing((job.queue,))}
    return page | (_told(job.result["looked"]) if "looked" in job.result else {"advice": advice.for_code(job.error_code)})


def _job_of(campaign: Campaign, public_id: str) -> Job:
    try:
        return get_object_or_404(freeze_jobs.asked_by_people(campaign), public_id=UUID(public_id))
    except ValueError:
        raise Http404 from None


def targets_chart(histogram: Sequence[tuple[float, float, int]]) -> SafeString:
    """Rows by how likely a rater is to prefer the chosen side."""
    if not any(rows for *_, rows in histogram):
        return SafeString()
    bars = [(f"{low:.2f} to {high:.2f}", float(rows), None, None) for low, high, rows in histogram]
    return bar_chart(bars, title="Soft targets", x_label="pairs")


@access.allow(*READERS)
@require_safe
def snapshot(request: UserRequest, pk: UUID) -> HttpResponse:
    return _page(request, exporting.get_snapshot_for(request.user, pk))


def _page(request: UserRequest, shown: Snapshot, form: exporting.ReasonForm | None = None, status: int = 200) -> HttpResponse:
    used = [(Split(split).label, shown.counts["used"].get(split, 0)) for split in Split.values]
    dropped = [(verbs.DROP_REASONS.get(reason, reason), count) for reason, count in shown.counts["dropped"].items()]
    page = {
        "snapshot": shown,
        "used": used,
        "rows": sum(count for _, count in used),
        "dropped": dropped,
        "lost": sum(n for _, n in dropped),
        "leaking": shown.counts["dropped"].get(verbs.LEAK, 0),
        "listed": SnapshotEvidence.objects.filter(snapshot=shown).exclude(dropped={}).exists(),
        "asked": filters.in_words(shown.filters),
        "chart": targets_chart(shown.targets()),
        "since": safety.since(shown),
    }
    return render(request, "annotation/snapshot.html", page | exporting.section(request, shown, form), status=status)


@access.allow(*READERS)
@require_safe
def snapshot_left_out(request: UserRequest, pk: UUID) -> HttpResponseBase:
    """Every pair that was left out, with its reason: numbers and codes, no text."""
    shown = exporting.get_snapshot_for(request.user, pk)
    lines = (f"{pair},{reason}\r\n" for pair, reason in chain([("pair_id", "reason")], verbs.dropped_pairs(shown)))
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = content_disposition_header(True, f"{card.filename(shown.digest)}-left-out.csv") or "attachment"
    answer["Content-Security-Policy"] = "sandbox"
    return answer


@access.allow(*TRAINERS)
@require_POST
def snapshot_release(request: UserRequest, pk: UUID) -> HttpResponse:
    """Write down what a full export is for; the passphrase was given lately, or is asked for first."""
    shown = exporting.get_snapshot_for(request.user, pk)
    back = f"{reverse('annotation:snapshot', args=[shown.public_id])}?level={levels.FULL}#export"
    if not fresh.confirmed(request):
        return redirect(fresh.address(back))
    form = exporting.ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, shown, form, status=422)
    export_rights.release(snapshot=shown, user=request.user, reason=form.cleaned_data["reason"])
    messages.success(request, "Your reason is on record. For a day you can download everything below.")
    return redirect(back)
