"""What a child may not do, as the settings say and as this machine allows: the orders for `jobs.cage`, and a watch on its memory.

A child reads models and texts that others wrote. It gets no network, no way to the database and the secret, writes in its own folder
only, makes no file and takes no memory beyond a limit, and is the first that the system ends when memory runs out.
"""

import compileall
import functools
import json
import logging
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from jobs import cage, machine
from jobs.errors import EngineFailed, Unprepared
from web.templatetags.rounds import size as words

log = logging.getLogger(__name__)

CUT, REQUIRED, OPEN = "cut", "required", "open"
GB = 10**9
OPEN_FILES = 8192
# Of the memory there is, for a child of whom nothing was said: the rest is the database's, the workers' and the pages'.
SHARE = 0.9
PROC = Path("/proc")


@dataclass(frozen=True)
class Able:
    """Why this machine cannot take the network (`namespaces`) or other folders (`files`) from a child; empty where it can."""

    namespaces: str
    files: str


@functools.cache
def able() -> Able:
    """Tried once in each process, with a program that does nothing."""
    if sys.platform != "linux":
        return Able("only Linux can", "only Linux can")
    found = Able(_trial(network=False, hide=_hidden()), _trial(write=[]))
    if found.namespaces:
        log.warning("Jobs keep the network here: %s.", found.namespaces)
    if found.files:
        log.warning("Jobs may write outside their folders here: %s.", found.files)
    # A child that may not write beside our code could keep nothing of compiling it.
    compileall.compile_dir(settings.PROJECT / "training" / "engine", quiet=2)
    return found


def _trial(**wanted: Any) -> str:
    done = subprocess.run(
        [*_door(wanted), "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("Not confined: ")[2] or f"exit code {done.returncode}"


def _door(wanted: dict[str, Any]) -> list[str]:
    return [sys.executable, "-I", "-S", cage.__file__, json.dumps(wanted)]


def command(program: list[str], *, folder: Path, network: bool) -> list[str]:
    """`program`, started through the cage. `network`: this kind of work asks a server that the operator named.

    Raises Unprepared when the network has to be cut and this machine cannot do it.
    """
    if sys.platform != "linux":
        return program
    can = able()
    cut = not network and settings.ROUNDS_CHILD_NETWORK != OPEN
    if cut and can.namespaces and settings.ROUNDS_CHILD_NETWORK == REQUIRED:
        raise Unprepared(
            "network_not_cut", f"This worker cannot take the network from a job, and the settings require it: {can.namespaces}."
        )
    wanted: dict[str, Any] = {"open_files": OPEN_FILES, "file_bytes": round(settings.ROUNDS_CHILD_FILE_GB * GB)}
    if not can.namespaces:
        wanted |= {"network": not cut, "hide": _hidden()}
    if not can.files:
        wanted["write"] = [str(folder)]
    return [*_door(wanted), *program]


def _hidden() -> list[str]:
    """The embedded services and the secret, and the Unix sockets of whatever database and queue there is: kernels let in by account."""
    data = Path(settings.DATA_DIR)
    found = [data / "services", data / "secret_key"]
    database = settings.DATABASES["default"]
    if (host := str(database.get("HOST", ""))).startswith("/"):
        found.append(_socket_or_folder(Path(host) / f".s.PGSQL.{database.get('PORT') or 5432}"))
    broker = urlsplit(settings.CELERY_BROKER_URL)
    if broker.scheme.endswith("+socket"):
        found.append(_socket_or_folder(Path(broker.path)))
    return [str(path) for path in found if _exists(path)]


def _socket_or_folder(path: Path) -> Path:
    """The folder where it is private: a server that starts anew makes its socket anew."""
    with suppress(OSError):
        if not stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
            return path.parent
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False  # nor can the child reach it


def most_memory() -> int | None:
    """Bytes a child and all it starts may have together; None without a limit."""
    if settings.ROUNDS_CHILD_MEMORY_GB is not None:
        return round(settings.ROUNDS_CHILD_MEMORY_GB * GB) or None
    total = machine.memory()
    return round(SHARE * total) if total else None


class Memory:
    """Watches what a child and its descendants hold: their own pages and shared ones, not files that are only mapped.

    No limit of the kernel's would do: on address space it ends CUDA, which reserves terabytes, and a control group is rarely ours to make.
    """

    def __init__(self, child: int) -> None:
        self.child, self.most = child, most_memory()

    def look(self) -> None:
        """Raises EngineFailed when they hold more than they may. Trying again would end the same way."""
        if self.most is None:
            return
        pids = list(_family(self.child))
        held = sum(_held(pid) for pid in pids)
        if held > self.most and len(pids) > 1:
            # What two share was counted twice; the exact figure takes the kernel a walk through every page.
            held = sum(_share(pid) for pid in pids)
        if held > self.most:
            raise EngineFailed(
                "out_of_memory", f"It held {words(held)} of memory and may have {words(self.most)} on this machine; it was ended."
            )


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _family(int(child))


def _held(pid: int) -> int:
    return _kilobytes(PROC / str(pid) / "status", ("RssAnon", "RssShmem", "VmSwap"))


def _share(pid: int) -> int:
    return _kilobytes(PROC / str(pid) / "smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss"))


def _kilobytes(path: Path, names: tuple[str, ...]) -> int:
    """The sum of these lines in bytes; 0 for a process that has just ended."""
    try:
        lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
        return sum(1024 * int(value.split()[0]) for name, _, value in lines if name in names)
    except (OSError, ValueError, IndexError):
        return 0
