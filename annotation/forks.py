"""Processes that help a child of the job runner: forks of it, which end with it. No Django, no database: never to be used in a server."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

MOST = 4


def processors() -> int:
    """How many this process may use, up to what a helper's work is worth."""
    return min(len(os.sched_getaffinity(0)), MOST)


class Failed(Exception):
    """A helper ended without an answer, or said why it could not give one, without words that may hold text."""


class Fork:
    """A fork of this process that runs `serve(pipe)` and then is gone; `pipe` is our end of the pipe to it.

    `others` are helpers begun before: it must not hold their pipes open, or they would not hear that we are gone.
    """

    def __init__(self, serve: "Callable[[Connection[Any, Any]], None]", others: "Iterable[Fork]" = ()) -> None:
        self.pipe, theirs = Pipe()
        self._pid = os.fork()
        if not self._pid:
            # Nothing of ours is flushed or unwound there, and it never returns.
            try:
                for other in others:
                    other.pipe.close()
                self.pipe.close()
                with suppress(EOFError, OSError):
                    serve(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def receive(self) -> Any:
        """What it sends next. Raises what it raised where that is memory, the disk or a ValueError of ours, and Failed else."""
        try:
            said = self.pipe.recv()
        except EOFError:
            raise Failed("A helping process ended early.") from None
        if isinstance(said, Exception):
            raise said
        return said

    def end(self) -> None:
        self.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def answer(pipe: "Connection[Any, Any]", work: Callable[[], Any], *, ours: tuple[type[Exception], ...] = (MemoryError, OSError)) -> None:
    """Send what `work()` returns, or what it raised: of anything but `ours` only the name, since its words may hold text of a file."""
    try:
        said = work()
    except ours as error:
        said = error
    except Exception as error:
        said = Failed(f"A helping process failed: {type(error).__name__}.")
    pipe.send(said)
