"""Where the loop stands, and the tiny family that fills an empty house."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from training import families, stages


@require_GET
@access.allow()
def home(request: UserRequest) -> HttpResponse:
    """Trainers see where the loop stands; everyone else is led to their own first page."""
    if request.user.has_role(*TRAINERS):
        page = "training/home.html#overview" if request.htmx else "training/home.html"
        return render(request, page, stages.overview())
    if request.user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR):
        return redirect("annotation:queue")
    if request.user.has_role(Role.STEWARD):
        return redirect("accounts:audit")
    return render(request, "training/home.html", {"without_role": True})


@require_POST
@access.allow(*TRAINERS)
def family(request: UserRequest) -> HttpResponse:
    """Build a tiny model family, unless one is being built."""
    running = families.progress()
    if running and not running.finished and not running.failed:
        messages.warning(request, "A family is being built already.")
    else:
        made = families.start(preset="demo", actor=request.user)
        messages.success(request, f"{len(made)} jobs are queued. Each starts when the models it needs are there.")
    return redirect("training:home")
