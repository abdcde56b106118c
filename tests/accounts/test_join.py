"""The page a link opens: who invites and what for, a name and a passphrase; and what closed, used and wrong links say."""

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts import guesses, invitations
from accounts.models import AuditEntry, Invitation, User
from tests.accounts.test_invitations import invited, run_out
from tests.cast import PASSWORD, signed_in

ME = {"username": "khan", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture(autouse=True)
def nobody_has_guessed(db: None) -> None:
    cache.clear()


def opened(secret: str) -> Client:
    """A browser in which the link was opened."""
    client = Client()
    answer = client.get(f"/join/{secret}/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/join/")
    return client


def test_it_says_who_invites_to_what_and_how_long_it_takes(ada: User) -> None:
    _, secret = invited(roles=["annotator", "adjudicator"], purpose="To compare discharge letters.", minutes=40, actor=ada)
    page = " ".join(opened(secret).get("/join/").content.decode().split())
    for words in (
        "Welcome, Dr. Amina Khan", "<strong>ada</strong> invites you", "clinician and lead clinician",
        "To compare discharge letters.", "about 40 minutes", "Treat them as confidential until you know.",
    ):  # fmt: skip
        assert words in page, words


@pytest.mark.parametrize(("data", "words"), [("synthetic", "synthetic texts: no real patients"), ("real", "texts from real patients")])
def test_it_says_whose_texts_they_are_where_the_house_knows(data: str, words: str, settings: Any, db: None) -> None:
    settings.ROUNDS_DATA = data
    page = opened(invited()[1]).get("/join/").content.decode()
    assert words in page
    assert "until you know" not in page


def test_a_name_and_a_passphrase_open_the_house_and_lead_to_consent(db: None) -> None:
    _, secret = invited()
    newcomer = opened(secret)
    before = newcomer.cookies["sessionid"].value
    answer = newcomer.post("/join/", ME)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/me/consent/?next=%2F")
    khan = User.objects.get(username="khan")
    assert khan.roles() == {"annotator"}
    assert newcomer.cookies["sessionid"].value != before, "a new session for whoever signs in"
    assert khan.last_login is not None
    assert newcomer.get("/me/consent/").context["user"] == khan
    # And by the front door, from now on.
    assert Client().post("/accounts/login/", {"login": "khan", "password": PASSWORD}).headers["Location"] == "/"


def test_who_will_not_rate_goes_straight_home(db: None) -> None:
    _, secret = invited(roles=["trainer"])
    assert opened(secret).post("/join/", ME).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": ""}, "This field is required."),
        ({"username": "Alice"}, "A user with that username already exists."),
        ({"username": "two words"}, "Enter a valid username."),
        ({"password2": "another-passphrase-7"}, "The two password fields didn"),
        ({"password1": "short", "password2": "short"}, "This password is too short."),
        ({"password1": "password12", "password2": "password12"}, "This password is too common."),
        ({"username": "longishname", "password1": "longishname1", "password2": "longishname1"}, "too similar to the username"),
    ],
)
def test_a_mistake_makes_no_account_and_leaves_the_link_good(changes: dict[str, str], message: str, alice: User) -> None:
    _, secret = invited()
    newcomer = opened(secret)
    answer = newcomer.post("/join/", {**ME, **changes})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert message in page
    assert "the link is still good" in page
    assert PASSWORD not in page
    assert User.objects.count() == 1
    assert newcomer.post("/join/", ME).status_code == 302


def test_the_form_helps_password_managers(db: None) -> None:
    page = opened(invited()[1]).get("/join/").content.decode()
    assert 'autocomplete="username"' in page
    assert page.count('autocomplete="new-password"') == 2
    assert "onpaste" not in page


def test_a_used_link_leads_to_signing_in(db: None) -> None:
    _, secret = invited()
    opened(secret).post("/join/", ME)
    answer = opened(secret).get("/join/")
    assert answer.status_code == 410
    assert b"This link has been used" in answer.content
    assert opened(secret).post("/join/", {**ME, "username": "second"}).status_code == 410
    assert User.objects.count() == 1


def test_a_link_that_ran_out_asks_for_a_new_one_in_one_click(as_ada: Client) -> None:
    made, secret = invited()
    run_out(made)
    newcomer = opened(secret)
    page = newcomer.get("/join/").content.decode()
    assert "This link has run out" in page
    assert 'action="/join/renew/"' in page
    assert newcomer.post("/join/", ME).status_code == 410
    again = newcomer.post("/join/renew/", follow=True)
    assert b"A new link was asked for" in again.content
    made.refresh_from_db()
    assert made.state == "asked"
    assert b"asks for a new link" in as_ada.get("/invitations/").content
    assert not User.objects.filter(username="khan").exists()


