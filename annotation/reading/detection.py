"""What a file is, from what it holds and not from what it is called: format, shape, a mapping of its columns, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from annotation.reading import mediflow
from annotation.reading.formats import rows
from annotation.records import Problem, Problems, Row

FIRST = 20


@dataclass(frozen=True)
class Detected:
    """A proposal: the importer may change `shape` and `mapping`. `confidence` is from 0 to 1, `reason` says in words why.

    `first_rows` are at most 20 (place, row) pairs as read; `problems` those met in them. `notes` tell what is worth knowing. `shape` is
    empty where nothing fits and the importer has to map the columns.
    """

    format: str
    shape: str
    columns: tuple[str, ...] = ()
    first_rows: tuple[tuple[int, Row], ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    confidence: float = 0.0
    reason: str = ""
    problems: tuple[Problem, ...] = ()


def detect(path: Path, *, name: str = "") -> Detected:
    """What `path` holds. `name` is what the person calls the file; it only decides between formats that look alike."""
    head = path.open("rb").read(4)
    format = "jsonl.gz" if head.startswith(b"\x1f\x8b") else "jsonl.zst" if head == b"\x28\xb5\x2f\xfd" else "jsonl"
    problems = Problems()
    first = tuple(islice(rows(path, format=format, problems=problems), FIRST))
    columns = tuple(dict.fromkeys(column for _, row in first for column in row))
    fits = {*mediflow.REQUIRED} <= {*columns}
    dpo = fits and any(row.get("rejected_output") for _, row in first)
    return Detected(
        format=format, shape="mediflow_dpo" if dpo else "mediflow" if fits else "", columns=columns, first_rows=first,
        confidence=1.0 if fits else 0.0, reason="It has all of MediFlow's columns." if fits else "No known set of columns.",
        problems=tuple(problems.found),
    )  # fmt: skip
