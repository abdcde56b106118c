"""Rows on their way through the import's child, a batch at a time, by as many processes as there are processors for them.

One process reads: it cuts the file into batches in the file's order. Each batch is parsed, checked, named, split, scanned for privacy
and written out by whichever process is free, and what came of it is taken back in the same order. So the outcome is the same, to the byte,
of one process or of many. No Django, no database.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from annotation import forks, privacy, reading, sample_rows
from annotation.reading import strict_json
from annotation.reading.shapes import CompletionRow, DocumentRow, PreferenceRow, Record, SampleRow
from annotation.records import Problems, Row

# Characters of a batch of lines, and the rows of any: a fifth of a second's work.
BATCH_TEXT, BATCH_ROWS = 2 * 2**20, 2000
# A file this small is read before other processes would have begun.
WORTH_BYTES = 16 * 2**20
Told = tuple[str, tuple[Any, ...]]


class Noted(Problems):
    """Problems in the order in which they were told, to be told again elsewhere."""

    def __init__(self, unit: str = "Line") -> None:
        super().__init__(unit)
        self.notes: list[Told] = []

    def add(self, line: int, column: str, message: str, code: str = "import.invalid") -> None:
        self.total += 1
        self.notes.append(("add", (line, column, message, code)))

    def warn(self, line: int, column: str, message: str, code: str = "import.unusual") -> None:
        self.notes.append(("warn", (line, column, message, code)))

    def leave_out(self, line: int, column: str, message: str, code: str) -> None:
        self.notes.append(("leave_out", (line, column, message, code)))

    def take(self) -> list[Told]:
        taken, self.notes = self.notes, []
        return taken


@dataclass
class Batch:
    """Numbered lines of JSON Lines, or rows of any other format; and what reading them had to tell."""

    rows: list[tuple[int, str]] | list[tuple[int, Row]]
    unit: str
    told: list[Told]


@dataclass
class Outcome:
    """What became of a batch. `ended`: its rows stopped before its lines did, and no others are to be asked for."""

    data: bytes = b""
    tally: sample_rows.Tally = field(default_factory=sample_rows.Tally)
    seen: sample_rows.Seen = field(default_factory=sample_rows.Seen)
    read: list[Told] = field(default_factory=list)
    rows: list[Told] = field(default_factory=list)
    unit: str = "Line"
    ended: bool = False


def batches(path: Path, spec: dict[str, Any], digest: Any) -> Iterator[Batch]:
    """The file as batches. Whatever stops the reading is told with the last of them, which may hold no rows."""
    noted = Noted()
    read = reading.lines if _in_lines(spec) else reading.rows
    rows: list[Any] = []
    size = 0
    for place, row in read(path, format=spec["format"], problems=noted, digest=digest, limits=limits(spec)):
        rows.append((place, row))
        size += len(row) if isinstance(row, str) else 0
        if size >= BATCH_TEXT or len(rows) >= BATCH_ROWS:
            yield Batch(rows, noted.unit, noted.take())
            rows, size = [], 0
    yield Batch(rows, noted.unit, noted.take())


def limits(spec: dict[str, Any]) -> reading.Limits:
    return reading.Limits(**spec["limits"]) if spec.get("limits") else reading.LIMITS


def _in_lines(spec: dict[str, Any]) -> bool:
    return str(spec["format"]).partition(".")[0] == "jsonl"


class Work:
    """What is done with a batch, as the import's spec says. Leaving out what is said twice needs to have seen all that was before."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._shape = reading.SHAPES[spec["shape"]]
        self._options = reading.Options(**spec.get("options", {}))
        self._doubles = reading.Doubles(self._options)
        self._quarantine = bool(spec.get("quarantine", True))

    @property
    def divisible(self) -> bool:
        return self._options.doubles != "exclude"

    def __call__(self, batch: Batch) -> Outcome:
        noted = Noted(batch.unit)
        done = Outcome(read=batch.told, unit=batch.unit)
        left: Iterator[Any] = iter(batch.rows)
        rows = strict_json.objects(left, noted) if _in_lines(self._spec) else left
        records = self.records(rows, noted)
        if self._shape.makes == "samples":
            samples = ((place, row) for place, row in records if isinstance(row, SampleRow))
            lines = sample_rows.written(samples, done.seen, done.tally, quarantine=self._quarantine)
        else:
            lines = record_lines(records, done.tally)
        done.data = b"".join(lines)
        done.ended = next(left, None) is not None
        done.rows = noted.notes
        return done

    def records(self, rows: Iterator[tuple[int, Row]], problems: Problems) -> Iterator[tuple[int, Record]]:
        """(place, record) of what rows become; what is wrong with them becomes problems."""
        mapping = self._spec.get("mapping", {})
        for place, row in rows:
            before = problems.total
            for record in self._shape.convert(place, row, mapping, problems, self._options):
                # Nothing of a row that was complained of is stored, even where the file's other rows are.
                if problems.total == before and not self._doubles.again(place, record, problems):
                    yield place, record


