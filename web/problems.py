"""Errors of the API as problem documents (RFC 9457): what happened, which field, what to do."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_handler


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's answer, reshaped. The offending values are not repeated: they may be clinical text."""
    response = rest_handler(error, context)  # type: ignore[arg-type]
    if response is None:
        return None
    problem: dict[str, Any] = {"type": "about:blank", "status": response.status_code, "title": response.status_text}
    if isinstance(error, ValidationError):
        problem["errors"] = response.data
    elif isinstance(response.data, dict) and "detail" in response.data:
        problem["detail"] = response.data["detail"]
    response.data = problem
    response.content_type = "application/problem+json"
    return response
