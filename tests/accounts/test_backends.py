"""Who comes back with a session: one question tells who they are, what they may do and that they have joined."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import consents, joining
from accounts.backends import SessionBackend
from accounts.consents import ConsentMissing
from accounts.models import Role, RoleGrant, User
from tests.cast import person

pytestmark = pytest.mark.django_db


def test_one_question_tells_roles_and_joining(alice: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        found = SessionBackend().get_user(alice.pk)
        assert found == alice
        assert found.roles() == {Role.ANNOTATOR}
        assert joining.missing(found) is None
        assert found.preferences == {}


def test_a_disabled_or_unknown_user_is_nobody(frank: User) -> None:
    assert SessionBackend().get_user(frank.pk) is None
    assert SessionBackend().get_user(0) is None


def test_what_is_missing_is_looked_up_anew_and_consent_taken_back_counts_at_once(alice: User) -> None:
    zoe = person("zoe", Role.ANNOTATOR, consents=False)
    found = SessionBackend().get_user(zoe.pk)
    assert isinstance(joining.missing(found), ConsentMissing)
    back = SessionBackend().get_user(alice.pk)
    consents.withdraw(user=back)
    assert isinstance(joining.missing(back), ConsentMissing)
    assert isinstance(joining.missing(SessionBackend().get_user(alice.pk)), ConsentMissing)


def test_a_role_that_was_taken_away_is_gone_with_the_next_request(as_alice: Client, alice: User) -> None:
    assert as_alice.get("/rate/").status_code == 200
    RoleGrant.objects.filter(user=alice).delete()
    assert as_alice.get("/rate/").status_code == 403
