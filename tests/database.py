"""The test database, cheaply: made once from the migrations and copied for every test process, emptied by deleting what a test wrote.

Both leave what Django's own ways leave. Migrating costs a process seconds; so its outcome is kept in the tests' own cluster, under a
name drawn from the migrations' text. Truncating makes some five hundred files anew, and a test writes a few rows in a few tables.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest
import pytest_django
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.utils import ProgrammingError
from django.test import TransactionTestCase

from tests.cluster import DATA, OUR_CLUSTER

PREFIX = "rounds_made_"
# Migrations fill these, with what every later test expects.
KEPT = {"django_content_type", "auth_permission"}


def name_of_the_copy() -> str:
    """Drawn from what makes the tables: our migrations, and the versions of the packages that bring others."""
    text = hashlib.sha256()
    for path in [settings.PROJECT / "constraints.txt", *sorted(settings.PROJECT.glob("*/migrations/*.py"))]:
        text.update(str(path.relative_to(settings.PROJECT)).encode() + path.read_bytes())
    return PREFIX + text.hexdigest()[:20]


@pytest.fixture(scope="session")
def making() -> Iterator[IO[bytes] | None]:
    """Held while the test database is made: test processes begin together, the first one migrates and the others copy.

    None where the cluster is somebody else's, in which nothing of ours is to stay.
    """
    if OUR_CLUSTER not in os.environ:
        yield None
        return
    with (DATA / "making.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, making: IO[bytes] | None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> None:
    """Copy what the migrations made earlier. They run all the same, and find nothing to do."""
    if making is not None:
        with django_db_blocker.unblock(), connection._nodb_cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name_of_the_copy()])
            if cursor.fetchone():
                connection.settings_dict["TEST"]["TEMPLATE"] = name_of_the_copy()
                making.close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, making: IO[bytes] | None, django_db_blocker: pytest_django.DjangoDbBlocker) -> None:
    """Keep a copy of what the migrations made, and none of what older ones did."""
    made = connection.settings_dict["NAME"]
    if making is None or making.closed:
        return
    if made.startswith("test_"):
        with django_db_blocker.unblock():
            connection.close()
            with connection._nodb_cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
                for (older,) in cursor.fetchall():
                    cursor.execute(f'DROP DATABASE "{older}"')
                cursor.execute(f'CREATE DATABASE "{name_of_the_copy()}" TEMPLATE "{made}"')
    making.close()


def empty(alias: str) -> None:
    """What `flush` does. Like TRUNCATE it waits for transactions that still write; needs a superuser, for triggers must not refuse."""
    here = connections[alias]
    tables = here.introspection.django_table_names(only_existing=True, include_views=False)
    quoted = {table: here.ops.quote_name(table) for table in tables if table not in KEPT}
    with transaction.atomic(using=alias), here.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"LOCK TABLE {', '.join(quoted.values())} IN ACCESS EXCLUSIVE MODE")
        cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT FROM {name})" for name in quoted.values()))
        for name, written in zip(quoted.values(), cursor.fetchone(), strict=True):
            if written:
                cursor.execute(f"DELETE FROM {name}")


@contextmanager
def standing(blocker: pytest_django.DjangoDbBlocker) -> Iterator[None]:
    """A world that is built once and stands for the tests of a module, each of which undoes its own part of it:

        @pytest.fixture(scope="module")
        def world(django_db_setup, django_db_blocker):
            with standing(django_db_blocker):
                yield build()

    Not for a module with a test that commits: what is built here never is. Nor does it grow older than its tests take.
    """
    with blocker.unblock(), (whole := transaction.atomic()):
        whole._from_testcase = True  # as Django's own around a test: what insists on being outermost may run inside
        yield
        transaction.set_rollback(True)


@contextmanager
def thawed() -> Iterator[None]:
    """Inside, tables that refuse TRUNCATE take it, as only their owner can bring about."""
    for change in ("DISABLE", "ENABLE"):
        with connection.cursor() as cursor:
            for table in FROZEN:
                cursor.execute(f"ALTER TABLE {table} {change} TRIGGER USER")
        if change == "DISABLE":
            yield


FROZEN = ("annotation_snapshot", "annotation_snapshotrow", "annotation_snapshotevidence")
truncate = TransactionTestCase._fixture_teardown


def _fixture_teardown(self: Any) -> None:
    try:
        for alias in self._databases_names(include_mirrors=False):
            empty(alias)
    except ProgrammingError:
        # Somebody else's server, where we are no superuser: what may never be emptied is, by its owner.
        with thawed():
            truncate(self)


TransactionTestCase._fixture_teardown = _fixture_teardown
