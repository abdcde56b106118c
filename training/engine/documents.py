"""Documents as a model reads them: plain text, task outputs, and the two joined for pre-instruction tuning. Standard library only.

There is no chat markup here. The order within a sequence, task output before document, is a reading of "task data and the original
documents" (arXiv 2505.10717, 3.1.2), which says no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.engine import rundir
from training.engine.errors import InputError

SHAPES = {"qa": 2, "relations": 3}


def read(path: Path) -> list[dict[str, Any]]:
    """{"text", "outputs"} a row, outputs by kind as they came. Raises ``InputError`` with line and field."""
    rows = []
    for number, row in enumerate(rundir.read_jsonl(path, {"text": str}), start=1):
        outputs = row.get("outputs", {})
        if not isinstance(outputs, dict):
            raise InputError(f"inputs/{path.name} line {number}: outputs is not an object")
        for kind, content in outputs.items():
            if not _fits(kind, content):
                raise InputError(f"inputs/{path.name} line {number}: outputs.{kind} is not of its kind's shape")
        rows.append({"text": row["text"], "outputs": outputs})
    if not rows:
        raise InputError(f"inputs/{path.name} has no rows")
    return rows


def _fits(kind: str, content: object) -> bool:
    if kind == "summary":
        return isinstance(content, str)
    if kind not in ("qa", "entities", "relations") or not isinstance(content, list):
        return False
    size = SHAPES.get(kind)
    return all(isinstance(one, str) if size is None else _texts(one, size) for one in content)


def _texts(value: object, size: int) -> bool:
    return isinstance(value, list) and len(value) == size and all(isinstance(part, str) for part in value)


def answered(question: str, answer: str) -> str:
    """A question and its answer as one element. Evaluation asks in this very form."""
    return f"{question}\n{answer}"


def elements(outputs: Mapping[str, Any], task: str) -> list[str]:
    """The elements of one task's output: each question with its answer, each entity, each relation, or the summary; none if absent."""
    found = outputs.get(task)
    if not found:
        return []
    match task:
        case "summary":
            return [found]
        case "qa":
            return [answered(question, answer) for question, answer in found]
        case "entities":
            return list(found)
        case "relations":
            return [" ".join(parts) for parts in found]
    raise AssertionError(f"no task {task!r}")


def sequence(row: Mapping[str, Any], task: str, *, with_document: bool) -> list[str]:
    """The parts of one document's sequence, each to be followed by EOS: the outputs of one task, and in phase two the document after."""
    parts = elements(row["outputs"], task)
    return [*parts, row["text"]] if with_document else parts
