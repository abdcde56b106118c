"""The web server as `manage.py up` starts it, with the production settings, on a database of its own that is dropped afterwards."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

PROJECT = Path(__file__).resolve().parents[2]
HOST = "rounds.test"


@contextmanager
def throw_away_database() -> Iterator[str]:
    """An empty database on the server that DATABASE_URL names, else on the embedded one; its URL. Dropped at the end."""
    if "DATABASE_URL" not in os.environ:
        from config import embedded

        embedded.provide()
    server = os.environ["DATABASE_URL"]
    name = f"rounds_judging_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def production(database: str) -> dict[str, str]:
    """The environment of a clinic's server: production settings, every secret named. Nothing is switched off for the test."""
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings.prod",
        "ROUNDS_SECRET_KEY": secrets.token_urlsafe(50),
        "ROUNDS_ALLOWED_HOSTS": HOST,
        "ROUNDS_TRUSTED_ORIGINS": f"https://{HOST}",
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": os.environ.get("CELERY_BROKER_URL", "redis://none.invalid/0"),
        "ROUNDS_LOG_LEVEL": "WARNING",
        # The API's guard against runaway scripts counts by the person, and eight people who never read are runaway scripts.
        "ROUNDS_API_RATE": "1000000/min",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web(workers: int, threads: int) -> Iterator[tuple[int, int]]:
    """Gunicorn behind an imagined TLS proxy (clients send X-Forwarded-Proto): its port and process id."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "config.wsgi:application", "--worker-class", "gthread", "--workers", str(workers),
        "--threads", str(threads), "--bind", f"127.0.0.1:{port}", "--timeout", "60", "--graceful-timeout", "5", "--no-control-socket",
        "--log-level", "warning",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "ROUNDS_DB_POOL": "1", "OPENBLAS_NUM_THREADS": "1"})
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(timeout=20)
