"""Two locks of the kernel's on files in the data folder; both vanish with the process that held them, however it ended.

`starting` is exclusive: one process at a time starts or stops servers, the others wait.
`using` is shared: every process that relies on the servers holds it, so the last one out can tell that it is the last.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import EmbeddedError

_held: dict[Path, int] = {}


@contextlib.contextmanager
def starting(data_dir: Path, *, seconds: float = 180) -> Iterator[None]:
    """Hold the exclusive lock. Raises EmbeddedError when another process keeps it longer than `seconds`."""
    path = data_dir / "services.lock"
    handle = _open(path)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"Another process has held {path} for {seconds:.0f} s: it starts or stops the services.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def use(data_dir: Path) -> None:
    """Hold the shared lock until this process ends or releases it. Holding it twice is holding it once."""
    if data_dir not in _held:
        handle = _open(data_dir / "services.users")
        fcntl.flock(handle, fcntl.LOCK_SH)
        _held[data_dir] = handle


def release(data_dir: Path) -> None:
    """Let go of the shared lock."""
    if (handle := _held.pop(data_dir, None)) is not None:
        os.close(handle)


def in_use(data_dir: Path) -> bool:
    """Whether any process, this one included, holds the shared lock."""
    handle = _open(data_dir / "services.users")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        raise EmbeddedError(
            f"{path} belongs to another user, so the services there are not yours to start. "
            "Run as that user, or set ROUNDS_DATA_DIR to a folder of your own."
        ) from None
