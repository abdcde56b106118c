"""Launching a run: four fields, a preflight, one click."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.models import Snapshot
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import preflight, presets, runs
from training.engine.errors import SpecError
from training.forms import LaunchForm
from training.models import Run


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def launch(request: UserRequest) -> HttpResponse:
    """Four fields, a preflight, one click. While fields change, htmx asks for the preflight alone."""
    if request.method == "GET" and not request.htmx:
        suggestion = _suggestion(request)
        ahead = _look_ahead(LaunchForm(suggestion, user=request.user))
        return render(request, "training/launch.html", {"form": LaunchForm(initial=suggestion, user=request.user), **ahead})
    form = LaunchForm(request.POST if request.method == "POST" else request.GET, user=request.user)
    ahead = _look_ahead(form)
    if request.method == "GET":
        return render(request, "training/launch.html#preflight", {"form": form, **ahead})
    if form.is_valid() and not any(check.stops for check in ahead["checks"]):
        try:
            run = _launch(form, request.user)
        except (runs.Refused, SpecError) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:run", run.pk)
    return render(request, "training/launch.html", {"form": form, **ahead}, status=422)


def _suggestion(request: UserRequest) -> dict[str, Any]:
    """Fields filled in before anyone types: the snapshot asked for or the newest, the champion or the newest SFT, a free name."""
    named = request.GET.get("snapshot", "")
    seen = Snapshot.objects.unblinded_for(request.user)
    snapshot = seen.filter(public_id=named).first() if _is_uuid(named) else seen.first()
    if named and snapshot is None:
        raise Http404("No such snapshot.")
    policy = aliases.current(AliasName.CHAMPION)
    if snapshot and (policy is None or policy.toy != snapshot.toy):
        policy = ModelVersion.objects.filter(toy=snapshot.toy, kind__in=("sft", "dpo")).first() or policy or ModelVersion.objects.first()
    preset = presets.suggested(toy=bool(policy and policy.toy))
    return {
        "snapshot": snapshot and snapshot.public_id, "policy": policy and policy.public_id, "preset": preset.key,
        "name": _free_name(policy), "seed": None,
    }  # fmt: skip


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _free_name(policy: ModelVersion | None) -> str:
    stem = f"{policy.name.split('-')[0][:60]}-dpo" if policy else "dpo"
    taken = set(Run.objects.filter(name__startswith=stem).values_list("name", flat=True))
    return next(f"{stem}-{number}" for number in range(1, 10_000) if f"{stem}-{number}" not in taken)


def _look_ahead(form: LaunchForm) -> dict[str, Any]:
    """Preflight and estimate of what the form says so far; neither while snapshot, model or recipe is missing or wrong."""
    form.is_valid()
    said = form.cleaned_data
    if not ({"snapshot", "policy", "params"} <= said.keys()):
        return {"checks": [], "estimate": None, "clear": False}
    snapshot, policy, params = said["snapshot"], said["policy"], said["params"]
    checks = preflight.checks(snapshot=snapshot, policy=policy, name=said.get("name", ""), params=params)
    return {
        "checks": checks,
        "estimate": preflight.estimate(snapshot=snapshot, policy=policy, params=params) if preflight.readable(policy) else None,
        "before": preflight.waiting_jobs(),
        "clear": not any(check.stops for check in checks),
        "preset": presets.named(said["preset"]),
    }


def _launch(form: LaunchForm, user: User) -> Run:
    said = form.cleaned_data
    return runs.start(
        snapshot=said["snapshot"], policy=said["policy"], preset=said["preset"], name=said["name"], actor=user,
        changes=form.changes(said), seed=said["seed"] if said["seed"] is not None else 1,
    )  # fmt: skip
