"""Tests begin in a database that the migrations made and none of them wrote to, however cheaply that came about."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from accounts import audit
from accounts.models import AuditEntry, User
from tests.annotation import build
from tests.database import empty, name_of_the_copy, thawed


def counted() -> dict[str, int]:
    """Rows a table."""
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        cursor.execute("SELECT " + ", ".join(f'(SELECT count(*) FROM "{name}")' for name in names))
        return dict(zip(names, cursor.fetchone(), strict=True))


@pytest.mark.django_db(transaction=True)
def test_emptying_leaves_what_flushing_leaves(alice: User, bob: User) -> None:
    judged = build.campaign([alice, bob], pairs=2)
    build.judge(judged, alice)
    written = counted()
    assert sum(1 for rows in written.values() if rows) > 15
    assert AuditEntry.objects.exists(), "which no statement of ours may delete"
    empty("default")
    emptied = counted()
    with thawed():
        call_command("flush", verbosity=0, interactive=False)
    assert emptied == counted()


@pytest.mark.django_db(transaction=True)
def test_the_database_keeps_its_promises_after_it_was_emptied(alice: User) -> None:
    empty("default")
    audit.record(None, "sample.imported", alice)
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.all().delete()


@pytest.mark.django_db
def test_no_migration_is_missing_from_the_copy() -> None:
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []


def test_another_text_of_a_migration_asks_for_another_copy(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("django==5.2")
    (tmp_path / "jobs" / "migrations").mkdir(parents=True)
    migration = tmp_path / "jobs" / "migrations" / "0001_first.py"
    settings.PROJECT = tmp_path
    names = set()
    for text in ("one", "another"):
        migration.write_text(text)
        names.add(name_of_the_copy())
    assert len(names) == 2
