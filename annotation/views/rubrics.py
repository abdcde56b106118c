"""The rubric studio: what is asked, by version; what a version changed; who uses it; the next one."""

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from annotation import rubrics as verbs
from annotation.models import Adjudication, Campaign, Outcome, Rubric
from annotation.rubric_form import COPY, RubricForm
from annotation.rubrics import RubricRefused

STUDIO = (*TRAINERS, Role.ADJUDICATOR)


@access.allow(*STUDIO)
@require_safe
def rubrics(request: UserRequest) -> HttpResponse:
    verbs.ensure()
    found = Rubric.objects.annotate(used=Count("campaigns")).order_by("code", "-version")
    listed = sorted(found, key=lambda one: (len(one.code), one.code, -one.version))
    return render(request, "annotation/rubrics.html", {"rubrics": listed, "templates": verbs.templates()})


@access.allow(*STUDIO)
@require_safe
def rubric(request: UserRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Rubric.objects.select_related("created_by"), pk=pk)
    versions = list(Rubric.objects.filter(code=shown.code).order_by("-version"))
    before = next((one for one in versions if one.version == shown.version - 1), None)
    # Nothing of a campaign that the viewer judges in: what a lead says of its pairs would lean on them.
    seen = Campaign.objects.unblinded_for(request.user)
    page = {
        "rubric": shown,
        "versions": versions,
        "newest": versions[0].pk == shown.pk,
        "before": before,
        "differences": verbs.differences(before, shown) if before else [],
        "campaigns": seen.filter(rubric=shown).order_by("-pk")[:50],
        "unclear": Adjudication.objects.newest()
        .filter(outcome=Outcome.RUBRIC_UNCLEAR, dispute__campaign__in=seen.filter(rubric=shown))
        .select_related("dispute__campaign")
        .order_by("-decided_at")[:20],
        "used": shown.campaigns.count(),
        "trains": request.user.has_role(*TRAINERS),
        "shipped": shown.code in verbs.templates(),
        "asked": verbs.in_order(shown.content),
        "written": verbs.written(shown.content),
    }
    return render(request, "annotation/rubric.html", page)


@access.allow(*STUDIO)
@require_http_methods(["GET", "HEAD", "POST"])
def rubric_edit(request: UserRequest, pk: int) -> HttpResponse:
    """Start from a version; "look at it" shows what would be asked, saving makes the next version or a copy."""
    start = get_object_or_404(Rubric, pk=pk)
    usual = {"name": start.name, "content": verbs.written(start.content)}
    form = RubricForm(request.POST if request.method == "POST" else None, initial=usual)
    if form.is_valid() and "preview" not in request.POST:
        try:
            made = _save(form, start, request)
        except RubricRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{made} is stored. Campaigns that use an earlier version go on with it.")
            return redirect("annotation:rubric", made.pk)
    preview = None
    if form.is_bound and "content" not in form.errors:
        preview = form.cleaned_data["content"]
    page = {"rubric": start, "form": form, "preview": verbs.in_order(preview), "asked": verbs.in_order(start.content)}
    return render(request, "annotation/rubric_edit.html", page, status=422 if form.errors else 200)


def _save(form: RubricForm, start: Rubric, request: UserRequest) -> Rubric:
    asked = form.cleaned_data
    if asked["save_as"] == COPY:
        return verbs.copy(code=asked["code"], name=asked["name"], content=asked["content"], actor=request.user)
    return verbs.next_version(rubric=start, name=asked["name"], content=asked["content"], actor=request.user)


@access.allow(*STUDIO)
@require_POST
def rubric_retire(request: UserRequest, pk: int) -> HttpResponse:
    retired = get_object_or_404(Rubric, pk=pk)
    try:
        verbs.retire(rubric=retired, actor=request.user)
    except RubricRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"{retired} is offered for new campaigns no more.")
    return redirect("annotation:rubric", pk)
