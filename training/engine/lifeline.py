"""A child must not outlive its supervisor: three independent ways to notice that it is gone, and a fourth to notice that another
has taken the job over. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

FD, PARENT, EXIT = "ROUNDS_LIFELINE_FD", "ROUNDS_PARENT_PID", 75
DISK_FULL = 74
LEASE = "lease"
_PR_SET_PDEATHSIG = 1


def hold() -> None:
    """Ask the kernel for SIGKILL when the parent dies, then make sure it has not died already, then watch the pipe.

    The order matters: a parent that dies before the request is only seen by comparing process ids afterwards. The pipe
    covers a supervisor that is alive but has given this attempt up, and systems without a parent-death signal.
    Without the two variables (a run by hand) nothing is watched.
    """
    if parent := os.environ.get(PARENT):
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):
            os._exit(EXIT)
    if fd := os.environ.get(FD):
        threading.Thread(target=_watch, args=(int(fd),), name="lifeline", daemon=True).start()


def _watch(fd: int) -> None:
    os.set_inheritable(fd, False)  # a grandchild that kept the read end would not matter, one less descriptor does
    while True:
        try:
            if os.read(fd, 64):
                continue
        except InterruptedError:
            continue
        except OSError:
            pass
        os._exit(EXIT)


def boot_clock() -> float:
    """Seconds since this machine started, also while it slept: what a lease's end is written in. One clock for parent and child."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def lease_is_live(folder: Path) -> bool:
    """Whether the supervisor still has its right to this attempt, by the ``lease`` file it renews; True where there is none (run by hand).

    A child frozen together with its supervisor, or with its machine, wakes up here: whoever holds the job now must not meet its writes.
    """
    try:
        return boot_clock() < float((folder / LEASE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False


def leave_unless_live(folder: Path) -> None:
    """End this process at once, with nothing more written, when the lease has run out."""
    if not lease_is_live(folder):
        os._exit(EXIT)
