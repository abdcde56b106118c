"""API tokens: shown once, kept as a digest, never stronger than their user."""

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from accounts import people, tokens
from accounts.models import ApiToken, AuditEntry, User
from tests.cast import signed_in


def made(as_somebody: Client, *scopes: str, days: int = 30) -> str:
    """Make a token by the form and read its secret off the page."""
    answer = as_somebody.post("/me/tokens/", {"label": "export script", "scopes": scopes, "days": days})
    assert answer.status_code == 200, answer.context["form"].errors
    return str(answer.context["secret"])


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_new_token_is_shown_once_and_kept_as_a_digest(as_dan: Client) -> None:
    secret = made(as_dan, "read")
    assert secret.startswith("rounds_")
    assert secret not in as_dan.get("/me/tokens/").content.decode()
    token = ApiToken.objects.get()
    assert secret not in str(vars(token))
    assert token.digest == ApiToken.digest_of(secret)


def test_it_opens_the_api_within_its_scopes(as_dan: Client) -> None:
    secret = made(as_dan, "read")
    assert Client().get("/api/v1/samples/", headers=bearer(secret)).status_code == 200
    freeze = Client().post("/api/v1/snapshots/", {}, content_type="application/json", headers=bearer(secret))
    assert freeze.status_code == 403


def test_its_use_is_noted(as_dan: Client) -> None:
    Client().get("/api/v1/samples/", headers=bearer(made(as_dan, "read")))
    assert ApiToken.objects.get().last_used_at is not None


def test_a_revoked_token_opens_nothing(as_dan: Client) -> None:
    secret = made(as_dan, "read")
    as_dan.post(f"/me/tokens/{ApiToken.objects.get().pk}/revoke/")
    answer = Client().get("/api/v1/samples/", headers=bearer(secret))
    assert answer.status_code == 401
    assert answer.json()["detail"] == "This token is unknown, expired or revoked."
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_opens_nothing(dan: User) -> None:
    token, secret = ApiToken.draw(user=dan, label="old", scopes=["read"], expires_at=timezone.now() - timedelta(seconds=1))
    token.save()
    assert Client().get("/api/v1/samples/", headers=bearer(secret)).status_code == 401


def test_a_token_loses_what_its_user_loses(dan: User) -> None:
    _, secret = tokens.create(user=dan, label="script", scopes=["read"], days=7)
    people.set_roles(user=dan, roles=[], actor=None)
    assert Client().get("/api/v1/samples/", headers=bearer(secret)).status_code == 403
    dan.is_active = False
    dan.save()
    assert Client().get("/api/v1/samples/", headers=bearer(secret)).status_code == 401


def test_a_clinician_is_not_offered_the_managing_scope(as_alice: Client) -> None:
    page = as_alice.get("/me/tokens/").content.decode()
    assert "Lease and answer comparisons" in page
    assert "freeze snapshots" not in page
    assert as_alice.post("/me/tokens/", {"label": "x", "scopes": ["manage"], "days": 30}).status_code == 422
    assert not ApiToken.objects.exists()


def test_nobody_revokes_somebody_elses_token(dan: User, as_ada: Client) -> None:
    token, _ = tokens.create(user=dan, label="script", scopes=["read"], days=7)
    assert as_ada.post(f"/me/tokens/{token.pk}/revoke/").status_code == 404
    assert ApiToken.objects.live().filter(pk=token.pk).exists()


def test_making_and_revoking_are_audited_without_the_secret(dan: User) -> None:
    token, secret = tokens.create(user=dan, label="script", scopes=["read"], days=7)
    assert tokens.revoke(token=token, actor=dan)
    assert not tokens.revoke(token=token, actor=dan)
    assert list(AuditEntry.objects.order_by("pk").values_list("verb", "actor_name")) == [("token.created", "dan"), ("token.revoked", "dan")]
    assert secret not in str(list(AuditEntry.objects.values()))


def test_the_page_says_what_to_do_when_there_is_none(dan: User) -> None:
    assert "You have no tokens" in signed_in(dan).get("/me/tokens/").content.decode()
