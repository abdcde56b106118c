"""Children forked from the worker that supervises them: the parent, pipe, group and files of a started program, without its start.

Starting an interpreter each time would spend the harness's two cores on imports. Programs other than the pretended trainer are started
as always.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

MARK = "forked-trainer"


class Forked:
    """As much of `subprocess.Popen` as the runner uses."""

    def __init__(
        self, arguments: list[str], *, cwd: Any, env: dict[str, str], pass_fds: tuple[int, ...], stdout: Any, **kwargs: Any
    ) -> None:
        assert kwargs == {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "start_new_session": True}, kwargs
        self.args = arguments
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, os.fspath(cwd), env, pass_fds, stdout.fileno())

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _become(arguments: list[str], cwd: str, env: dict[str, str], pass_fds: tuple[int, ...], output: int) -> None:
    """In the child: what exec would have done, then the trainer. Never returns."""
    code = 70
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        kept = sorted({0, 1, 2, *pass_fds})
        for low, high in zip(kept, [*kept[1:], 65_536], strict=True):
            os.closerange(low + 1, high)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        from benchmarks.faults.fake import trainer

        code = trainer.main(arguments[1])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def subprocess_with_forks() -> Any:
    """A stand-in for the module, for those who call it by its name."""

    class Stand:
        def __getattr__(self, name: str) -> Any:
            return getattr(subprocess, name)

        @staticmethod
        def Popen(arguments: list[str], **kwargs: Any) -> Any:
            if MARK not in arguments:
                return subprocess.Popen(arguments, **kwargs)
            # What stands before it is the door that a program is started through (jobs/cage.py).
            return Forked(arguments[arguments.index(MARK) :], **kwargs)

    return Stand()