def record_lines(records: Iterator[tuple[int, Record]], tally: sample_rows.Tally) -> Iterator[bytes]:
    """What is no sample, as one object a line: {"place", "record"}."""
    for place, record in records:
        scan_others(record, tally)
        yield (json.dumps({"place": place, "record": asdict(record)}, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def scan_others(record: Record, tally: sample_rows.Tally) -> None:
    """Counts of what is no sample: only samples have a quarantine, but whoever imports hears of what is found."""
    tally.rows += 1
    texts: tuple[str, ...]
    match record:
        case DocumentRow():
            texts = (record.title, record.text)
            tally.lengths["output"][sample_rows.bar(len(record.text))] += 1
        case CompletionRow():
            texts = (record.text,)
            tally.lengths["output"][sample_rows.bar(len(record.text))] += 1
        case PreferenceRow():
            texts = (record.sample.instruction, record.sample.input, record.first_text, record.second_text)
            tally.lengths["prompt"][sample_rows.bar(len(texts[0]) + len(texts[1]))] += 1
            tally.lengths["output"][sample_rows.bar(max(len(texts[2]), len(texts[3])))] += 1
        case _:
            texts = ()
    rules = {hit.rule for text in texts for hit in privacy.scan(text)}
    tally.rules.update(rules)
    tally.suspicious += bool(rules) and privacy.suspicious(rules)


# --- hands -------------------------------------------------------------------------------------------------------------------------------


def hands(spec: dict[str, Any], work: Work) -> int:
    """How many processes are worth their start for this file."""
    if not work.divisible:
        return 1
    if "hands" in spec:
        return int(spec["hands"])
    return forks.processors() if spec.get("bytes", 0) >= WORTH_BYTES else 1


def through(work: Work, given: Iterator[Batch], many: int) -> Iterator[Outcome]:
    """What becomes of each batch, in their order, worked on by `many` processes. Raises MemoryError, OSError, forks.Failed."""
    if many < 2:
        yield from map(work, given)
        return

    def serve(pipe: "Connection[Any, Any]") -> None:
        while True:
            forks.answer(pipe, partial(work, pipe.recv()))

    started: list[forks.Fork] = []
    try:
        for _ in range(many):
            started.append(forks.Fork(serve, started))
        free, busy = deque(started), deque[forks.Fork]()
        for batch in given:
            # Nobody is sent anything before it has answered, so neither side can wait for the other's pipe.
            hand, done = (free.popleft(), None) if free else (busy[0], busy.popleft().receive())
            # It goes on while we write down what it did.
            hand.pipe.send(batch)
            busy.append(hand)
            if done is not None:
                yield done
        for hand in busy:
            yield hand.receive()
    finally:
        for hand in started:
            hand.end()
