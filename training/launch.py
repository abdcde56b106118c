"""The seam: how an attempt's folder becomes a running process. The runner supervises it; a cluster would submit and poll it.

Nothing passes but the folder: an attempt can be repeated by hand with the very command below.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Protocol

from django.conf import settings

from training.engine import rundir

PROJECT = Path(__file__).resolve().parent.parent


class Launcher(Protocol):
    """Where attempts run. `submit` returns a handle that is enough for the other three, in another process too."""

    def submit(self, folder: Path) -> str: ...

    def poll(self, handle: str) -> int | None:
        """The exit status, or None while it runs."""

    def cancel(self, handle: str) -> None:
        """Ask it to stop at its next step."""

    def logs(self, handle: str, *, last: int = 4096) -> str: ...


def command(folder: Path, processes: int = 1) -> list[str]:
    """One job, one child: the engine on one attempt's folder, or torchrun that starts so many of them and ends with them."""
    if processes > 1:
        return [sys.executable, "-m", "training.engine.ranks", "--processes", str(processes), str(folder)]
    return [sys.executable, "-m", "training.engine", str(folder)]


def environment() -> dict[str, str]:
    """What the engine needs besides the runner's clean environment: our code on its path, and no network, ever."""
    return {
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": str(settings.ROUNDS_ENGINE_THREADS),
        "MKL_NUM_THREADS": str(settings.ROUNDS_ENGINE_THREADS),
    }


class Local:
    """A process group on this machine: what `Launcher` means at its simplest, and how an attempt is repeated by hand.

    Its specification says how many processes train together; more than one is torchrun's work.
    """

    def __init__(self) -> None:
        self._children: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def submit(self, folder: Path) -> str:
        with _log(folder) as out:
            child = subprocess.Popen(
                command(folder, rundir.read_spec(folder).processes), cwd=PROJECT, env={"PATH": os.defpath} | environment(), stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        handle = str(child.pid)
        self._children[handle] = (child, folder)
        return handle

    def poll(self, handle: str) -> int | None:
        return self._children[handle][0].poll()

    def cancel(self, handle: str) -> None:
        child, _ = self._children[handle]
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)

    def logs(self, handle: str, *, last: int = 4096) -> str:
        _, folder = self._children[handle]
        return (folder / "engine.log").read_bytes()[-last:].decode(errors="replace")


def _log(folder: Path) -> IO[bytes]:
    return (folder / "engine.log").open("ab")
