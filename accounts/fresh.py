"""Whether whoever holds this session has just given their passphrase: asked before what cannot be taken back, such as a full export."""

from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode


def confirmed(request: HttpRequest) -> bool:
    """Within ACCOUNT_REAUTHENTICATION_TIMEOUT seconds, by signing in or by giving it again. Never by an API token, which has no session."""
    return bool(did_recently_reauthenticate(request))


def address(back: str) -> str:
    """The page that asks for the passphrase and then leads to `back`."""
    return f"{reverse('account_reauthenticate')}?{urlencode({'next': back})}"
