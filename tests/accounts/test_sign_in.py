"""Signing in, out, and changing a password: through allauth, with our words."""

import pytest
from django.core.cache import cache
from django.test import Client, override_settings

from accounts.models import AuditEntry, User
from tests.cast import PASSWORD


def enter(username: str, password: str) -> tuple[Client, object]:
    client = Client()
    return client, client.post("/accounts/login/", {"login": username, "password": password})


def test_the_right_password_opens_the_house(alice: User) -> None:
    client, answer = enter("alice", PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")  # type: ignore[attr-defined]
    assert client.get("/me/tokens/").status_code == 200


def test_a_wrong_password_says_so_and_keeps_the_name(alice: User) -> None:
    _, answer = enter("alice", "not-my-passphrase")
    page = answer.content.decode()  # type: ignore[attr-defined]
    assert "The username and/or password you specified are not correct." in page
    assert 'value="alice"' in page
    assert "not-my-passphrase" not in page


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_it_does_not_tell_who_has_an_account(username: str, alice: User) -> None:
    _, answer = enter(username, "not-my-passphrase")
    assert answer.status_code == 200  # type: ignore[attr-defined]
    assert b"The username and/or password you specified are not correct." in answer.content  # type: ignore[attr-defined]


def test_a_disabled_account_is_told_whom_to_ask(frank: User) -> None:
    client, answer = enter("frank", PASSWORD)
    assert answer.headers["Location"] == "/accounts/inactive/"  # type: ignore[attr-defined]
    assert "An administrator can enable the account again." in client.get("/accounts/inactive/").content.decode()


def test_disabling_ends_the_sessions_that_are_open(alice: User, as_alice: Client) -> None:
    alice.is_active = False
    alice.save()
    assert as_alice.get("/me/tokens/").headers["Location"].startswith("/accounts/login/")


def test_nobody_signs_up_by_themselves(db: None) -> None:
    # Other tests of this process signed up in vain from the same address.
    cache.clear()
    form = {"username": "mallory", "password1": PASSWORD, "password2": PASSWORD}
    for answer in (Client().get("/accounts/signup/"), Client().post("/accounts/signup/", form)):
        assert "An administrator of this installation makes accounts." in answer.content.decode()
    assert not User.objects.filter(username="mallory").exists()


def test_signing_out_needs_a_button(as_alice: Client) -> None:
    assert b"<h1>Sign out</h1>" in as_alice.get("/accounts/logout/").content
    assert as_alice.get("/me/tokens/").status_code == 200
    as_alice.post("/accounts/logout/")
    assert as_alice.get("/me/tokens/").status_code == 302


@pytest.mark.parametrize("door", ["/accounts/logout/", "/records/logout/"])
def test_signing_out_tells_the_browser_to_forget(door: str, as_ada: Client) -> None:
    assert "Clear-Site-Data" not in as_ada.get("/me/tokens/").headers
    assert as_ada.post(door).headers["Clear-Site-Data"] == '"cache", "storage"'
    # A second time nobody is signed in, and nothing is there to forget.
    assert "Clear-Site-Data" not in as_ada.get("/accounts/login/").headers


def test_an_ended_session_says_so_and_leads_back(alice: User) -> None:
    asked = Client().get("/me/profile/")
    assert asked.headers["Location"] == "/accounts/login/?next=/me/profile/"
    client = Client()
    page = client.get(asked.headers["Location"]).content.decode()
    assert "your session has ended; what you had submitted is kept" in page
    answer = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD, "next": "/me/profile/"})
    assert answer.headers["Location"] == "/me/profile/"
    assert "your session has ended" not in Client().get("/accounts/login/").content.decode()


def test_changing_the_password_is_audited(as_alice: Client) -> None:
    form = {"oldpassword": PASSWORD, "password1": "another-passphrase-7", "password2": "another-passphrase-7"}
    assert as_alice.post("/accounts/password/change/", form).status_code == 302
    assert AuditEntry.objects.get().verb == "password.changed"
    assert enter("alice", "another-passphrase-7")[1].status_code == 302  # type: ignore[attr-defined]


@override_settings(ACCOUNT_RATE_LIMITS={"login_failed": "3/5m/key"})
def test_guessing_is_slowed_down(alice: User) -> None:
    cache.clear()
    for _ in range(3):
        enter("alice", "not-my-passphrase")
    _, answer = enter("alice", PASSWORD)
    assert b"Too many failed login attempts" in answer.content  # type: ignore[attr-defined]