def test_asking_without_a_link_asks_for_nothing(db: None) -> None:
    made, _ = invited()
    run_out(made)
    Client().post("/join/renew/")
    made.refresh_from_db()
    assert made.state == "expired"


def test_it_is_closed_between_reading_and_sending(ada: User) -> None:
    made, secret = invited()
    newcomer = opened(secret)
    newcomer.get("/join/")
    invitations.revoke(invitation=made, actor=ada)
    answer = newcomer.post("/join/", ME)
    assert answer.status_code == 410
    assert b"This invitation was taken back" in answer.content


def test_a_wrong_link_and_no_link_say_the_same(db: None) -> None:
    without = Client().get("/join/")
    wrong = opened("not-the-secret").get("/join/")
    assert (without.status_code, wrong.status_code) == (404, 404)
    assert b"This link opens nothing" in wrong.content
    # A renewed link is as unknown as one that never was.
    made, secret = invited()
    Invitation.objects.filter(pk=made.pk).update(digest="0" * 64)
    replaced = opened(secret).get("/join/")
    pages = [re.sub(r'name="csrf-token" content="[^"]*"', "", answer.content.decode()) for answer in (wrong, replaced)]
    assert pages[0] == pages[1]
    assert replaced.status_code == 404


def test_the_answer_to_a_link_does_not_tell_whether_it_was_good(db: None) -> None:
    _, secret = invited()
    good, bad = Client().get(f"/join/{secret}/"), Client().get("/join/not-the-secret/")
    assert (good.status_code, good.headers["Location"], good.content) == (bad.status_code, bad.headers["Location"], bad.content)


def test_the_secret_leaves_the_address_at_once(caplog: pytest.LogCaptureFixture, db: None) -> None:
    made, secret = invited()
    with caplog.at_level(logging.DEBUG):
        answer = Client().get(f"/join/{secret}/")
        newcomer = opened(secret)
        page = newcomer.get("/join/").content.decode()
        newcomer.post("/join/", ME)
        run_out(made)
        opened(secret).get("/join/")
        opened("not-the-secret").get("/join/")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert secret not in page
    assert secret not in caplog.text
    assert "not-the-secret" not in caplog.text
    assert secret not in str(list(AuditEntry.objects.values()))


def test_looking_at_a_link_uses_nothing_up(db: None) -> None:
    made, secret = invited()
    for _ in range(3):
        opened(secret).get("/join/")
    Client().head(f"/join/{secret}/")
    made.refresh_from_db()
    assert made.state == "open"


def test_who_is_signed_in_is_told_and_nothing_happens(alice: User) -> None:
    made, secret = invited()
    here = signed_in(alice)
    here.get(f"/join/{secret}/")
    assert b"You are signed in as alice" in here.get("/join/").content
    here.post("/join/", ME)
    made.refresh_from_db()
    assert made.state == "open"
    assert not User.objects.filter(username="khan").exists()


def test_guessing_is_slowed_down_and_a_log_learns_nothing(caplog: pytest.LogCaptureFixture, db: None) -> None:
    _, secret = invited()
    guesser = Client()
    for number in range(guesses.MOST):
        assert guesser.get(f"/join/guess-{number}/").status_code == 302
    with caplog.at_level(logging.DEBUG):
        answer = guesser.get(f"/join/{secret}/")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "600"
    assert b"Wait 10 minutes" in answer.content
    assert secret not in caplog.text
    assert guesser.get("/password/1.guess/").status_code == 429
    # Elsewhere the same link opens.
    assert Client(REMOTE_ADDR="10.0.0.9").get(f"/join/{secret}/").status_code == 302


def test_good_links_are_not_counted(db: None) -> None:
    _, secret = invited()
    for _ in range(guesses.MOST + 5):
        assert Client().get(f"/join/{secret}/").status_code == 302


def test_it_forgets_the_older_of_two_links(db: None) -> None:
    _, first = invited(name="First")
    _, second = invited(name="Second")
    newcomer = opened(first)
    newcomer.get(f"/join/{second}/")
    assert b"Welcome, Second" in newcomer.get("/join/").content
    newcomer.get("/join/not-the-secret/")
    assert newcomer.get("/join/").status_code == 404


def test_a_form_without_its_token_makes_no_account(db: None) -> None:
    _, secret = invited()
    strict = Client(enforce_csrf_checks=True)
    strict.get(f"/join/{secret}/")
    assert strict.post("/join/", ME).status_code == 403
    assert not User.objects.exists()


def test_the_day_it_ends_is_written_on_it(db: None) -> None:
    made, secret = invited(days=1)
    day = timezone.localtime(made.expires_at).strftime("%Y, %H:%M")
    assert made.expires_at - timezone.now() < timedelta(days=1, seconds=5)
    assert day in opened(secret).get("/join/").content.decode()
