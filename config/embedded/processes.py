"""What the kernel says about processes: alive or not, whose, how large. Read from /proc; from `ps` where there is none (macOS)."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "stat").exists()
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """A process that can be told from a later one with the same number: its pid and when it began."""

    pid: int
    began: str

    def alive(self) -> bool:
        return began(self.pid) == self.began and alive(self.pid)


def identify(pid: int) -> Identity | None:
    """The identity of a live process, None when there is none."""
    start = began(pid)
    return Identity(pid, start) if start and alive(pid) else None


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie: a dead server that nobody has reaped still answers kill(pid, 0)."""
    if pid <= 0:
        return False
    if HAS_PROC:
        fields = _stat(pid)
        return bool(fields) and fields[0] not in ("Z", "X")
    state = _ps(pid, "stat")
    return bool(state) and not state.startswith("Z")


def exists(pid: int) -> bool:
    """Whether the kernel still knows the number, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def began(pid: int) -> str:
    """When the process began, in the kernel's own unit; empty when it is gone."""
    if HAS_PROC:
        fields = _stat(pid)
        return fields[19] if len(fields) > 19 else ""
    return _ps(pid, "lstart")


def arguments(pid: int) -> list[str]:
    """The command line; empty when the process is gone or hides it."""
    if HAS_PROC:
        try:
            return [part.decode(errors="replace") for part in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0") if part]
        except OSError:
            return []
    return _ps(pid, "command").split()


def working_directory(pid: int) -> Path | None:
    """Where the process stands, None when that may not be read (another user's process in a container)."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def standing_in(folder: Path) -> list[int]:
    """Pids of live processes whose working directory is this folder, as far as they may be read."""
    return [pid for pid in _pids() if working_directory(pid) == folder and alive(pid)]


def descendants(pid: int) -> list[int]:
    """Pids of all children, their children and so on."""
    children: dict[int, list[int]] = {}
    for each, parent in _parents().items():
        children.setdefault(parent, []).append(each)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.append(child)
            waiting.append(child)
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes together, in bytes. Pages they share are counted once for each."""
    return sum(_resident(pid) for pid in pids)


def proportional_bytes(pids: Iterable[int]) -> int | None:
    """Memory of these processes with shared pages divided between their users, in bytes; None where it may not be read."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            if not HAS_PROC:
                return None
            continue  # it has just ended
        except OSError:
            return None
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def wait_gone(pids: Iterable[int], *, seconds: float) -> list[int]:
    """Wait until these processes are gone; returns those that are still there."""
    deadline = time.monotonic() + seconds
    left = [pid for pid in pids if alive(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if alive(pid)]
    return left


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_group(pid: int, number: int) -> None:
    """Signal the process group a child leads; it may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def dies_with_parent(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn` that asks Linux to signal the child when the thread that started it dies. None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        # The parent may have died between fork and prctl: then nobody would ever signal.
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _stat(pid: int) -> list[str]:
    """Fields 3 and later of /proc/PID/stat; the name before them may hold spaces and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()] if HAS_PROC else list(_parents())


def _parents() -> dict[int, int]:
    """Each live pid with its parent's."""
    if HAS_PROC:
        return {pid: int(fields[1]) for pid in _pids() if (fields := _stat(pid))}
    answer = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    return {int(pid): int(parent) for pid, parent in (line.split() for line in answer.splitlines())}


def _resident(pid: int) -> int:
    if HAS_PROC:
        try:
            return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0
    return int(_ps(pid, "rss") or 0) * 1024


def _ps(pid: int, field: str) -> str:
    return subprocess.run(["ps", "-o", f"{field}=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
