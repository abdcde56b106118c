"""The audit trail: one entry a change, for ever, readable by those who answer for it."""

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from accounts import audit, people, tokens
from accounts.models import AuditEntry, User


def test_the_steward_reads_who_did_what(dan: User, as_sam: Client) -> None:
    tokens.create(user=dan, label="script", scopes=["read"], days=7)
    page = as_sam.get("/audit/").content.decode()
    assert "token.created" in page
    assert "dan" in page


def test_it_narrows_to_a_verb_and_a_person(dan: User, ada: User, as_sam: Client) -> None:
    tokens.create(user=dan, label="script", scopes=["read"], days=7)
    people.set_roles(user=dan, roles=["trainer", "steward"], actor=ada)
    only = as_sam.get("/audit/", {"verb": "token.created"}).context["entries"].object_list
    assert [entry.verb for entry in only] == ["token.created"]
    only = as_sam.get("/audit/", {"actor": "ada"}).context["entries"].object_list
    assert [entry.verb for entry in only] == ["user.roles_changed"]
    assert "No entry matches" in as_sam.get("/audit/", {"verb": "nothing.like_it"}).content.decode()


def test_it_turns_pages(dan: User, as_sam: Client) -> None:
    for _ in range(51):
        audit.record(dan, "sample.imported", dan)
    first, second = as_sam.get("/audit/"), as_sam.get("/audit/", {"page": 2})
    assert len(first.context["entries"].object_list) == 50
    assert len(second.context["entries"].object_list) == 1
    assert 'rel="next"' in first.content.decode()


def test_listing_costs_the_same_however_long_it_is(dan: User, as_sam: Client, django_assert_max_num_queries: object) -> None:
    for _ in range(30):
        audit.record(dan, "sample.imported", dan)
    with django_assert_max_num_queries(6):  # type: ignore[operator]
        as_sam.get("/audit/")


def test_an_entry_names_its_request(as_dan: Client) -> None:
    answer = as_dan.post("/me/tokens/", {"label": "script", "scopes": ["read"], "days": 7})
    assert AuditEntry.objects.get().request_id == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("change", ["update", "delete"])
def test_the_database_refuses_to_change_the_past(change: str, dan: User) -> None:
    entry = audit.record(dan, "sample.imported", dan)
    found = AuditEntry.objects.filter(pk=entry.pk)
    with pytest.raises(DatabaseError), transaction.atomic():
        found.update(verb="nothing.happened") if change == "update" else found.delete()
    assert AuditEntry.objects.get(pk=entry.pk).verb == "sample.imported"


def test_the_entry_lives_and_dies_with_the_change(dan: User) -> None:
    with transaction.atomic():
        tokens.create(user=dan, label="script", scopes=["read"], days=7)
        assert AuditEntry.objects.count() == 1
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()
