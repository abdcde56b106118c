"""Starting a search for a merge's numbers; what comes of it is watched on its run's page."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import TRAINERS, UserRequest
from modelhub.models import ModelVersion
from training import families, runs, searches
from training.engine.errors import SpecError
from training.engine.toytext import DOMAINS
from training.forms import SearchForm, free_name


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def search(request: UserRequest) -> HttpResponse:
    """Base, experts, method and budget; htmx asks for the preflight alone while they change."""
    if request.method == "GET" and request.htmx:
        return render(request, "training/search.html#preflight", _look_ahead(SearchForm(request.GET)))
    if request.method == "GET":
        filled = _usual() | {name: request.GET[name] for name in ("base", "method", "name", "evaluations") if name in request.GET}
        if named := request.GET.getlist("experts"):
            filled["experts"] = named
        return render(request, "training/search.html", {"form": SearchForm(initial=filled), **_look_ahead(SearchForm(filled))})
    form = SearchForm(request.POST)
    ahead = _look_ahead(form)
    if form.is_valid() and not any(check.stops for check in ahead["checks"]):
        said = form.cleaned_data
        try:
            run = searches.start(
                base=said["base"], experts=said["experts"], method=said["method"], name=said["name"], actor=request.user,
                evaluations=said["evaluations"], seconds=form.seconds(), seed=said["seed"] if said["seed"] is not None else 1,
            )  # fmt: skip
        except (runs.Refused, SpecError) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:run", run.pk)
    return render(request, "training/search.html", {"form": form, **ahead}, status=422)


def _usual() -> dict[str, Any]:
    """The newest family's base and its experts as they were merged with the base; nothing where there is none."""
    base = families.version("base")
    experts = [found for domain in DOMAINS if (found := families.version(f"slerp-{domain}") or families.version(f"expert-{domain}"))]
    base = base or ModelVersion.objects.filter(toy=True, kind="base").first()
    return {
        "base": base and str(base.public_id), "experts": [str(expert.public_id) for expert in experts], "method": "breadcrumbs_ties",
        "evaluations": searches.USUAL, "name": free_name(f"{base.name.split('-')[0][:60]}-searched" if base else "searched"),
    }  # fmt: skip


def _look_ahead(form: SearchForm) -> dict[str, Any]:
    """Preflight and estimate of what the form says so far."""
    form.is_valid()
    said = form.cleaned_data
    if not {"base", "experts"} <= said.keys():
        return {"checks": [], "estimate": None, "clear": False}
    checks = searches.checks(base=said["base"], experts=said["experts"], name=said.get("name", ""))
    ahead: dict[str, Any] = {"checks": checks, "clear": not any(check.stops for check in checks), "estimate": None}
    if {"method", "evaluations"} <= said.keys():
        ahead["estimate"] = searches.estimate(
            base=said["base"], experts=said["experts"], method=said["method"], evaluations=said["evaluations"], seconds=form.seconds(),
            questions=32,
        )  # fmt: skip
    return ahead
