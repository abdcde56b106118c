"""Launching a run: four fields, a preflight, one click; and three steps of it on trial, to be timed."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.models import Snapshot
from jobs.models import State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import estimates, hyperparameters, preflight, presets, runs
from training.engine.errors import SpecError
from training.forms import LaunchForm
from training.models import Run
from web.htmx import HtmxRequest


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def launch(request: UserRequest) -> HttpResponse:
    """Four fields, a preflight, one click. While fields change, htmx asks for the preflight alone."""
    if request.method == "GET" and not request.htmx:
        cloned = _cloned(request)
        filled = _filled_in(request, cloned)
        ahead = _look_ahead(LaunchForm(filled, user=request.user))
        return render(request, "training/launch.html", {"form": LaunchForm(initial=filled, user=request.user), "cloned": cloned, **ahead})
    form = LaunchForm(request.POST if request.method == "POST" else request.GET, user=request.user)
    ahead = _look_ahead(form)
    if request.method == "GET":
        return _follow(request, form, ahead)
    if form.is_valid() and not any(check.stops for check in ahead["checks"]):
        try:
            run = _launch(form, request.user)
        except (runs.Refused, SpecError) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{run.name} is queued.")
            return redirect("training:run", run.pk)
    return render(request, "training/launch.html", {"form": form, "cloned": form.cleaned_data.get("cloned_from"), **ahead}, status=422)


def _follow(request: HtmxRequest, form: LaunchForm, ahead: dict[str, Any]) -> HttpResponse:
    """The preflight of the form as it stands; with the settings when they are another recipe's than the ones drawn."""
    if request.htmx.target == "probe" and ahead["probing"]:
        return render(request, "training/launch.html#probe", ahead)
    response = render(
        request, "training/launch.html#followed", {"form": form, "redrawn": form.data.get("drawn") != form.data.get("preset"), **ahead}
    )
    if request.htmx.target == "probe":
        response.headers["HX-Retarget"] = "#preflight"
    return response


@require_POST
@access.allow(*TRAINERS)
def measure(request: UserRequest) -> HttpResponse:
    """Time three steps of what the form asks for, on whichever worker takes them."""
    form = LaunchForm(request.POST, user=request.user)
    form.is_valid()
    said = form.cleaned_data
    if {"snapshot", "policy", "params"} <= said.keys():
        try:
            runs.probe(
                snapshot=said["snapshot"], policy=said["policy"], preset=said["preset"], changes=form.changes(said), actor=request.user
            )
        except (runs.Refused, SpecError) as refused:
            messages.error(request, str(refused))
    if request.htmx:
        return render(request, "training/launch.html#preflight", {"form": form, **_look_ahead(form)})
    typed = {name: str(value) for name, value in request.POST.items() if value and name != "csrfmiddlewaretoken"}
    return redirect(f"{reverse('training:launch')}?{urlencode(typed)}")


def _filled_in(request: UserRequest, cloned: Run | None) -> dict[str, Any]:
    """Fields filled in before anyone types: as the address says, as the run to clone has them, else as is usual."""
    filled = _as_run(cloned) if cloned else _usual(request)
    filled |= {name: value for name, value in request.GET.items() if name in LaunchForm.base_fields or name in hyperparameters.BY_NAME}
    return filled | {"drawn": filled["preset"]}


def _cloned(request: UserRequest) -> Run | None:
    """The run of `?from=`, when its snapshot may be seen."""
    named = request.GET.get("from", "")
    if not named:
        return None
    seen = Snapshot.objects.unblinded_for(request.user)
    found = Run.objects.filter(pk=named, snapshot__in=seen).first() if named.isdecimal() and len(named) < 10 else None
    if found is None:
        raise Http404("No such run.")
    return found


def _as_run(source: Run) -> dict[str, Any]:
    """The form as it would have asked for `source`, under a free name."""
    preset = next(
        (preset for preset in presets.ALL if preset.key == source.preset), presets.suggested(toy=bool(source.policy and source.policy.toy))
    )
    changes = hyperparameters.differing(preset.kind, source.params, presets.usual(preset))
    said = {name: {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value for name, value in changes.items()}
    stem = source.name.rstrip("0123456789").rstrip("-") or source.name
    return {
        "snapshot": source.snapshot and source.snapshot.public_id,
        "policy": source.policy and source.policy.public_id,
        "preset": preset.key,
        "name": _free_name(stem), "seed": source.seed, "cloned_from": source.pk, **said,
    }  # fmt: skip


def _usual(request: UserRequest) -> dict[str, Any]:
    """The snapshot asked for or the newest, the champion or the newest SFT, a free name."""
    named = request.GET.get("snapshot", "")
    seen = Snapshot.objects.unblinded_for(request.user)
    snapshot = seen.filter(public_id=named).first() if _is_uuid(named) else seen.first()
    if named and snapshot is None:
        raise Http404("No such snapshot.")
    policy = aliases.current(AliasName.CHAMPION)
    if snapshot and (policy is None or policy.toy != snapshot.toy):
        usable = ModelVersion.objects.usable()
        policy = usable.filter(toy=snapshot.toy, kind__in=("sft", "dpo")).first() or policy or usable.first()
    preset = presets.suggested(toy=bool(policy and policy.toy))
    return {
        "snapshot": snapshot and snapshot.public_id, "policy": policy and policy.public_id, "preset": preset.key,
        "name": _free_name(f"{policy.name.split('-')[0][:60]}-{preset.kind}" if policy else preset.kind), "seed": None,
    }  # fmt: skip


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _free_name(stem: str) -> str:
    taken = set(Run.objects.filter(name__startswith=stem).values_list("name", flat=True))
    return next(f"{stem[:70]}-{number}" for number in range(1, 10_000) if f"{stem[:70]}-{number}" not in taken)


def _look_ahead(form: LaunchForm) -> dict[str, Any]:
    """Preflight and estimate of what the form says so far; neither while snapshot, model or recipe is missing or wrong."""
    form.is_valid()
    said = form.cleaned_data
    if not ({"snapshot", "policy", "params"} <= said.keys()):
        return {"checks": [], "estimate": None, "clear": False, "probing": None}
    snapshot, policy, params, preset = said["snapshot"], said["policy"], said["params"], presets.named(said["preset"])
    checks = preflight.checks(snapshot=snapshot, policy=policy, name=said.get("name", ""), params=params, kind=preset.kind)
    clear = not any(check.stops for check in checks)
    ahead: dict[str, Any] = {"checks": checks, "before": preflight.waiting_jobs(), "clear": clear, "preset": preset}
    if not preflight.readable(policy):
        return ahead | {"estimate": None, "probing": None}
    work = estimates.work_of(kind=preset.kind, snapshot=snapshot, policy=policy, params=params)
    latest = estimates.latest_probe(work)
    return ahead | {
        "estimate": estimates.of(work),
        "probe": estimates.newest_probe(work),
        "probing": latest if latest and not latest.ended else None,
        "failed_probe": latest if latest and latest.state == State.FAILED else None,
    }


def _launch(form: LaunchForm, user: User) -> Run:
    said = form.cleaned_data
    return runs.start(
        snapshot=said["snapshot"], policy=said["policy"], preset=said["preset"], name=said["name"], actor=user,
        changes=form.changes(said), seed=said["seed"] if said["seed"] is not None else 1, also_half=said["also_half"],
        cloned_from=said["cloned_from"],
    )  # fmt: skip
