"""The last word when a request fails: a page for people, a problem document for programs."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import get_template
from django.utils.http import urlencode
from django.views import defaults

from web.addresses import came_from
from web.requests import current_request_id


def problem(status: int, title: str, detail: str, **more: str) -> JsonResponse:
    """An RFC 9457 document. `detail` says what to do next and repeats nothing that was sent; `more` may name an `address` to go to."""
    document = {"type": "about:blank", "status": status, "title": title, "detail": detail, **more}
    return JsonResponse(document, status=status, content_type="application/problem+json")


def for_a_program(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if for_a_program(request):
        return problem(404, "Not Found", "There is nothing at this address, or it is not yours to see.")
    return defaults.page_not_found(request, exception)


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    address = getattr(exception, "address", "")
    if for_a_program(request):
        return problem(403, "Forbidden", str(exception) or "Your roles do not include this.", **({"address": address} if address else {}))
    if address:
        # Refused until they have been elsewhere, and then let in.
        goal = request.get_full_path() if request.method in {"GET", "HEAD"} else came_from(request)
        return redirect(f"{address}?{urlencode({'next': goal})}")
    return defaults.permission_denied(request, exception)


def broken(request: HttpRequest) -> HttpResponse:
    if for_a_program(request):
        return problem(500, "Internal Server Error", f"Try again; name request {current_request_id()} if it happens again.")
    return HttpResponse(get_template("500.html").render({"request_id": current_request_id()}), status=500)
