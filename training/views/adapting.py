"""A version's change as a LoRA adapter of its own, and an adapter merged into its base: both start here, and are watched as runs."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import TRAINERS, UserRequest
from modelhub.models import Kind, ModelVersion
from training import adapters, runs
from training.engine.errors import SpecError
from training.forms import ExtractForm, NameForm, free_name


def get_version(public_id: UUID, *, adapter: bool) -> ModelVersion:
    """Raises Http404 where the version is no adapter and one is meant, or the other way round."""
    version = get_object_or_404(ModelVersion.objects.select_related("artifact"), public_id=public_id)
    if (version.kind == Kind.ADAPTER) != adapter:
        raise Http404("Nothing to do so with this model.")
    return version


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def extract(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Base, rank and name; htmx asks for the preflight alone while they change."""
    expert = get_version(public_id, adapter=False)
    bases = adapters.bases_for(expert)
    if request.method == "GET":
        usual = {
            "base": str(bases[0].public_id) if bases else "", "rank": adapters.USUAL_RANK, "name": free_name(f"{expert.name[:60]}-lora"),
        }  # fmt: skip
        filled = usual | {name: request.GET[name] for name in usual if name in request.GET}
        asked = ExtractForm(filled, bases=bases)
        if request.htmx:
            return render(request, "training/extract.html#preflight", _ahead(expert, asked))
        form = ExtractForm(initial=filled, bases=bases)
        return render(request, "training/extract.html", {"form": form, "version": expert, "bases": bases, **_ahead(expert, asked)})
    form = ExtractForm(request.POST, bases=bases)
    ahead = _ahead(expert, form)
    if form.is_valid() and ahead["clear"]:
        said = form.cleaned_data
        try:
            run = adapters.extract(expert=expert, base=said["base"], rank=said["rank"], name=said["name"], actor=request.user)
        except (runs.Refused, SpecError) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:run", run.pk)
    return render(request, "training/extract.html", {"form": form, "version": expert, "bases": bases, **ahead}, status=422)


def _ahead(expert: ModelVersion, form: ExtractForm) -> dict[str, Any]:
    """The preflight of what the form says so far."""
    form.is_valid()
    said = form.cleaned_data
    if not {"base", "rank"} <= said.keys():
        return {"checks": [], "clear": False}
    checks = adapters.checks_of_extraction(expert=expert, base=said["base"], rank=said["rank"], name=said.get("name", ""))
    return {"checks": checks, "clear": not any(check.stops for check in checks)}


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def merge_adapter(request: UserRequest, public_id: UUID) -> HttpResponse:
    """The name of the merge of an adapter and its base; everything else is known."""
    adapter = get_version(public_id, adapter=True)
    base = adapters.base_of(adapter)
    usual = request.GET.get("name") or free_name(f"{adapter.name[:60]}-merged")
    asked = NameForm(request.POST if request.method == "POST" else {"name": usual})
    asked.is_valid()
    checks = adapters.checks_of_merge(adapter=adapter, name=asked.cleaned_data.get("name", ""))
    page = {"version": adapter, "base": base, "checks": checks, "clear": not any(check.stops for check in checks), "form": asked}
    if request.method == "GET":
        if request.htmx:
            return render(request, "training/merge_adapter.html#preflight", page)
        return render(request, "training/merge_adapter.html", page | {"form": NameForm(initial={"name": usual})})
    if asked.is_valid() and page["clear"]:
        try:
            run = adapters.merge_into_base(adapter=adapter, name=asked.cleaned_data["name"], actor=request.user)
        except runs.Refused as refused:
            asked.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:merge-recipe", run.recipe.public_id) if run.recipe else redirect("training:run", run.pk)
    return render(request, "training/merge_adapter.html", page, status=422)
