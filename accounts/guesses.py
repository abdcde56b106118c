"""Links that open nothing, counted by where they come from: a secret of 256 bits is not guessed, but nobody should try at leisure.

Counted in the cache, thus in each web process; a guard, not a promise.
"""

from hashlib import sha256

from allauth.account.adapter import get_adapter
from django.core.cache import cache
from django.http import HttpRequest

MOST = 20
SECONDS = 600


def _key(request: HttpRequest) -> str:
    address = str(get_adapter(request).get_client_ip(request))
    return f"guesses:{sha256(address.encode()).hexdigest()}"


def count(request: HttpRequest) -> None:
    """One more link from this address that opened nothing."""
    key = _key(request)
    if not cache.add(key, 1, SECONDS):
        try:
            cache.incr(key)
        except ValueError:
            # It ran out between the two.
            cache.set(key, 1, SECONDS)


def too_many(request: HttpRequest) -> bool:
    return int(cache.get(_key(request), 0)) >= MOST
