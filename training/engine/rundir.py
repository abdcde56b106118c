"""The attempt folder: the only thing the web side and the engine share. Standard library only.

``events.jsonl`` grows by whole flushed lines, so a reader that remembers a byte offset never sees half an event.
``result.json`` appears complete or not at all.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from training.engine import spec as specs
from training.engine.errors import InputError, SpecError

SPEC, EVENTS, RESULT, INPUTS, OUTPUT = "spec.json", "events.jsonl", "result.json", "inputs", "output"
# Beside the output, where the kind trained an adapter: what was merged into it.
ADAPTER = "output_adapter"
STOP, KEEP = "stop", "keep"
PHASES = (
    "preparing",
    "tokenizing",
    "training",
    "checkpointing",
    "generating",
    "evaluating",
    "searching",
    "merging",
    "extracting",
    "saving",
)


def create(folder: Path, spec: specs.Spec, inputs: Mapping[str, Iterable[Mapping[str, Any]]] | None = None) -> Path:
    """Lay out an attempt: inputs first, then ``spec.json`` atomically, so a spec that is there has its inputs."""
    (folder / INPUTS).mkdir(parents=True, exist_ok=True)
    for name, rows in (inputs or {}).items():
        write_jsonl(folder / INPUTS / name, rows)
    write_atomic(folder / SPEC, specs.dumps(spec))
    return folder


def read_spec(folder: Path) -> specs.Spec:
    """Raises ``SpecError`` when the file is missing, is not JSON, or does not fit ``spec.parse``."""
    try:
        raw = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(SPEC, "is missing") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise SpecError(SPEC, "is not JSON in UTF-8") from None
    return specs.parse(raw)


def write_atomic(path: Path, text: str) -> None:
    """Temporary file, fsync, rename, fsync of the folder: after a crash the old or the new file, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Written last of all. A NaN is refused: JSON has none, and a run that ends in one has not succeeded."""
    write_atomic(folder / RESULT, json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False))


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result, or None while there is none. A broken file is a broken promise and raises ``InputError``."""
    try:
        raw = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{RESULT} is not JSON in UTF-8") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("ok"), bool):
        raise InputError(f"{RESULT} does not say whether the attempt succeeded")
    return raw


def asked_to_keep(folder: Path) -> bool:
    """Whether the supervisor left ``stop`` saying ``keep``: end the training here and save the model as usual."""
    try:
        return (folder / STOP).read_text(encoding="ascii").strip() == KEEP
    except FileNotFoundError:
        return False


class Events:
    """The writer of ``events.jsonl``. One line an event, flushed; safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self._out = (folder / EVENTS).open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._out.close()

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps({"t": round(time.time(), 3)} | event, ensure_ascii=False)
        with self._lock:
            if not self._out.closed:
                self._out.write(line + "\n")
                self._out.flush()

    def progress(self, phase: str, done: int, total: int) -> None:
        assert phase in PHASES, phase
        self._append({"type": "progress", "phase": phase, "done": done, "total": total})

    def metric(self, step: int, name: str, value: float) -> None:
        """A NaN or infinity is left out of the file, which stays plain JSON."""
        if value == value and abs(value) != float("inf"):
            self._append({"type": "metric", "step": step, "name": name, "value": value})

    def sample(self, step: int, index: int, text: str) -> None:
        self._append({"type": "sample", "step": step, "index": index, "text": text})

    def checkpoint(self, step: int) -> None:
        """After the rename: the supervisor may take it over now."""
        self._append({"type": "checkpoint", "step": step})

    def log(self, message: str) -> None:
        """``message`` never carries clinical text."""
        self._append({"type": "log", "message": message})


class Unheard(Events):
    """What a process that is not the first writes its events to: nowhere."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _append(self, event: dict[str, Any]) -> None:
        pass


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Whole events from byte ``offset`` on, and the offset to continue from. A torn last line waits for its end;
    a complete line that is not a JSON object (a killed writer's) is passed over."""
    try:
        with (folder / EVENTS).open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    events = []
    for line in whole.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "type" in event:
            events.append(event)
    return events, offset + len(whole)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """One object a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last index is the answer
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def read_jsonl(path: Path, fields: Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """Rows with at least ``fields`` of the given types. Raises ``InputError`` with file, line and field."""
    name = path.name
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise InputError(f"inputs/{name} is missing") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise InputError(f"inputs/{name} line {number}: is not JSON in UTF-8") from None
        if not isinstance(row, dict):
            raise InputError(f"inputs/{name} line {number}: is not an object")
        for key, kind in fields.items():
            if key not in row:
                raise InputError(f"inputs/{name} line {number}: {key} is missing")
            if not isinstance(row[key], kind):
                raise InputError(f"inputs/{name} line {number}: {key} is not {kind.__name__}")
            if kind is list:
                _check_messages(row[key], f"inputs/{name} line {number}: {key}")
        yield row


def _check_messages(messages: list[Any], where: str) -> None:
    """A list field is a conversation: {"role", "content"} objects of text."""
    if not messages:
        raise InputError(f"{where} is empty")
    for message in messages:
        if not (
            isinstance(message, dict) and message.get("role") in ("system", "user", "assistant") and isinstance(message.get("content"), str)
        ):
            raise InputError(f"{where} is not a list of messages with a role and content")
