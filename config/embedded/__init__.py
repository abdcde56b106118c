"""PostgreSQL and Redis for a machine that has none, run from the binaries in their PyPI wheels.

`ensure()` starts them once for a data folder and says where they listen: Unix sockets in a 0700 folder, no TCP port. `DATABASE_URL`
and `CELERY_BROKER_URL` override: then that service is somebody else's and is not started. Standard library only, because this
runs before Django knows its database. docs/operations.md says where the files lie and how to back them up.
"""

import atexit
import contextlib
import os
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from . import locks, places, postgres, processes, programs, redis
from .errors import EmbeddedError

__all__ = [
    "EmbeddedError",
    "Endpoints",
    "ServiceStatus",
    "data_dir_from",
    "destroy",
    "ensure",
    "keep",
    "name_endpoints",
    "provide",
    "release",
    "status",
    "stop",
]  # fmt: skip

PROJECT = Path(__file__).resolve().parent.parent.parent
SERVICES = ("postgres", "redis")
OVERRIDES = {"postgres": "DATABASE_URL", "redis": "CELERY_BROKER_URL"}


@dataclass(frozen=True)
class Endpoints:
    """Where the services listen; empty for one that was not asked for."""

    database_url: str
    broker_url: str


@dataclass(frozen=True)
class ServiceStatus:
    """What one service is doing. Memory in bytes; `proportional` divides shared pages and is None where that may not be read."""

    name: str
    state: str
    pid: int | None
    where: str
    resident: int
    proportional: int | None


def data_dir_from(environ: Mapping[str, str] = os.environ) -> Path:
    """The data folder: ROUNDS_DATA_DIR, else `data` in the project."""
    return Path(environ.get("ROUNDS_DATA_DIR") or PROJECT / "data").expanduser().absolute()


