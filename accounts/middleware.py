"""Default deny: a view of ours that names no decision answers 403, whoever asks. And a browser that forgets at sign-out."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts import access


class ForgetOnSignOutMiddleware:
    """Shared workstations are the rule on a ward: whoever signs out takes caches and storage of the browser along.

    Browsers follow the header over TLS and on localhost; static/rounds.js clears the storage everywhere else.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # Set by the receiver of Django's signal, so that every door out counts.
        if getattr(request, "signed_out", False):
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response


class DefaultDenyMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        if access.decision(view) is None and not access.is_third_party(view):
            raise PermissionDenied("This page names no one who may see it.")
