"""The id of the request at hand, for logs and audit entries."""

from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The running request's id, or an empty string outside one."""
    return _request_id.get()


def set_request_id(value: str) -> None:
    _request_id.set(value)