def ensure(
    data_dir: Path,
    services: Collection[str] = SERVICES,
    *,
    throwaway: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Endpoints:
    """Start the services that do not run yet and return where they listen. A second call finds them running (milliseconds).

    One process starts them, others wait for it. Servers killed with -9 are recovered. This process counts as a user of them until
    it ends or calls `release`. `throwaway` makes a fast cluster for tests: no fsync, so a crash of the machine may destroy it.
    Raises EmbeddedError with what to do about it.
    """
    if unknown := set(services) - set(SERVICES):
        raise ValueError(f"No such service: {', '.join(sorted(unknown))}")
    ours = [name for name in SERVICES if name in services and _is_ours(name, data_dir, environ)]
    given = {name: environ.get(OVERRIDES[name], "") if name in services else "" for name in SERVICES}
    if ours:
        folder = _open_data_dir(data_dir)
        with locks.starting(folder):
            locks.use(folder)
            found = places.settle(folder, throwaway=throwaway)
            for name in ours:
                if _pid(name, found) is None:
                    tools = programs.installed_for(found.account, found.programs)
                    if name == "postgres":
                        postgres.start(found, tools, throwaway=throwaway)
                    else:
                        redis.start(found, tools, throwaway=throwaway)
                given[name] = _url(name, found.run)
    return Endpoints(database_url=given["postgres"], broker_url=given["redis"])


def provide(environ: MutableMapping[str, str] = os.environ, *, data_dir: Path | None = None, throwaway: bool = False) -> Endpoints:
    """`ensure` for a command or a test run: names the services in the environment, and the last one out turns them off.

    Servers that `manage.py up` or another command still uses stay, and so do those of `manage.py services start`.
    Ends the process with the reason when they cannot be had.
    """
    data_dir = data_dir or _absolute_data_dir(environ)
    ours = [name for name in SERVICES if _is_ours(name, data_dir, environ)]
    try:
        endpoints = ensure(data_dir, throwaway=throwaway, environ=environ)
    except EmbeddedError as error:
        raise SystemExit(f"rounds: {error}") from error
    environ["DATABASE_URL"], environ["CELERY_BROKER_URL"] = endpoints.database_url, endpoints.broker_url
    if ours:
        atexit.register(_leave, data_dir, os.getpid())
    return endpoints


def name_endpoints(environ: MutableMapping[str, str] = os.environ) -> None:
    """Name in the environment where the services would listen, and start nothing: for commands that need settings, not data."""
    data_dir = _absolute_data_dir(environ)
    with contextlib.suppress(EmbeddedError):
        # Settings write a secret there: whoever makes the folder first decides who may look in.
        _open_data_dir(data_dir)
    run = _socket_folders(data_dir.resolve())[0]
    for name in SERVICES:
        environ[OVERRIDES[name]] = environ.get(OVERRIDES[name]) or _url(name, run)


def release(data_dir: Path) -> None:
    """This process uses the services no more. They go on running."""
    locks.release(data_dir.resolve())


def stop(data_dir: Path, *, if_unused: bool = False) -> bool:
    """Stop the services of this data folder, the broker last. With `if_unused` only when no process uses them. Returns whether it did."""
    folder = data_dir.resolve()
    if not folder.is_dir():
        return True
    with locks.starting(folder):
        if if_unused and (locks.in_use(folder) or _keep_file(folder).exists()):
            return False
        _keep_file(folder).unlink(missing_ok=True)
        if (found := places.remembered(folder)) is not None and found.home.exists():
            tools = programs.installed_for(found.account, found.programs)
            postgres.stop(found, tools)
            redis.stop(found)
    return True


def keep(data_dir: Path) -> None:
    """Let the services run on when their last user leaves, until `stop`."""
    _keep_file(_open_data_dir(data_dir)).touch(mode=0o600)


def destroy(data_dir: Path) -> None:
    """Stop the services of a throw-away data folder and delete their files, wherever those lie."""
    folder = data_dir.resolve()
    release(folder)
    if not folder.is_dir():
        return
    stop(folder)
    if (found := places.remembered(folder)) is not None:
        places.forget(found)
    for name in ("services.lock", "services.users"):
        (folder / name).unlink(missing_ok=True)


def status(data_dir: Path, environ: Mapping[str, str] = os.environ) -> list[ServiceStatus]:
    """What each service is doing. Starts nothing; waits for one that is just starting."""
    folder = data_dir.resolve()
    known = places.remembered(folder)
    answers = []
    for name in SERVICES:
        if not _is_ours(name, folder, environ):
            answers.append(ServiceStatus(name, f"not ours: {OVERRIDES[name]} names another", None, "", 0, None))
            continue
        pid = _pid(name, known) if known is not None and known.home.exists() else None
        family = [pid, *processes.descendants(pid)] if pid else []
        answers.append(
            ServiceStatus(
                name=name,
                state="running" if pid else "stopped",
                pid=pid,
                where=str(known.run) if known else "",
                resident=processes.resident_bytes(family),
                proportional=processes.proportional_bytes(family),
            )
        )
    return answers


def _leave(data_dir: Path, pid: int) -> None:
    """The last one out turns off the light. A forked child that runs its parent's exit functions is not the one who came in."""
    if os.getpid() != pid:
        return
    release(data_dir)
    stop(data_dir, if_unused=True)


def _pid(name: str, found: places.Places) -> int | None:
    return postgres.running(found) if name == "postgres" else redis.running(found)


def _url(name: str, run: Path) -> str:
    return postgres.url(run) if name == "postgres" else redis.url(run)


def _absolute_data_dir(environ: MutableMapping[str, str]) -> Path:
    """The data folder, written back absolute: children that stand elsewhere must mean the same one."""
    data_dir = data_dir_from(environ)
    if environ.get("ROUNDS_DATA_DIR"):
        environ["ROUNDS_DATA_DIR"] = str(data_dir)
    return data_dir


def _socket_folders(folder: Path) -> list[Path]:
    """Where this data folder's sockets lie, and where they would by default."""
    usual = folder / "services" / "run"
    try:
        known = places.remembered(folder)
    except EmbeddedError:
        known = None
    return [known.run, usual] if known else [usual]


def _is_ours(name: str, data_dir: Path, environ: Mapping[str, str]) -> bool:
    """Whether the environment leaves this service to us: it names none, or (inherited from a command of ours) our own."""
    named = environ.get(OVERRIDES[name], "")
    return not named or named in [_url(name, run) for run in _socket_folders(data_dir.resolve())]


def _keep_file(folder: Path) -> Path:
    return folder / "services.keep"


def _open_data_dir(data_dir: Path) -> Path:
    try:
        # 0711 for root, whose servers run as another account and must pass through; private for everyone else.
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"The data folder {data_dir} cannot be made ({error.strerror}). Name one in ROUNDS_DATA_DIR.") from error
    return data_dir.resolve()
