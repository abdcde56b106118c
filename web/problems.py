"""Errors of the API as problem documents (RFC 9457): what happened, which field, what to do."""

from collections.abc import Iterator
from typing import Any

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_handler

# Sentences of DRF that would repeat what was sent; it may be clinical text.
_WITHOUT_THE_VALUE = {
    "invalid_choice": "Not one of the choices this field has.",
    "does_not_exist": "Names nothing that exists.",
    "incorrect_type": "Has the wrong type.",
    "not_a_list": "Has the wrong type: a list is needed.",
}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's answer, reshaped. The offending values are not repeated."""
    response = rest_handler(error, context)
    if response is None:
        return None
    problem: dict[str, Any] = {"type": "about:blank", "status": response.status_code, "title": response.status_text}
    if isinstance(error, ValidationError):
        problem["detail"] = "Some fields need another value; nothing was stored."
        problem["errors"] = list(field_errors(error.detail))
    elif isinstance(response.data, dict) and "detail" in response.data:
        problem["detail"] = response.data["detail"]
        problem["code"] = getattr(response.data["detail"], "code", "error")
    if address := getattr(error, "address", ""):
        problem["address"] = address
    response.data = problem
    response.content_type = "application/problem+json"
    return response


def field_errors(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """One {"field", "code", "message"} for every error in a tree of DRF's details."""
    if isinstance(detail, dict):
        for name, below in detail.items():
            yield from field_errors(below, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list):
        for below in detail:
            yield from field_errors(below, path)
    elif isinstance(detail, ErrorDetail):
        code = detail.code or "invalid"
        yield {"field": path, "code": code, "message": _WITHOUT_THE_VALUE.get(code, str(detail))}
