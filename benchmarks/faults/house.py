"""What the lanes break: a PostgreSQL with fsync on, a Redis, a database a lane, and the processes of Rounds as they run in a clinic."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

from benchmarks.faults.history import History
from benchmarks.faults.proxy import Proxy
from benchmarks.load.server import free_port
from config.embedded import places, processes, programs
from config.embedded.postgres import USER
from tests.workers import Processes

QUEUE = "faults"
TEMPLATE = "faults_template"
LEASE_SECONDS = 3


class House(Processes):
    """One lane's database, data folder and processes; `with house.lane("kills"):` makes and ends them."""

    def __init__(self, root: Path) -> None:
        found = places.remembered(root)
        assert found is not None
        self.places, self.root = found, root
        self.proxies: list[Proxy] = []
        self.tools = programs.installed_for(found.account, found.programs)

    # --- databases

    def _ask(self, statement: str) -> None:
        with psycopg.connect(host=str(self.places.run), user=USER, dbname="postgres", autocommit=True) as server:
            server.execute(statement)

    def make_template(self) -> None:
        """Migrate once; every lane gets a copy."""
        self._ask(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        self._ask(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        self._use(TEMPLATE)
        call_command("migrate", verbosity=0)
        connections.close_all()

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[History]:
        """A fresh database, an empty broker, a data folder of its own; everything started in it is ended with it."""
        database = f"faults_{name}"
        folder = self.root / "lanes" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._ask(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self._ask(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
        super().__init__(folder)
        self.database = database
        self._use(database)
        settings.DATA_DIR = folder
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.database_url(),
            "CELERY_BROKER_URL": settings.CELERY_BROKER_URL,
            "ROUNDS_DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "benchmarks.faults.settings",
            "ROUNDS_LEASE_SECONDS": str(LEASE_SECONDS),
            "ROUNDS_HEARTBEAT_SECONDS": "0.4",
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        self.redis("FLUSHALL")
        history = History(self.root / "history" / f"{name}.jsonl")
        try:
            yield history
        finally:
            history.close()
            self.stop_all()
            for proxy in self.proxies:
                proxy.close()
            self.proxies.clear()
            self._use(database)

    def drop(self) -> None:
        """Forget the lane's database and files; its history stays."""
        connections.close_all()
        self._ask(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def _use(self, database: str, port: int | None = None) -> None:
        """Point Django's connections of this process at a database, straight or through a proxy on `port`."""
        connections.close_all()
        connection.settings_dict.update(NAME=database, HOST="127.0.0.1" if port else str(self.places.run), PORT=str(port or ""))
        connection.settings_dict["OPTIONS"].pop("host", None)

    def use_through(self, proxy: Proxy) -> None:
        self._use(self.database, proxy.port)

    def use_straight(self) -> None:
        self._use(self.database)

    def database_url(self, proxy: Proxy | None = None) -> str:
        if proxy is not None:
            return f"postgresql://{USER}@127.0.0.1:{proxy.port}/{self.database}"
        return f"postgresql://{USER}@/{self.database}?host={quote(str(self.places.run), safe='')}"

    # --- servers

    def hurry_recovery(self) -> None:
        """After a crash PostgreSQL syncs every file of every database one by one; one call for the whole file system promises as much."""
        settings = self.places.cluster / "postgresql.conf"
        self.places.account.write(settings, settings.read_text() + "recovery_init_sync_method = syncfs\n")

    def proxy(self, service: str) -> Proxy:
        made = Proxy(self.places.postgres_socket if service == "postgres" else self.places.redis_socket)
        self.proxies.append(made)
        return made

    def crash_postgres(self) -> None:
        """`pg_ctl restart -m immediate`: what was not in the journal is gone. Returns when it takes connections."""
        answer = self.places.account.run(
            [str(self.tools.postgres / "pg_ctl"), "restart", "-m", "immediate", "-w", "-t", "60", "-s", "-D", str(self.places.cluster),
             "-l", str(self.places.logs / "postgres.log")],
            home=self.places.home,
        )  # fmt: skip
        if answer.returncode:
            raise RuntimeError(f"PostgreSQL did not come back: {answer.stderr.strip()}")

    def redis(self, *command: str) -> str:
        """One command, straight to the server; what it answered."""
        import socket

        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.places.redis_socket))
            parts = [f"${len(part.encode())}\r\n{part}\r\n" for part in command]
            client.sendall(f"*{len(parts)}\r\n{''.join(parts)}".encode())
            return client.recv(65_536).decode(errors="replace")

    def restart_redis_empty(self) -> None:
        """Kill the broker, lose its journal, start it again."""
        pid = int((self.places.redis / "redis.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        processes.wait_gone([pid], seconds=10)
        for journal in (*self.places.redis.glob("appendonly*"), self.places.redis_socket):
            if journal.is_dir():
                shutil.rmtree(journal, ignore_errors=True)
            else:
                journal.unlink(missing_ok=True)
        self.places.account.run([str(self.tools.redis), str(self.places.redis / "redis.conf")], home=self.places.home, seconds=30)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if self.redis("PING").startswith("+PONG"):
                    return
            time.sleep(0.02)
        raise RuntimeError("Redis did not come back.")

    # --- processes

    def worker(self, name: str, slots: int = 4, **environment: str) -> subprocess.Popen[bytes]:
        with self.changed(environment):
            return self._start(
                name, "-m", "celery", "-A", "config.celery:app", "worker", "-Q", QUEUE, "-c", str(slots), "-P", "prefork",
                "--without-mingle", "--without-gossip", "-n", f"{name}@%h", "-l", "INFO",
            )  # fmt: skip

    def sweeper(self, name: str = "sweeper", every: float = 0.5, **environment: str) -> subprocess.Popen[bytes]:
        with self.changed(environment):
            return self._start(name, "manage.py", "sweep", "--every", str(every))

    def web(self) -> int:
        """Gunicorn as `manage.py up` starts it; the port it answers on."""
        port = free_port()
        self._start(
            "web", "-m", "gunicorn", "config.wsgi:application", "--worker-class", "gthread", "--workers", "1", "--threads", "4",
            "--bind", f"127.0.0.1:{port}", "--timeout", "60", "--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning",
        )  # fmt: skip
        return port

    def dump(self, name: str) -> None:
        """End a process and its slots with where each of its threads stood, in its log: for those that hang."""
        child = self.children.pop(name)
        for pid in (*processes.descendants(child.pid), child.pid):
            processes.send(pid, signal.SIGABRT)
        child.wait(timeout=20)

    @contextlib.contextmanager
    def changed(self, environment: dict[str, str]) -> Iterator[None]:
        before = self.environment
        self.environment = {**before, **environment}
        try:
            yield
        finally:
            self.environment = before


@contextlib.contextmanager
def opened(root: Path) -> Iterator[House]:
    """The servers for all lanes, on real disk; stopped and deleted at the end. Histories and red lanes' folders stay in `root`."""
    from config import embedded

    # What is left of a lane that was red stays until the next run.
    shutil.rmtree(root / "lanes", ignore_errors=True)
    house = House(root)
    house.hurry_recovery()
    house.make_template()
    try:
        yield house
    finally:
        connections.close_all()
        embedded.destroy(root)
