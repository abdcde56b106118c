"""A child must not outlive its supervisor: three independent ways to notice that it is gone. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

FD, PARENT, EXIT = "ROUNDS_LIFELINE_FD", "ROUNDS_PARENT_PID", 75
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
