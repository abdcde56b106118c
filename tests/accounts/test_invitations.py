"""Invitations: a link made once, shown once, good once; who is waited for, and what became of it."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from accounts import invitations, people
from accounts.models import AuditEntry, Invitation, RoleGrant, User
from tests.cast import PASSWORD, person
from tests.threads import at_once

LIST, NEW = "/invitations/", "/invitations/new/"
FORM = {"name": "Dr. Amina Khan", "roles": ["annotator"], "purpose": "To compare discharge letters.", "minutes": 40, "days": 7}


def invited(**changes: Any) -> tuple[Invitation, str]:
    said = {"name": "Dr. Amina Khan", "roles": ["annotator"], "purpose": "To compare letters.", "minutes": 40, "days": 7, "actor": None}
    return invitations.create(**{**said, **changes})


def run_out(invitation: Invitation) -> None:
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=timezone.now() - timedelta(minutes=1))


def link_on(page: str) -> str:
    found = re.search(r'id="link"[^>]*>(http://testserver(/join/[^<]+/))<', page)
    assert found, "no link on the page"
    return found[2]


def states(client: Client, state: str = "") -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in client.get(LIST, {"state": state}).context["invitations"]]


def test_an_administrator_gets_a_link_that_is_shown_once(as_ada: Client) -> None:
    answer = as_ada.post(NEW, FORM)
    link = link_on(answer.content.decode())
    assert answer.headers["Cache-Control"].find("no-store") >= 0
    secret = link.split("/")[2]
    assert len(secret) >= 43, "256 bits"
    assert secret not in as_ada.get(LIST).content.decode()
    assert secret not in as_ada.get(NEW).content.decode()
    made = Invitation.objects.get()
    assert secret not in str(vars(made))
    assert (made.name, made.roles, made.minutes, made.invited_by.username) == ("Dr. Amina Khan", ["annotator"], 40, "ada")  # type: ignore[union-attr]
    assert timedelta(days=6, hours=23) < made.expires_at - timezone.now() < timedelta(days=7, minutes=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "This field is required."),
        ({"roles": []}, "Choose at least one role"),
        ({"roles": ["king"]}, "is not one of the available choices"),
        ({"minutes": "soon"}, "Enter a whole number."),
        ({"minutes": "0"}, "greater than or equal to 1"),
        ({"days": "365"}, "is not one of the available choices"),
        ({"purpose": "x" * 301}, "at most 300 characters"),
    ],
)
def test_a_mistake_makes_nothing_and_keeps_what_was_written(changes: dict[str, Any], message: str, as_ada: Client) -> None:
    answer = as_ada.post(NEW, {**FORM, **changes})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert message in page
    assert "No invitation was made yet" in page
    assert "Dr. Amina Khan" in page or changes.get("name") == ""
    assert not Invitation.objects.exists()


@pytest.mark.parametrize("wrong", [{"roles": []}, {"roles": ["king"]}, {"days": 0}, {"days": 31}])
def test_the_verb_refuses_what_the_form_refuses(wrong: dict[str, Any], db: None) -> None:
    with pytest.raises(ValueError):
        invited(**wrong)
    assert not Invitation.objects.exists()


def test_the_list_says_what_became_of_each(ada: User, as_ada: Client) -> None:
    accepted, _ = invited(name="Accepted")
    invitations.accept(invitation=accepted, username="khan", password=PASSWORD)
    revoked, _ = invited(name="Revoked")
    invitations.revoke(invitation=revoked, actor=ada)
    run_out(invited(name="Run out")[0])
    asking, _ = invited(name="Asking")
    run_out(asking)
    invitations.ask_renewal(invitation=asking)
    invited(name="Open")
    everything = [("Asking", "asked"), ("Open", "open"), ("Run out", "expired"), ("Revoked", "revoked"), ("Accepted", "accepted")]
    assert states(as_ada) == everything
    for name, state in everything:
        assert states(as_ada, state) == [(name, state)]
    page = as_ada.get(LIST).content.decode()
    assert "asks for a new link" in page
    assert page.count("New link<span") == page.count("Revoke<span") == 3, "only what is unanswered can be renewed or revoked"
    # Who manages people hears of it there, too.
    assert "1 invited person asks for a new link" in as_ada.get("/users/").content.decode()


def test_an_empty_list_says_why_and_offers_the_next_step(as_ada: Client) -> None:
    assert "Nobody has been invited yet" in as_ada.get(LIST).content.decode()
    assert "No invitation is in this state" in as_ada.get(LIST, {"state": "open"}).content.decode()


def test_revoking_closes_the_link_once(as_ada: Client) -> None:
    made, secret = invited()
    for _ in range(2):
        assert as_ada.post(f"/invitations/{made.public_id}/revoke/").status_code == 302
    assert AuditEntry.objects.filter(verb="invitation.revoked").count() == 1
    stranger = Client()
    stranger.get(f"/join/{secret}/")
    assert "This invitation was taken back" in stranger.get("/join/").content.decode()


def test_renewing_makes_a_new_link_and_closes_the_old_one(as_ada: Client) -> None:
    made, old = invited()
    run_out(made)
    new = link_on(as_ada.post(f"/invitations/{made.public_id}/renew/").content.decode())
    assert old not in new
    stranger = Client()
    assert stranger.get(f"/join/{old}/", follow=True).status_code == 404
    assert b"Welcome, Dr. Amina Khan" in stranger.get(new, follow=True).content
    assert states(as_ada) == [("Dr. Amina Khan", "open")]


def test_what_was_accepted_is_not_renewed(ada: User, as_ada: Client) -> None:
    made, _ = invited()
    invitations.accept(invitation=made, username="khan", password=PASSWORD)
    page = as_ada.post(f"/invitations/{made.public_id}/renew/", follow=True).content.decode()
    assert "accepted or revoked meanwhile" in page
    assert 'id="link"' not in page
    assert not invitations.revoke(invitation=made, actor=ada)


def test_accepting_makes_the_account_grants_the_roles_and_tells_who_listens(ada: User) -> None:
    made, _ = invited(roles=["annotator", "steward"], actor=ada)
    heard: list[tuple[str, int, frozenset[str]]] = []

    def listen(sender: Any, user: User, invitation: Invitation, **_: Any) -> None:
        heard.append((user.username, invitation.pk, user.roles()))

    invitations.accepted.connect(listen)
    try:
        khan = invitations.accept(invitation=made, username="khan", password=PASSWORD)
    finally:
        invitations.accepted.disconnect(listen)
    assert heard == [("khan", made.pk, frozenset({"annotator", "steward"}))]
    assert khan.check_password(PASSWORD)
    made.refresh_from_db()
    assert (made.accepted_by, made.state) == (khan, "accepted")
    entries = list(AuditEntry.objects.order_by("pk").values_list("verb", "actor_name", "details"))
    assert entries == [
        ("invitation.created", "ada", {"roles": ["annotator", "steward"], "days": 7}),
        ("invitation.accepted", "khan", {}),
        ("user.roles_changed", "ada", {"granted": ["annotator", "steward"], "withdrawn": []}),
    ]


def test_whoever_listens_can_undo_it_all(db: None) -> None:
    made, _ = invited()

    def refuse(sender: Any, **_: Any) -> None:
        raise RuntimeError("no place left")

    invitations.accepted.connect(refuse)
    try:
        with pytest.raises(RuntimeError):
            invitations.accept(invitation=made, username="khan", password=PASSWORD)
    finally:
        invitations.accepted.disconnect(refuse)
    made.refresh_from_db()
    assert made.state == "open"
    assert not User.objects.filter(username="khan").exists()


@pytest.mark.parametrize("end", ["revoke", "run out", "renew", "accept"])
def test_a_link_that_was_closed_meanwhile_makes_no_account(end: str, ada: User) -> None:
    made, _ = invited()
    if end == "revoke":
        invitations.revoke(invitation=made, actor=ada)
    elif end == "run out":
        run_out(made)
    elif end == "renew":
        invitations.renew(invitation=made, days=7, actor=ada)
    else:
        invitations.accept(invitation=made, username="somebody", password=PASSWORD)
    with pytest.raises(invitations.InvitationClosed):
        invitations.accept(invitation=made, username="khan", password=PASSWORD)
    assert not User.objects.filter(username="khan").exists()


def test_a_name_that_is_taken_leaves_the_link_good(alice: User) -> None:
    made, _ = invited()
    with pytest.raises(invitations.UsernameTaken):
        invitations.accept(invitation=made, username="alice", password=PASSWORD)
    invitations.accept(invitation=made, username="khan", password=PASSWORD)


def test_only_what_has_run_out_asks_for_a_new_link_and_only_once(ada: User) -> None:
    made, _ = invited()
    assert not invitations.ask_renewal(invitation=made)
    run_out(made)
    assert invitations.ask_renewal(invitation=made)
    assert invitations.ask_renewal(invitation=made)
    assert AuditEntry.objects.filter(verb="invitation.renewal_asked").count() == 1
    invitations.revoke(invitation=made, actor=ada)
    assert not invitations.ask_renewal(invitation=made)


def test_the_trail_holds_no_secret_and_no_name_of_who_is_invited(ada: User) -> None:
    made, secret = invited(actor=ada)
    renewed = invitations.renew(invitation=made, days=3, actor=ada)
    kept = str(list(AuditEntry.objects.values()))
    for word in (secret, renewed, "Khan", "letters", made.digest):
        assert word not in kept


def test_the_database_refuses_an_acceptance_by_nobody(db: None) -> None:
    made, _ = invited()
    with pytest.raises(DatabaseError), transaction.atomic():
        Invitation.objects.filter(pk=made.pk).update(accepted_at=timezone.now())


def test_links_sent_by_somebody_who_is_disabled_open_nothing(ada: User, dan: User) -> None:
    people.set_roles(user=dan, roles=["admin"], actor=ada)
    made, _ = invited(roles=["admin"], actor=dan)
    other, _ = invited(actor=ada)
    people.disable(user=dan, actor=ada)
    made.refresh_from_db()
    other.refresh_from_db()
    assert (made.state, other.state) == ("revoked", "open")


def test_the_list_costs_the_same_however_long_it_is(ada: User, as_ada: Client, django_assert_num_queries: Callable[[int], Any]) -> None:
    for count in (2, 12):
        while Invitation.objects.count() < count:
            made, _ = invited(actor=ada)
            invitations.accept(invitation=made, username=f"khan-{made.pk}", password=PASSWORD)
            invited(actor=ada)
        # Session, user with roles, count, rows.
        with django_assert_num_queries(4):
            as_ada.get(LIST)


def test_the_machine_itself_can_invite_the_first_administrator(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("invite", "Ada", "--address", "https://rounds.example")
    address = capsys.readouterr().out.strip()
    assert address.startswith("https://rounds.example/join/")
    newcomer = Client()
    newcomer.get(address.removeprefix("https://rounds.example"))
    newcomer.post("/join/", {"username": "ada", "password1": PASSWORD, "password2": PASSWORD})
    assert User.objects.get().roles() == {"admin"}
    assert newcomer.get(LIST).status_code == 200
    with pytest.raises(CommandError, match="1 to 30 days"):
        call_command("invite", "Ada", "--days", "31")


# --- many hands at once ---------------------------------------------------------------------------------------------------------------


def parted(results: list[object]) -> tuple[list[object], list[BaseException]]:
    """What was given, and what was raised."""
    raised = [one for one in results if isinstance(one, BaseException)]
    return [one for one in results if not isinstance(one, BaseException)], raised


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(200)
def test_of_64_who_open_one_link_at_once_one_gets_an_account() -> None:
    made, _ = invited()

    def taker(number: int) -> Callable[[], object]:
        return lambda: invitations.accept(invitation=made, username=f"guest-{number}", password=PASSWORD)

    given, raised = parted(at_once(*[taker(number) for number in range(64)]))
    assert len(given) == 1
    assert {type(error) for error in raised} == {invitations.InvitationClosed}
    assert len(raised) == 63
    # The losers left nothing: one account, one grant, one acceptance on record.
    assert list(User.objects.all()) == given
    assert RoleGrant.objects.count() == 1
    assert AuditEntry.objects.filter(verb="invitation.accepted").count() == 1
    made.refresh_from_db()
    assert made.accepted_by == given[0]


@pytest.mark.django_db(transaction=True)
def test_of_revoking_and_accepting_at_once_one_happens() -> None:
    for number in range(8):
        made, _ = invited()
        given, raised = parted(at_once(
            lambda made=made: invitations.revoke(invitation=made, actor=None),  # type: ignore[misc, arg-type]
            lambda made=made, number=number: invitations.accept(invitation=made, username=f"guest-{number}", password=PASSWORD),  # type: ignore[misc]
        ))  # fmt: skip
        made.refresh_from_db()
        came_in = User.objects.filter(username=f"guest-{number}").exists()
        assert came_in == (made.state == "accepted")
        assert (False in given) == came_in
        assert len(raised) == (0 if came_in else 1)


def test_the_links_of_who_is_no_administrator_any_more_let_nobody_in(ada: User) -> None:
    other = person("other", "admin")
    made, _ = invited(roles=["admin"], actor=other)
    people.set_roles(user=other, roles=["admin", "trainer"], actor=ada)
    made.refresh_from_db()
    assert made.state == "open"
    people.set_roles(user=other, roles=["trainer"], actor=ada)
    made.refresh_from_db()
    assert made.state == "revoked"
    with pytest.raises(invitations.InvitationClosed):
        invitations.accept(invitation=made, username="back-again", password=PASSWORD)
    assert AuditEntry.objects.filter(verb="user.roles_changed").latest("pk").details["invitations"] == 1
