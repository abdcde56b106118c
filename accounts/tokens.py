"""Bearer tokens for the API: `Authorization: Bearer rounds_…`."""

from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import audit
from accounts.models import ApiToken, Scope, User

LONGEST_DAYS = 365


class TokenAuthentication(BaseAuthentication):
    """Accepts a live token of an active user; the token then rides on `request.auth`."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[User, ApiToken] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")  # type: ignore[arg-type]
        if scheme.lower() != "bearer":
            return None
        live = ApiToken.objects.live().filter(user__is_active=True)
        token = live.select_related("user").filter(digest=ApiToken.digest_of(secret)).first()
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked.")
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=Now())
        return token.user, token

    def authenticate_header(self, request: Request | HttpRequest) -> str:
        return "Bearer"


@transaction.atomic
def create(*, user: User, label: str, scopes: Collection[str], days: int) -> tuple[ApiToken, str]:
    """A token and its secret, which nobody can show again. Raises ValueError for an unknown scope, none, or more than a year."""
    if not scopes or not set(scopes) <= set(Scope.values):
        raise ValueError("A token needs scopes that exist.")
    if not 1 <= days <= LONGEST_DAYS:
        raise ValueError(f"A token lives 1 to {LONGEST_DAYS} days.")
    token, secret = ApiToken.draw(user=user, label=label, scopes=sorted(scopes), expires_at=timezone.now() + timedelta(days=days))
    token.save()
    audit.record(user, "token.created", token, scopes=token.scopes, days=days)
    return token, secret


@transaction.atomic
def revoke(*, token: ApiToken, actor: User) -> bool:
    """End a token now. False if it had been revoked before; then nothing is written."""
    revoked = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now()) == 1
    if revoked:
        audit.record(actor, "token.revoked", token)
    return revoked
