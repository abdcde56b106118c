"""Keys of the compare screen, as each person wants them."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import UserRequest
from annotation import keys
from annotation.views.rating import RATERS


@access.allow(*RATERS)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def keyboard(request: UserRequest) -> HttpResponse:
    """Change keys, take them back to how they came, or switch single characters off."""
    if request.method != "POST":
        return show(request, keys.of(request.user), keys.are_off(request.user))
    off = "keys_off" in request.POST
    if "reset" in request.POST:
        chosen = dict(keys.DEFAULTS)
    else:
        chosen = {code: request.POST.get(f"key-{code}", default) for code, default in keys.DEFAULTS.items()}
    try:
        keys.save(user=request.user, chosen=chosen, off=off)
    except keys.KeysRefused as refused:
        return show(request, chosen, off, faults=refused.faults, status=422)
    messages.success(request, "Your keys are as they came." if "reset" in request.POST else "Your keys are saved.")
    return redirect("annotation:keys")


def show(
    request: UserRequest, chosen: dict[str, str], off: bool, *, faults: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    groups: dict[str, list[dict[str, object]]] = {}
    for action in keys.ACTIONS:
        row = {
            "action": action,
            "name": f"key-{action.code}",
            "key": chosen[action.code][:20],
            "fixed": action.code in keys.FIXED,
            "fault": (faults or {}).get(action.code, ""),
        }
        groups.setdefault(action.group, []).append(row)
    page = {"groups": groups, "off": off, "faults": faults, "changed": chosen != keys.DEFAULTS}
    return render(request, "annotation/keys.html", page, status=status)
