"""Rounds' own addresses, and one that asks for a pretended training: a POST through the whole middleware, as “Start” is."""

from django.http import HttpResponse
from django.urls import include, path
from django.views.decorators.http import require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from benchmarks.faults import fake


@access.allow(*TRAINERS)
@require_POST
def start(request: UserRequest) -> HttpResponse:
    job = fake.ask(requested_by=request.user, steps=2, pause=0.0, label=request.POST.get("label", "asked by POST"))
    return HttpResponse(str(job.pk), content_type="text/plain")


urlpatterns = [path("faults/start/", start), path("", include("config.urls"))]
