"""Bearer tokens for the API: `Authorization: Bearer rounds_…`."""

from django.db.models.functions import Now
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import ApiToken, User


class TokenAuthentication(BaseAuthentication):
    """Accepts a live token of an active user; the token then rides on `request.auth`."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[User, ApiToken] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")  # type: ignore[arg-type]
        if scheme.lower() != "bearer":
            return None
        live = ApiToken.objects.filter(revoked_at__isnull=True, expires_at__gt=Now(), user__is_active=True)
        token = live.select_related("user").filter(digest=ApiToken.digest_of(secret)).first()
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked.")
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=Now())
        return token.user, token

    def authenticate_header(self, request: Request | HttpRequest) -> str:
        return "Bearer"
