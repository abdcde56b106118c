"""What came of one's own judgements, for raters."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import access
from accounts.access import UserRequest
from annotation.views.rating import RATERS
from training import impact as impacts


@require_GET
@never_cache
@access.allow(*RATERS)
def impact(request: UserRequest) -> HttpResponse:
    """What came of one's own judgements: for raters, each their own."""
    return render(request, "training/impact.html", {"impact": impacts.of(user=request.user), "enough": impacts.ENOUGH_REPEATS})


@require_GET
@never_cache
@access.allow(*RATERS)
def impact_data(request: UserRequest) -> HttpResponse:
    """One's own judgements to take away."""
    response = JsonResponse(impacts.own_data(user=request.user), json_dumps_params={"ensure_ascii": False, "indent": 1})
    response["Content-Disposition"] = 'attachment; filename="my-judgements.json"'
    return response
