"""The toy corpus as a file, and the tiny family built by the real worker."""

import io
import json

from accounts.models import User
from tests.workers import wait_until
from training import families
from training.engine import toytext


def corpus(rows: int) -> io.BytesIO:
    return io.BytesIO("".join(json.dumps(row) + "\n" for row in toytext.samples(rows, seed=3)).encode())


def build_family(actor: User) -> None:
    """Thirteen jobs, as `make run` submits them, with fewer steps."""
    families.start(preset="test", actor=actor)

    def built() -> bool:
        progress = families.progress()
        assert progress is not None
        assert not progress.failed
        return progress.finished

    wait_until(built, seconds=600, why="the tiny family is built", every=1.0)
