"""Statements that are built once and planned once: the same rows as Django's own, and the same errors."""

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import Role, RoleGrant, User
from web.statements import Frozen, _planned, prepared

pytestmark = pytest.mark.django_db


def test_a_frozen_query_finds_what_its_queryset_finds(alice: User, bob: User) -> None:
    asked = Frozen(lambda user: RoleGrant.objects.filter(user=user).select_related("user"), user=2**40)
    for person in (alice, bob, alice):
        grant = asked(user=person.pk)[0]
        assert (grant.user, grant.role, grant.user.preferences) == (person, Role.ANNOTATOR, {})
        assert grant == RoleGrant.objects.get(user=person)
    assert asked(user=0) == []


def test_a_frozen_query_knows_its_values_from_constants_of_another_type(alice: User) -> None:
    asked = Frozen(lambda user: User.objects.filter(pk=user, is_active=True, username__contains="al"), user=1)
    assert asked(user=alice.pk) == [alice]


def test_small_tables_are_planned_as_if_they_were_large(alice: User) -> None:
    with prepared() as cursor:
        cursor.execute("EXPLAIN SELECT username FROM accounts_user WHERE id = %s", [alice.pk])
        assert "Index Scan using accounts_user_pkey" in cursor.fetchone()[0]
    with connection.cursor() as usual:
        usual.execute("SHOW enable_seqscan")
        assert usual.fetchone() == ("on",)


def test_a_statement_that_fails_leaves_no_setting_behind(alice: User) -> None:
    again = "INSERT INTO accounts_rolegrant (user_id, role) VALUES (%s, %s)"
    with pytest.raises(IntegrityError), transaction.atomic(), prepared() as cursor:
        cursor.execute(again, [alice.pk, Role.ANNOTATOR.value])
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_seqscan")
        assert cursor.fetchone() == ("on",)
    raw = connection.connection
    assert isinstance(raw, psycopg.Connection)
    assert again not in _planned[raw]
