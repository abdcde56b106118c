"""One person's page: roles, disabling, enabling, a link to a new passphrase; and a house that always keeps an administrator."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import close_old_connections, connection
from django.test import Client

from accounts import consents, invitations, people, tokens
from accounts.models import ApiToken, AuditEntry, Role, RoleGrant, User
from tests.cast import PASSWORD, person, signed_in


def page_of(client: Client, user: User) -> str:
    answer = client.get(f"/users/{user.pk}/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_tells_what_an_administrator_needs_to_know(alice: User, as_ada: Client) -> None:
    tokens.create(user=alice, label="script", scopes=["read"], days=7)
    consents.withdraw(user=alice)
    consents.give(user=alice, text=consents.current())
    page = page_of(as_ada, alice)
    for words in ("General practice", "Specialist physician", "<dt>Years</dt><dd>12</dd>", "<dt>Live API tokens</dt><dd>1</dd>",
                  "<strong>withdrawn</strong>", "Version 1: agreed"):  # fmt: skip
        assert words in page, words


def test_it_tells_who_invited_them(ada: User, as_ada: Client) -> None:
    made, _ = invitations.create(name="Dr. Amina Khan", roles=["annotator"], purpose="x", minutes=30, days=7, actor=ada)
    khan = invitations.accept(invitation=made, username="khan", password=PASSWORD)
    page = page_of(as_ada, khan)
    assert "Dr. Amina Khan, invited by ada" in page
    assert "Has not agreed to a consent text." in page
    assert "No profile yet." in page


def test_roles_are_saved_as_a_whole_and_audited(alice: User, as_ada: Client) -> None:
    answer = as_ada.post(f"/users/{alice.pk}/roles/", {"roles": ["adjudicator", "trainer"]}, follow=True)
    assert b"roles are saved" in answer.content
    assert User.objects.get(pk=alice.pk).roles() == {"adjudicator", "trainer"}
    entry = AuditEntry.objects.get(verb="user.roles_changed")
    assert (entry.actor_name, entry.details) == ("ada", {"granted": ["adjudicator", "trainer"], "withdrawn": ["annotator"]})
    assert "user.roles_changed" in page_of(as_ada, alice)


def test_an_unknown_role_changes_nothing(alice: User, as_ada: Client) -> None:
    answer = as_ada.post(f"/users/{alice.pk}/roles/", {"roles": ["king"]})
    assert answer.status_code == 422
    assert b"is not one of the available choices" in answer.content
    assert User.objects.get(pk=alice.pk).roles() == {"annotator"}


def test_the_last_administrator_keeps_the_role_and_the_account(ada: User, as_ada: Client, frank: User) -> None:
    RoleGrant.objects.create(user=frank, role=Role.ADMIN)  # disabled: no administrator
    answer = as_ada.post(f"/users/{ada.pk}/roles/", {"roles": ["trainer"]})
    assert answer.status_code == 422
    assert b"This is the last active administrator." in answer.content
    assert b"This is the last active administrator." in as_ada.post(f"/users/{ada.pk}/disable/", follow=True).content
    ada = User.objects.get(pk=ada.pk)
    assert ada.is_active
    assert ada.roles() == {"admin"}
    assert f"Disable {ada.username}" not in page_of(as_ada, ada)
    # Nor by the records room.
    form = {"username": "ada", "first_name": "", "last_name": "", "is_active": "on", "roles": ["trainer"]}
    records = as_ada.post(f"/records/accounts/user/{ada.pk}/change/", form)
    assert b"This is the last active administrator." in records.content
    records = as_ada.post(f"/records/accounts/user/{ada.pk}/change/", {**form, "is_active": "", "roles": ["admin"]})
    assert b"This is the last active administrator." in records.content
    assert User.objects.get(pk=ada.pk).is_active


def test_with_a_second_one_an_administrator_may_step_down(ada: User, dan: User, as_ada: Client) -> None:
    people.set_roles(user=dan, roles=["admin"], actor=ada)
    answer = as_ada.post(f"/users/{ada.pk}/roles/", {"roles": ["steward"]})
    assert answer.headers["Location"] == "/"
    assert as_ada.get("/users/").status_code == 403


def test_disabling_ends_every_access_at_once_and_enabling_opens_the_door_again(alice: User, as_alice: Client, as_ada: Client) -> None:
    _, secret = tokens.create(user=alice, label="script", scopes=["read"], days=7)
    second = signed_in(alice)
    answer = as_ada.post(f"/users/{alice.pk}/disable/", follow=True)
    assert b"account is disabled: signed out everywhere" in answer.content
    for client in (as_alice, second):
        assert client.get("/me/tokens/").status_code == 302
    assert Client().get("/api/v1/campaigns/", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    entry = AuditEntry.objects.get(verb="user.disabled")
    assert (entry.actor_name, entry.details) == ("ada", {"sessions": 2, "tokens": 1, "invitations": 0})

    assert b"may sign in again" in as_ada.post(f"/users/{alice.pk}/enable/", follow=True).content
    # What was open then stays shut; the front door and the roles are there again.
    assert as_alice.get("/me/tokens/").status_code == 302
    assert not ApiToken.objects.live().filter(user=alice).exists()
    assert Client().post("/accounts/login/", {"login": "alice", "password": PASSWORD}).headers["Location"] == "/"
    assert User.objects.get(pk=alice.pk).roles() == {"annotator"}


def test_disabling_signs_nobody_else_out(alice: User, as_bob: Client, ada: User) -> None:
    people.disable(user=alice, actor=ada)
    assert as_bob.get("/me/tokens/").status_code == 200


def test_doing_it_twice_is_doing_it_once(alice: User, ada: User) -> None:
    assert people.disable(user=alice, actor=ada)
    assert not people.disable(user=alice, actor=ada)
    assert people.enable(user=alice, actor=ada)
    assert not people.enable(user=alice, actor=ada)
    assert list(AuditEntry.objects.order_by("pk").values_list("verb", flat=True)) == ["user.disabled", "user.enabled"]


def test_the_records_room_disables_as_thoroughly(alice: User, as_alice: Client, as_ada: Client) -> None:
    tokens.create(user=alice, label="script", scopes=["read"], days=7)
    form = {"username": "alice", "first_name": "Alice", "last_name": "", "roles": ["annotator"]}
    assert as_ada.post(f"/records/accounts/user/{alice.pk}/change/", form).status_code == 302
    assert not ApiToken.objects.live().filter(user=alice).exists()
    assert as_alice.get("/me/tokens/").status_code == 302
    assert set(AuditEntry.objects.filter(actor_name="ada").values_list("verb", flat=True)) == {"user.disabled", "user.changed"}


def test_a_link_to_a_new_passphrase_is_shown_once(alice: User, as_ada: Client) -> None:
    answer = as_ada.post(f"/users/{alice.pk}/link/")
    found = re.search(r'id="link"[^>]*>http://testserver(/password/[^<]+/)<', answer.content.decode())
    assert found
    assert "no-store" in answer.headers["Cache-Control"]
    assert found[1] not in page_of(as_ada, alice)
    guest = Client()
    assert b"New passphrase for alice" in guest.get(found[1], follow=True).content


def test_a_disabled_account_gets_no_link(frank: User, as_ada: Client) -> None:
    answer = as_ada.post(f"/users/{frank.pk}/link/", follow=True)
    assert b"enable it first" in answer.content
    assert b'id="link"' not in answer.content
    assert "Enable the account" in page_of(as_ada, frank)


def test_somebody_who_is_not_there_is_not_found(as_ada: Client) -> None:
    for address in ("/users/999999/", "/users/999999/roles/"):
        assert as_ada.get(address).status_code in {404, 405}
    assert as_ada.post("/users/999999/disable/").status_code == 404


def test_its_cost_does_not_grow(alice: User, as_ada: Client, django_assert_num_queries: Callable[[int], Any]) -> None:
    for count in (1, 12):
        while ApiToken.objects.count() < count:
            tokens.create(user=alice, label="script", scopes=["read"], days=7)
            consents.withdraw(user=alice)
            consents.give(user=alice, text=consents.current())
        # Session, user with roles; person, profile, roles, invitation, consents, tokens, changes, administrators.
        with django_assert_num_queries(10):
            as_ada.get(f"/users/{alice.pk}/")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["disable", "roles"])
def test_administrators_who_put_each_other_out_at_once_leave_one(how: str) -> None:
    for round_ in range(4):
        RoleGrant.objects.filter(role=Role.ADMIN).delete()
        admins = [person(f"admin-{round_}-{number}", "admin") for number in range(4)]
        ready = threading.Barrier(len(admins))
        refused: list[str] = []

        def put_out(victim: User, ready: threading.Barrier = ready, refused: list[str] = refused) -> None:
            try:
                connection.ensure_connection()
                ready.wait(timeout=60)
                if how == "disable":
                    people.disable(user=victim, actor=None)
                else:
                    people.set_roles(user=victim, roles=["trainer"], actor=None)
            except people.LastAdmin:
                refused.append(victim.username)
            finally:
                connection.close()

        threads = [threading.Thread(target=put_out, args=[victim]) for victim in admins]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        close_old_connections()
        left = RoleGrant.objects.filter(role=Role.ADMIN, user__is_active=True).values_list("user__username", flat=True)
        assert list(left) == refused
        assert len(refused) == 1
