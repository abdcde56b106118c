"""The embedded PostgreSQL: made, started, asked, stopped. On a Unix socket only; only the account's and root's processes get in."""

import contextlib
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from . import processes
from .errors import EmbeddedError
from .places import POSTGRES_SOCKET, Places
from .programs import POSTGRES_MAJOR, Programs

USER = "rounds"
DATABASE = "rounds"
# An SSLRequest packet: any live postmaster answers it with one byte before it asks who we are.
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")

# A laptop's settings. Statements and their values are never logged: they hold clinical text.
SETTINGS = """\
# Written anew at every start. Put your own settings into local.conf beside this file.
listen_addresses = ''
unix_socket_directories = '{run}'
unix_socket_permissions = 0700
max_connections = {connections}
shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
io_method = sync
max_parallel_workers_per_gather = 0
jit = off
fsync = {safe}
synchronous_commit = {safe}
full_page_writes = {safe}
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
default_text_search_config = 'pg_catalog.english'
idle_in_transaction_session_timeout = '10min'
client_connection_check_interval = '5s'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
"""
# Tests write and take back without end. Counted between the two a table seems empty for good, and four small tables were then joined in
# nested loops for minutes; a table that was never counted is planned for by its size.
THROWAWAY = """\
autovacuum = off
"""


def url(run: Path) -> str:
    """The address for DATABASE_URL of a server with its socket in this folder; the socket's folder travels percent-encoded in `host`."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(run), safe='')}"


def start(places: Places, programs: Programs, *, throwaway: bool) -> None:
    """Make the cluster if there is none, start the server and wait until it takes connections.

    Raises EmbeddedError with the end of the server's log when it does not come up.
    """
    _create(places, programs, throwaway=throwaway)
    _clear_stale_pid_file(places)
    _configure(places, throwaway=throwaway)
    log = places.logs / "postgres.log"
    answer = places.account.run(
        [str(programs.postgres / "pg_ctl"), "start", "-w", "-t", "90", "-s", "-D", str(places.cluster), "-l", str(log)],
        home=places.home,
        seconds=120,
    )
    if answer.returncode:
        raise EmbeddedError(f"PostgreSQL did not start: {answer.stderr.strip()}\nThe end of {log}:\n{tail(log)}")
    _create_database(places, programs)


def running(places: Places) -> int | None:
    """The postmaster's pid when it is ours and takes connections; waits for one that is still starting or recovering."""
    deadline = time.monotonic() + 60
    while (pid := _postmaster(places)) is not None:
        if _state(places) == "ready" and _answers(places.postgres_socket):
            return pid
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"PostgreSQL (process {pid}) runs but takes no connections. See {places.logs / 'postgres.log'}; "
                "`manage.py services stop` ends it."
            )
        time.sleep(0.05)
    return None


def stop(places: Places, programs: Programs) -> None:
    """Stop the server: politely (open transactions are rolled back), then by force. Does nothing where none runs."""
    if (pid := _postmaster(places)) is None:
        return
    family = [pid, *processes.descendants(pid)]
    for mode, patience in (("fast", 20), ("immediate", 10)):
        places.account.run(
            [str(programs.postgres / "pg_ctl"), "stop", "-m", mode, "-w", "-t", str(patience), "-s", "-D", str(places.cluster)],
            home=places.home,
            seconds=patience + 10,
        )
        if not processes.wait_gone(family, seconds=2):
            return
    for each in family:
        processes.send(each, signal.SIGKILL)
    if left := processes.wait_gone(family, seconds=5):
        raise EmbeddedError(f"PostgreSQL's processes {left} do not end.")


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _create(places: Places, programs: Programs, *, throwaway: bool) -> None:
    cluster = places.cluster
    try:
        major = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        major = ""
    if major:
        if major != str(POSTGRES_MAJOR):
            raise EmbeddedError(
                f"{cluster} was made by PostgreSQL {major}, and the installed one is {POSTGRES_MAJOR}. "
                "Dump it with the older version and load it into a fresh data folder (docs/operations.md)."
            )
        return
    # initdb works beside the final name: a killed one leaves nothing that looks like a cluster.
    fresh = cluster.with_name("postgres.new")
    places.account.run(["/bin/rm", "-rf", str(fresh)], home=places.home)
    answer = places.account.run(
        [
            str(programs.postgres / "initdb"), "-D", str(fresh), "-U", USER, "--auth=peer", "--encoding=UTF8",
            # The built-in provider sorts alike on every machine and needs no locale installed.
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            *(["--no-sync"] if throwaway else []),
        ],
        home=places.home,
    )  # fmt: skip
    if answer.returncode:
        raise EmbeddedError(f"initdb could not make {cluster}: {answer.stderr.strip() or answer.stdout.strip()}")
    places.account.run(["/bin/mv", str(fresh), str(cluster)], home=places.home)


