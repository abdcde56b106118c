"""The embedded Redis, Celery's doorbell. On a Unix socket only. What it loses, the sweeper rings again."""

import contextlib
import signal
import socket
import time
from pathlib import Path
from urllib.parse import quote

from . import processes
from .errors import EmbeddedError
from .places import REDIS_SOCKET, Places
from .postgres import tail
from .programs import Programs

SETTINGS = """\
# Written anew at every start.
port 0
unixsocket {socket}
unixsocketperm 700
daemonize yes
pidfile {pid_file}
logfile {log}
dir {folder}
loglevel notice
always-show-logo no
databases 16
maxmemory 256mb
maxmemory-policy noeviction
save ""
appendonly yes
appendfsync {fsync}
auto-aof-rewrite-min-size 8mb
"""


def url(run: Path) -> str:
    """The address for CELERY_BROKER_URL of a server with its socket in this folder."""
    return f"redis+socket://{quote(str(run / REDIS_SOCKET))}"


def start(places: Places, programs: Programs, *, throwaway: bool) -> None:
    """Start the server and wait until it answers. Raises EmbeddedError with the end of its log when it does not."""
    settings = SETTINGS.format(
        socket=_quoted(places.redis_socket),
        pid_file=_quoted(places.redis / "redis.pid"),
        log=_quoted(places.logs / "redis.log"),
        folder=_quoted(places.redis),
        fsync="no" if throwaway else "everysec",
    )
    places.account.write(places.redis / "redis.conf", settings)
    if _launch(places, programs):
        return
    log = places.logs / "redis.log"
    journal = places.redis / "appendonly.aof"
    if journal.exists() and "Bad file format" in tail(log):
        # The queue's journal is damaged beyond its last entry. Jobs live in PostgreSQL, so ringing again beats not starting.
        places.account.run(["/bin/mv", "-f", str(journal), str(journal.with_suffix(".damaged"))], home=places.home)
        if _launch(places, programs):
            return
    raise EmbeddedError(f"Redis did not start. The end of {log}:\n{tail(log)}")


def running(places: Places) -> int | None:
    """The server's pid when it is ours and answers; waits while it reads its journal."""
    deadline = time.monotonic() + 60
    while (pid := _server(places)) is not None:
        if _answers(places.redis_socket):
            return pid
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Redis (process {pid}) runs but does not answer. See {places.logs / 'redis.log'}.")
        time.sleep(0.02)
    return None


def stop(places: Places) -> None:
    """Stop the server, politely (the journal is flushed), then by force. Does nothing where none runs."""
    if (pid := _server(places)) is None:
        return
    processes.send(pid, signal.SIGTERM)
    if processes.wait_gone([pid], seconds=10):
        processes.send(pid, signal.SIGKILL)
        if processes.wait_gone([pid], seconds=5):
            raise EmbeddedError(f"Redis (process {pid}) does not end.")


def _launch(places: Places, programs: Programs) -> bool:
    places.account.run([str(programs.redis), str(places.redis / "redis.conf")], home=places.home, seconds=30)
    deadline = time.monotonic() + 30
    # The parent returns before the daemon has written its pid: give it a moment before calling it dead.
    grace = time.monotonic() + 2
    while time.monotonic() < deadline:
        if _answers(places.redis_socket):
            return _server(places) is not None
        if time.monotonic() > grace and _server(places) is None:
            return False
        time.sleep(0.01)
    return False


def _server(places: Places) -> int | None:
    try:
        pid = int((places.redis / "redis.pid").read_text())
    except (OSError, ValueError):
        return None
    if not processes.alive(pid):
        return None
    command = " ".join(processes.arguments(pid))
    if "redis-server" not in command:
        return None
    folder = processes.working_directory(pid)
    ours = folder == places.redis if folder is not None else str(places.redis_socket) in command
    return pid if ours else None


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
