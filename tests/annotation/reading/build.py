"""Files for the readers, with text of our own; and what became of one."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation import reading
from annotation.reading.shapes import Record
from annotation.records import Problems

INSTRUCTION = "Summarise the note in one sentence for the discharge letter."
INPUT = "72-year-old man, chest pain since morning.\nTroponin normal twice, ECG unchanged."
GOOD, POOR = "Chest pain, infarction ruled out.", "Chest pain."
PROMPT = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": INPUT}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def mediflow(number: int = 1, **changes: Any) -> dict[str, Any]:
    made = {
        "instruction": INSTRUCTION, "input": f"Case {number}. {INPUT}", "output": GOOD, "task_type": "summarization",
        "input_data": "Discharge Summary", "output_format": "plain_text", "difficulty_level": "moderate", **changes,
    }  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def jsonl(rows: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def put(folder: Path, name: str, content: bytes | str | Any) -> Path:
    """A file in a folder: bytes and text as they are, anything else as JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8", newline="")
    return path


@dataclass
class Taken:
    found: reading.Detected
    records: list[Record]
    problems: Problems

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.problems.found]


def take(
    path: Path, *, name: str = "", format: str = "", shape: str = "", mapping: Mapping[str, str] | None = None, **options: str
) -> Taken:
    """What the wizard would make of a file with what it proposes itself, unless something else is said."""
    found = reading.detect(path, name=name)
    problems = Problems()
    if not (format or found.format):
        for problem in found.problems:
            problems.add(problem.line, problem.field, problem.message, problem.code)
        return Taken(found, [], problems)
    kind = reading.SHAPES.get(shape or found.shape)
    chosen = found.mapping if mapping is None else mapping
    made: list[Record] = []
    for place, row in reading.rows(path, format=format or found.format, problems=problems):
        if kind:
            made += kind.convert(place, row, chosen, problems, reading.Options(**options))
    return Taken(found, made, problems)