def _configure(places: Places, *, throwaway: bool) -> None:
    account = places.account
    settings = SETTINGS.format(
        run=_quoted(places.run),
        safe="off" if throwaway else "on",
        # Tests claim from 64 threads, and several test processes may share one cluster.
        connections=300 if throwaway else 80,
    )
    if throwaway:
        settings += THROWAWAY
    if (places.cluster / "local.conf").exists():
        settings += "include 'local.conf'\n"
    account.write(places.cluster / "postgresql.conf", settings)
    # The kernel says who is at the other end of a Unix socket: no password, and nobody but these two.
    account.write(places.cluster / "pg_hba.conf", "local all all peer map=rounds\n")
    names = dict.fromkeys([account.name, "root"])
    account.write(places.cluster / "pg_ident.conf", "".join(f'rounds "{name}" {USER}\n' for name in names))


def _quoted(path: Path) -> str:
    """A folder inside a quoted list setting: doubled quotes for the file, double quotes for the list."""
    inner = '"' + str(path).replace('"', '""') + '"'
    return inner.replace("'", "''")


def _create_database(places: Places, programs: Programs) -> None:
    """Create the database on the first start; a marker saves the question on later ones."""
    marker = places.home / "database-made"
    if marker.exists():
        return
    question = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608
    psql = str(programs.postgres / "psql")
    arguments = [psql, "-X", "-At", "-v", "ON_ERROR_STOP=1", "-h", str(places.run), "-U", USER, "-d", "postgres", "-c"]
    answer = places.account.run([*arguments, question], home=places.home)
    if not answer.returncode and answer.stdout.strip() != "1":
        answer = places.account.run([*arguments, f"CREATE DATABASE {DATABASE} TEMPLATE template0"], home=places.home)
    if answer.returncode:
        raise EmbeddedError(f"The database {DATABASE!r} could not be created: {answer.stderr.strip()}")
    places.account.write(marker, "")


def _pid_file(places: Places) -> list[str]:
    return _lines(places.cluster / "postmaster.pid")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _postmaster(places: Places) -> int | None:
    """The live postmaster of our cluster. A stale file may name a dead process, a zombie or somebody else's."""
    lines = _pid_file(places)
    if not lines or not re.fullmatch(r"\d+", lines[0]):
        return None
    pid = int(lines[0])
    return pid if processes.alive(pid) and _is_ours(pid, places) else None


def _is_ours(pid: int, places: Places) -> bool:
    command = processes.arguments(pid)
    if not command or "postgres" not in Path(command[0]).name:
        return False
    folder = processes.working_directory(pid)
    # In a container another account's folder may be hidden; the command line never is.
    return folder == places.cluster if folder is not None else str(places.cluster) in " ".join(command)


def _state(places: Places) -> str:
    lines = _pid_file(places)
    return lines[7].strip() if len(lines) > 7 else "starting"


def _clear_stale_pid_file(places: Places) -> None:
    """Remove a lock file of PostgreSQL's when the pid in it is a zombie or somebody else's: it would be taken for a running server.

    Backends outlive a killed postmaster for a moment; two servers on one cluster would destroy it. So they go first.
    """
    orphans = [pid for pid in processes.standing_in(places.cluster) if pid != _postmaster(places)]
    if left := processes.wait_gone(orphans, seconds=3):
        for pid in left:
            processes.send(pid, signal.SIGKILL)
        if left := processes.wait_gone(left, seconds=5):
            raise EmbeddedError(f"Processes {left} of an earlier PostgreSQL still hold {places.cluster} and do not end.")
    if _postmaster(places) is not None:
        return
    for path in (places.cluster / "postmaster.pid", places.run / f"{POSTGRES_SOCKET}.lock"):
        lines = _lines(path)
        # PostgreSQL judges a pid that is gone by itself, with its shared-memory interlock: leave that case to it.
        if lines and lines[0].strip().isdigit() and processes.exists(int(lines[0])):
            places.account.run(["/bin/rm", "-f", str(path)], home=places.home)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), _connected(path) as connection:
        connection.sendall(SSL_REQUEST)
        return connection.recv(1) in (b"S", b"N")
    return False


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        yield connection
