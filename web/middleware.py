"""A fresh id for every request, and headers for every answer."""

from collections.abc import Callable
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from web.requests import set_request_id


class RequestIdMiddleware:
    """The id travels into audit entries and back to the caller, so that a person can name what they saw."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(uuid4())
        set_request_id(request_id)
        response = self.get_response(request)
        response.headers["X-Request-Id"] = request_id
        return response


class PrivacyHeadersMiddleware:
    """Shared workstations are the rule on a ward: what a signed-in person saw stays in no cache, and no page gets at a device."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        # The cookie tells as much as the user would, and asks the database nothing.
        known = settings.SESSION_COOKIE_NAME in request.COOKIES or "Authorization" in request.headers
        if known and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store, private"
        return response
