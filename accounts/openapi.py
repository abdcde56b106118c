"""What the API's description says about signing in and about errors."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse, PolymorphicProxySerializer
from rest_framework import serializers


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]
    target_class = "accounts.tokens.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token made on /me/tokens/."}


class FieldErrorSerializer(serializers.Serializer[Any]):
    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem document (RFC 9457)."""

    type = serializers.CharField()
    status = serializers.IntegerField()
    title = serializers.CharField()
    detail = serializers.CharField(required=False)
    code = serializers.CharField(required=False, help_text="Stable: programs may rely on it, people read the detail.")
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]


_MEANINGS = {
    400: "A value or header is missing or wrong; nothing was stored.",
    401: "No valid token and no session.",
    403: "The token's scopes or the user's roles do not include this.",
    404: "Nothing of yours is at this address.",
    406: "Only JSON is served.",
    409: "It clashes with what is there; the detail says with what.",
    413: "The file is larger than this server takes.",
    422: "It cannot be taken as it is; nothing was stored.",
    415: "Send JSON; a file as multipart/form-data.",
    429: "Too many requests; see Retry-After.",
}


def problems(*statuses: int) -> dict[Any, Any]:
    """Error responses for a view's schema: `statuses`, and those that every view has (401, 403, 406, 429)."""
    return {
        (status, "application/problem+json"): OpenApiResponse(ProblemSerializer, description=_MEANINGS[status])
        for status in sorted({401, 403, 406, 429, *statuses})
    }


def refusals(document: type[ProblemSerializer], *statuses: int) -> dict[Any, Any]:
    """Error responses whose documents say more than every problem does; beside or in place of those of `problems`."""
    return {
        (status, "application/problem+json"): OpenApiResponse(
            PolymorphicProxySerializer(
                component_name=f"{document.__name__.removesuffix('Serializer')}OrProblem{status}",
                serializers=[document, ProblemSerializer], resource_type_field_name=None,
            ),
            description=_MEANINGS[status],
        )
        for status in statuses
    }  # fmt: skip
