"""A fresh id for every request. It travels into audit entries and back to the caller, so that a person can name what they saw."""

from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from web.requests import set_request_id


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(uuid4())
        set_request_id(request_id)
        response = self.get_response(request)
        response.headers["X-Request-Id"] = request_id
        return response
