"""What everybody asked for and what they were told, as JSON lines: the half of the evidence that is not in the database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"


@dataclass
class Operation:
    """One thing asked for. `unknown` until somebody says otherwise: it may have happened, or not."""

    client: str
    op: str
    args: dict[str, Any]
    outcome: str = UNKNOWN
    answer: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    seconds: float = 0.0

    def ok(self, **answer: Any) -> None:
        """It was acknowledged: it must be in the database for ever."""
        self.outcome, self.answer = OK, answer

    def fail(self, **answer: Any) -> None:
        """It was refused: it must not be there."""
        self.outcome, self.answer = FAIL, answer


class History:
    """Operations of one lane in the order in which they ended, in memory and in a file. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.began = path, time.monotonic()
        self._out = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._done: list[Operation] = []

    @contextmanager
    def asking(self, client: str, op: str, **args: Any) -> Iterator[Operation]:
        """Records the operation when the block ends. An exception leaves it unknown, and goes on."""
        asked = Operation(client, op, args, began=time.monotonic() - self.began)
        try:
            yield asked
        finally:
            asked.seconds = time.monotonic() - self.began - asked.began
            self._write(asked)

    def note(self, client: str, op: str, **args: Any) -> None:
        """Something that was done and needs no answer: a fault, for instance."""
        with self.asking(client, op, **args) as asked:
            asked.ok()

    def _write(self, done: Operation) -> None:
        line = {
            "t": round(done.began, 4), "client": done.client, "op": done.op, "args": done.args, "outcome": done.outcome,
            "answer": done.answer, "ms": round(1000 * done.seconds, 1),
        }  # fmt: skip
        with self._lock:
            self._done.append(done)
            self._out.write(json.dumps(line, default=str) + "\n")

    def of(self, op: str, outcome: str | None = None) -> list[Operation]:
        with self._lock:
            return [done for done in self._done if done.op == op and outcome in (None, done.outcome)]

    def close(self) -> None:
        self._out.close()
