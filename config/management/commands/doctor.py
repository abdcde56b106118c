"""`manage.py doctor`: what is missing, and the command that mends it."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from config import embedded, supervisor
from config.embedded import places

State = Literal["ok", "note", "broken"]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is a command or a sentence, empty when nothing is wrong."""

    state: State
    what: str
    mend: str = ""


class Command(BaseCommand):
    help = "Look at services, versions, disk, workers and packages, and say how to mend what is wrong. Exit status 1 when something is."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        data_dir: Path = settings.DATA_DIR
        looks: list[Callable[[], Iterator[Finding]]] = [
            versions, lambda: disk(data_dir), lambda: services(data_dir), database, broker, lambda: supervised(data_dir), workers,
            lambda: training_packages(data_dir), confined,
        ]  # fmt: skip
        broken = 0
        for look in looks:
            for finding in look():
                broken += finding.state == "broken"
                self.stdout.write(f"{finding.state:<7} {finding.what}")
                if finding.mend:
                    self.stdout.write(f"        → {finding.mend}")
        if broken:
            raise SystemExit(1)


def versions() -> Iterator[Finding]:
    """Every installed package against constraints.txt."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (supervisor.PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    other = []
    for name, wanted in pins:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # A local part (+cpu, +cu130) names the build, not the version.
        if found.partition("+")[0] != wanted.partition("+")[0]:
            other.append(f"{name} {found} (tested: {wanted})")
    if other:
        yield Finding("note", "Other versions than the tested ones: " + ", ".join(other), "make setup")
    else:
        yield Finding("ok", f"Python {sys.version.split()[0]}, packages as tested")


def disk(data_dir: Path) -> Iterator[Finding]:
    """Room in the data folder. torch and its packages need about 3 GB more where .venv lies."""
    if not data_dir.exists():
        yield Finding("note", f"The data folder {data_dir} does not exist yet", "make run")
        return
    free = shutil.disk_usage(data_dir).free
    said = f"{free / GIB:.1f} GB free for {data_dir}"
    if not os.access(data_dir, os.W_OK):
        yield Finding("broken", f"{data_dir} cannot be written", "Run as its owner, or set ROUNDS_DATA_DIR.")
    if free < GIB:
        yield Finding("broken", said, "Free some space: a full disk pauses jobs.")
    elif free < 5 * GIB:
        yield Finding("note", said, "A job that trains a large model needs more.")
    else:
        yield Finding("ok", said)


def services(data_dir: Path) -> Iterator[Finding]:
    """The embedded PostgreSQL and Redis."""
    try:
        for service in embedded.status(data_dir):
            if service.state == "stopped":
                yield Finding("broken", f"{service.name} is stopped", "make run, or manage.py services start")
            else:
                yield Finding("ok", f"{service.name}: {service.state}" + (f" (process {service.pid})" if service.pid else ""))
    except embedded.EmbeddedError as error:
        yield Finding("broken", str(error))
    for folder in places.unclaimed():
        yield Finding("note", f"{folder} holds the database of a data folder that is gone", f"If it is not wanted any more: rm -r {folder}")


def database() -> Iterator[Finding]:
    """The database answers and its tables are up to date."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            version = cursor.fetchone()[0]
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding("broken", f"The database does not answer: {str(error).splitlines()[0]}", "make run, or correct DATABASE_URL")
        return
    if int(re.split(r"\D", version)[0]) < 15:
        yield Finding("broken", f"PostgreSQL {version} is older than 15", "Use PostgreSQL 15 or newer.")
    if waiting:
        yield Finding("broken", f"{len(waiting)} migrations are not applied", "manage.py migrate")
    else:
        yield Finding("ok", f"PostgreSQL {version} answers, tables up to date")


def broker() -> Iterator[Finding]:
    """The queue answers."""
    from config.celery import app

    try:
        with app.connection_for_write() as link:
            link.ensure_connection(max_retries=1, timeout=3, interval_start=0)
    except Exception as error:  # every transport has its own kind
        yield Finding("broken", f"The queue does not answer ({type(error).__name__})", "make run, or correct CELERY_BROKER_URL")
    else:
        yield Finding("ok", "the queue answers")


def supervised(data_dir: Path) -> Iterator[Finding]:
    """`manage.py up` and its web part. On a server other units may run them: then this is only a note."""
    if supervisor.running(data_dir) is None:
        yield Finding("note", "`manage.py up` is not running here", "make run (or start web, workers and sweeper as your own units)")
        return
    url = str(supervisor.read_state(data_dir).get("url"))
    if supervisor.answers(url):
        yield Finding("ok", f"{url} answers")
    else:
        yield Finding("broken", f"{url} does not answer", f"See {data_dir / 'logs' / 'web.log'}")


def workers() -> Iterator[Finding]:
    """Workers, every queue and the sweeper gave a sign of life."""
    from jobs import pulses

    try:
        names = sorted(worker.name for worker in pulses.workers())
        yield Finding("ok" if names else "note", f"workers that are alive: {', '.join(names) or 'none'}", "" if names else "make run")
        for missing in pulses.missing(("compute", "io", "default")):
            yield Finding("broken", f"{missing.what} {missing.without}", missing.command)
    except DatabaseError:
        yield Finding("broken", "Signs of life cannot be read: the database does not answer", "make run")


def confined() -> Iterator[Finding]:
    """What jobs that run on this machine cannot do."""
    from jobs import confinement

    can, most = confinement.able(), confinement.most_memory()
    memory = f"{most / 1e9:.1f} GB of memory each" if most else "as much memory as there is"
    if can.namespaces and settings.ROUNDS_CHILD_NETWORK != confinement.OPEN:
        required = settings.ROUNDS_CHILD_NETWORK == confinement.REQUIRED
        mend = (
            "Let the worker's account make user namespaces (sysctl kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns), or keep its machine from the network by a firewall."
        )
        yield Finding("broken" if required else "note", f"jobs keep the network on this machine ({can.namespaces})", mend)
    if can.files:
        yield Finding("note", f"jobs may write outside their folders ({can.files})", "Landlock needs Linux 6.2, and lsm= to name it.")
    without = "" if settings.ROUNDS_CHILD_NETWORK == confinement.OPEN or can.namespaces else "run without network, "
    where = "" if can.files else "write in their own folders only, and "
    yield Finding("ok", f"jobs {without}{where}may have {memory}")


def training_packages(data_dir: Path) -> Iterator[Finding]:
    """The packages that only the training child uses. Looks at their metadata, imports none."""
    missing = supervisor.missing_packages(supervisor.engine_requirements())
    if not missing:
        yield Finding("ok", f"training packages are installed (torch {importlib.metadata.version('torch')})")
        return
    try:
        setup = json.loads((data_dir / "setup.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        setup = {}
    if setup.get("state") == "running":
        yield Finding("note", f"training packages are being installed: {setup.get('detail')}")
    else:
        yield Finding("broken", f"not installed: {', '.join(missing)}", "make setup")
