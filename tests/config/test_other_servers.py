"""Rounds on a PostgreSQL and a Redis or RabbitMQ that are not ours: named in the environment, used, and left alone."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from config import supervisor
from tests.config.test_up import PROJECT, data_dir, port, until, web_status  # noqa: F401 (fixtures)

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not urlsplit(os.environ["DATABASE_URL"]).hostname, reason="DATABASE_URL names the embedded PostgreSQL"),
]


@pytest.fixture
def database_url() -> Iterator[str]:
    """A database of this test's own on that server, gone afterwards."""
    address = urlsplit(os.environ["DATABASE_URL"])
    name = f"rounds_other_{os.getpid()}"
    with psycopg.connect(urlunsplit(address._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        yield urlunsplit(address._replace(path=f"/{name}"))
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_house_runs_on_servers_that_others_keep(data_dir: Path, port: int, database_url: str) -> None:  # noqa: F811
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "ROUNDS_DATA_DIR": str(data_dir),
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "ROUNDS_COMPUTE_SLOTS": "1",
    }

    def manage(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
        ).stdout

    with (data_dir / "said").open("w") as said:
        boss = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port), "--no-setup", "--no-demo"],
            cwd=PROJECT,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: (web_status(port) or 500) < 500)
        until(lambda: re.search("workers that are alive: compute@.*io@", manage("doctor")))
        until(lambda: "broken" not in manage("doctor"))
        healthy = manage("doctor")
        assert "postgres: not ours" in healthy
        assert "redis: not ours" in healthy
        assert not (data_dir / "services").exists()
        boss.send_signal(signal.SIGINT)
        assert boss.wait(timeout=60) == 0
        assert supervisor.children_of(data_dir) == {}
        psycopg.connect(database_url).close()
    finally:
        boss.kill()
        boss.wait()
        print((data_dir / "said").read_text())  # noqa: T201
        for log in (data_dir / "logs").glob("worker*"):
            print(log, log.read_text()[-1500:])  # noqa: T201
