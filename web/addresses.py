"""Addresses that come with a request: followed only when they stay in this house."""

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def is_ours(request: HttpRequest, address: str) -> bool:
    """Whether `address` is a path of this host, or a whole address of it."""
    return url_has_allowed_host_and_scheme(address, allowed_hosts={request.get_host()}, require_https=request.is_secure())


def next_of(request: HttpRequest, default: str = "/") -> str:
    """Where the person was going, from `next` in the form or the query; `default` when there is none, or it leads elsewhere."""
    address = request.POST.get("next") or request.GET.get("next") or ""
    return address if is_ours(request, address) else default


def came_from(request: HttpRequest, default: str = "/") -> str:
    """The page of ours a request was sent from; `default` when the browser does not say or it was another site's."""
    address = request.headers.get("Referer", "")
    return address if address and is_ours(request, address) else default
