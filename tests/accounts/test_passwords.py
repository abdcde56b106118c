"""A link to a new passphrase: made by an administrator, good once and for a day, and nothing of it stored."""

import logging
import threading
from datetime import datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import close_old_connections, connection
from django.test import Client

from accounts import passwords, people
from accounts.models import AuditEntry, User
from tests.cast import PASSWORD, person, signed_in

NEW = "another-long-passphrase"
FORM = {"new_password1": NEW, "new_password2": NEW}


@pytest.fixture(autouse=True)
def nobody_has_guessed(db: None) -> None:
    cache.clear()


def opened(secret: str) -> Client:
    client = Client()
    answer = client.get(f"/password/{secret}/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/password/new/")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    return client


def signs_in(username: str, password: str) -> bool:
    return Client().post("/accounts/login/", {"login": username, "password": password}).status_code == 302


def test_it_sets_a_new_passphrase_and_signs_in(alice: User, as_alice: Client, ada: User) -> None:
    secret = passwords.link(user=alice, actor=ada)
    guest = opened(secret)
    page = guest.get("/password/new/").content.decode()
    assert "New passphrase for alice" in page
    assert secret not in page
    answer = guest.post("/password/new/", FORM)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert guest.get("/me/tokens/").context["user"] == alice
    assert signs_in("alice", NEW)
    assert not signs_in("alice", PASSWORD)
    # Wherever she was signed in before, she is no longer.
    assert as_alice.get("/me/tokens/").status_code == 302
    assert list(AuditEntry.objects.order_by("pk").values_list("verb", "actor_name", "object_id")) == [
        ("password.link_made", "ada", str(alice.pk)),
        ("password.chosen_by_link", "alice", str(alice.pk)),
    ]


def test_a_used_link_opens_nothing(alice: User, ada: User) -> None:
    secret = passwords.link(user=alice, actor=ada)
    opened(secret).post("/password/new/", FORM)
    answer = opened(secret).get("/password/new/")
    assert answer.status_code == 410
    assert b"This link opens nothing any more" in answer.content
    with pytest.raises(passwords.LinkClosed):
        passwords.choose(secret=secret, password="yet-another-passphrase")
    assert signs_in("alice", NEW)


@pytest.mark.parametrize("end", ["sign in", "change", "disable"])
def test_it_ends_when_it_is_not_needed_any_more(end: str, alice: User, ada: User) -> None:
    secret = passwords.link(user=alice, actor=ada)
    if end == "sign in":
        assert signs_in("alice", PASSWORD)
    elif end == "change":
        alice.set_password(NEW)
        alice.save()
    else:
        people.disable(user=alice, actor=ada)
    assert passwords.opened_by(secret) is None


def test_it_runs_out_after_a_day(alice: User, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = passwords.link(user=alice, actor=ada)
    signer = passwords._signer
    for hours, owner in ((23, alice), (25, None)):
        later = datetime.now() + timedelta(hours=hours)  # noqa: DTZ005 (as Django's own clock for these)
        monkeypatch.setattr(signer, "_now", lambda later=later: later)
        assert passwords.opened_by(secret) == owner


@pytest.mark.parametrize("wrong", ["nothing", "1.nothing", "1.", ".x", "zzzzzzzzzzzzzzzzzzzz.x-y", "999999.abc-def", "a.b.c"])
def test_a_wrong_link_opens_nothing_and_tells_nothing(wrong: str, alice: User) -> None:
    assert passwords.opened_by(wrong) is None
    assert opened(wrong).get("/password/new/").status_code == 410


def test_one_persons_link_is_not_anothers(alice: User, bob: User, ada: User) -> None:
    _, _, token = passwords.link(user=alice, actor=ada).partition(".")
    number, _, _ = passwords.link(user=bob, actor=ada).partition(".")
    assert passwords.opened_by(f"{number}.{token}") is None


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"new_password1": NEW, "new_password2": "else"}, "The two password fields didn"),
        ({"new_password1": "short", "new_password2": "short"}, "This password is too short."),
        ({}, "This field is required."),
    ],
)
def test_a_mistake_changes_nothing_and_leaves_the_link_good(form: dict[str, str], message: str, alice: User, ada: User) -> None:
    guest = opened(passwords.link(user=alice, actor=ada))
    answer = guest.post("/password/new/", form)
    if form:
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert signs_in("alice", PASSWORD) or not form
    assert guest.post("/password/new/", FORM).status_code in {302, 410}


def test_somebody_else_who_is_signed_in_changes_nothing(alice: User, bob: User, ada: User) -> None:
    here = signed_in(bob)
    here.get(f"/password/{passwords.link(user=alice, actor=ada)}/")
    assert b"You are signed in as bob" in here.get("/password/new/").content
    here.post("/password/new/", FORM)
    assert signs_in("alice", PASSWORD)


def test_a_disabled_account_gets_none(frank: User, ada: User) -> None:
    with pytest.raises(ValueError, match="disabled"):
        passwords.link(user=frank, actor=ada)


def test_no_log_and_no_trail_holds_the_secret(alice: User, ada: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        secret = passwords.link(user=alice, actor=ada)
        opened(secret).post("/password/new/", FORM)
        opened(secret).get("/password/new/")
    token = secret.partition(".")[2]
    assert token not in caplog.text
    assert token not in str(list(AuditEntry.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_of_eight_who_use_it_at_once_one_does() -> None:
    alice, ada = person("alice", "annotator"), person("ada", "admin")
    secret, ready = passwords.link(user=alice, actor=ada), threading.Barrier(8)
    won: list[str] = []
    lost: list[str] = []

    def choose(password: str) -> None:
        try:
            connection.ensure_connection()
            ready.wait(timeout=60)
            passwords.choose(secret=secret, password=password)
            won.append(password)
        except passwords.LinkClosed:
            lost.append(password)
        finally:
            connection.close()

    threads = [threading.Thread(target=choose, args=[f"a-long-passphrase-{number}"]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()
    assert (len(won), len(lost)) == (1, 7)
    alice.refresh_from_db()
    assert alice.check_password(won[0])
