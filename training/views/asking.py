"""The mini-suite's pages: which models were asked, how they stand to what they were made from, and asking one."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from accounts import access
from accounts.access import TRAINERS, UserRequest
from modelhub.models import ModelVersion
from training import suiteruns, suitetables
from training.models import Suite, SuiteRun
from web.addresses import next_of

A_PAGE = 50


@require_safe
@access.allow(*TRAINERS)
def suite_list(request: UserRequest) -> HttpResponse:
    """Every model that can be asked, the newest first, and what its newest run came to."""
    digest = suiteruns.settings_digest(suite=Suite.MINI)
    runs = SuiteRun.objects.filter(suite=Suite.MINI, settings_digest=digest).select_related("job").order_by("-id")
    found = ModelVersion.objects.usable().prefetch_related(Prefetch("suite_runs", runs, to_attr="asked")).order_by("-id")
    page = Paginator(found, A_PAGE).get_page(request.GET.get("page"))
    rows = [suitetables.row_of(version, getattr(version, "asked")) for version in page]  # noqa: B009 - made by the prefetch
    template = "training/suites.html#table" if request.htmx else "training/suites.html"
    return render(request, template, {"page": page, "rows": rows, "alive": any(row.under_way for row in rows)})


@require_safe
@access.allow(*TRAINERS)
def compare(request: UserRequest) -> HttpResponse:
    """One model and all it was made from, or the models of `?model=` again and again; each against its parent among them."""
    asked = [_uuid(text) for text in request.GET.getlist("model")]
    if not asked:
        return redirect("training:suites")
    named = {version.public_id: version for version in ModelVersion.objects.filter(public_id__in=asked).exclude(kind="adapter")}
    if len(named) != len(set(asked)):
        raise Http404("No such model.")
    one = len(named) == 1
    versions = suitetables.lineage_of(named[asked[0]]) if one else suitetables.in_order(named.values())
    # Whatever order they were ticked in: what was made last is looked at closely.
    shown = suitetables.table(versions, focus=versions[-1])
    if request.htmx:
        # Asked every few seconds while something runs: nothing to see until that has ended.
        return HttpResponse(status=204) if shown.alive else HttpResponseClientRefresh()
    return render(request, "training/suite_compare.html", {
        "shown": shown, "tasks": suitetables.TASKS, "by_lineage": one, "published": suitetables.published_rows(),
        "averages": suitetables.averages_chart(shown),
        "gains": suitetables.gains_chart(shown.focus.version.name, shown.parents[0]) if shown.parents and shown.parents[0].cells else "",
    })  # fmt: skip


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404("No such model.") from None


@require_POST
@access.allow(*TRAINERS)
def ask(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Queue the mini-suite for a model; what stands or is under way is not queued again."""
    version = get_object_or_404(ModelVersion, public_id=public_id)
    try:
        run = suiteruns.start(version=version, actor=request.user)
    except suiteruns.NotAskable as refused:
        messages.error(request, str(refused))
    else:
        said = "has been asked already." if run.finished_at else "is asked; it takes a minute or two."
        messages.success(request, f"{version.name} {said}")
    return redirect(next_of(request, reverse("training:suites")))
