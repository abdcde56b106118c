"""Samples on their way in: each row named by its digest, put in its split, looked at for privacy, and written as PostgreSQL copies it.

Pure, and without models: it runs in a child that has no database, and in the request for a small file. Places are counted for every row
in 24 to 40 bytes, so that duplicates of millions are found in flat memory.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from json.encoder import encode_basestring as _quoted
from typing import Any

import numpy as np

from annotation import privacy, splits
from annotation.reading.shapes import SCORES, SampleRow
from annotation.records import ENOUGH, Problems

# Of a staged row, in the order in which they are written; `line` is where it stood in the file.
COLUMNS = (
    "line", "external_id", "digest", "instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level",
    "rejected_output", "error_type", *SCORES, "split_key", "split", "privacy", "privacy_hits",
)  # fmt: skip
TEXTS = ("instruction", "input", "output", "rejected_output")
# A column with more kinds of tasks than this holds something else.
MOST_LABELS = 500
# Characters at which a bar of the histogram of lengths ends.
BARS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 200_000)


@dataclass
class Tally:
    """What the rows are like, for people: how long, in which split, of what task, and what the privacy scan found."""

    lengths: dict[str, list[int]] = field(default_factory=lambda: {name: [0] * len(BARS) for name in ("prompt", "output")})
    splits: Counter[str] = field(default_factory=Counter)
    task_types: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    suspicious: int = 0
    rows: int = 0

    def note(self, row: SampleRow) -> None:
        self.rows += 1
        self.lengths["prompt"][bar(len(row.instruction) + len(row.input))] += 1
        self.lengths["output"][bar(len(row.output))] += 1
        self.task_types[row.task_type] += 1

    def add(self, other: "Tally") -> None:
        """What another part of the file is like."""
        for name, bars in other.lengths.items():
            self.lengths[name] = [one + more for one, more in zip(self.lengths[name], bars, strict=True)]
        for mine, theirs in ((self.splits, other.splits), (self.task_types, other.task_types), (self.rules, other.rules)):
            mine.update(theirs)
        self.quarantined += other.quarantined
        self.suspicious += other.suspicious
        self.rows += other.rows

    def as_dict(self) -> dict[str, Any]:
        return {
            "lengths": self.lengths, "splits": dict(self.splits), "task_types": dict(self.task_types.most_common(20)),
            "rules": dict(self.rules), "quarantined": self.quarantined, "suspicious": self.suspicious,
            "rows": self.rows,
        }  # fmt: skip


class Seen:
    """Which contents and ids have been, by 128 bits of their digests: two that differ share them once in 10^26 files of this size."""

    def __init__(self) -> None:
        self._contents, self._content_lines = array("Q"), array("L")
        self._ids, self._id_lines = array("Q"), array("L")

    def note(self, line: int, digest: bytes, external_id: str) -> None:
        """`digest`: at least 16 bytes. `external_id` may be empty."""
        self._contents.frombytes(digest[:16])
        self._content_lines.append(line)
        if external_id:
            self._ids.frombytes(sha256(external_id.encode()).digest()[:16])
            self._id_lines.append(line)

    def extend(self, other: "Seen") -> None:
        """Those of the part of the file that comes after."""
        self._contents += other._contents
        self._content_lines += other._content_lines
        self._ids += other._ids
        self._id_lines += other._id_lines

    def complain(self, problems: Problems) -> int:
        """Name every content and id that was there before, with the line where; returns how many lines are named."""
        twice = list(islice(_repeated(self._contents, self._content_lines), ENOUGH))
        same = {line for line, _ in twice}
        repeated = (pair for pair in _repeated(self._ids, self._id_lines) if pair[0] not in same)
        ids = list(islice(repeated, ENOUGH))
        unit = problems.unit.lower()
        found = [(line, "", f"The same record stands on {unit} {first}.", "import.duplicate") for line, first in twice]
        found += [(line, "id", f"The same id stands on {unit} {first}.", "import.duplicate_id") for line, first in ids]
        for problem in sorted(found):
            problems.add(*problem)
        return len(found)


def _repeated(halves: "array[int]", lines: "array[int]") -> Iterator[tuple[int, int]]:
    """(line, the first line with the same 128 bits) of every one but the first."""
    if len(lines) < 2:
        return
    bits = np.frombuffer(halves, dtype=np.uint64)
    order = np.argsort(bits[::2], kind="stable")
    sorted_bits = bits[::2][order]
    for at in np.flatnonzero(sorted_bits[1:] == sorted_bits[:-1]):
        start = int(np.searchsorted(sorted_bits, sorted_bits[at], side="left"))
        this = int(order[at + 1])
        for before in order[start : at + 1]:
            if bits[2 * before + 1] == bits[2 * this + 1]:
                yield lines[this], lines[int(before)]
                break


def copy_lines(rows: Iterable[tuple[int, SampleRow]], problems: Problems, tally: Tally, *, quarantine: bool = True) -> Iterator[bytes]:
    """One line of PostgreSQL's text format for each row, in COLUMNS' order. Problems that only show at the end (a content or an id twice)
    are added when all is read. With `quarantine`, rows in which the privacy scan finds enough are marked so.
    """
    seen = Seen()
    yield from written(rows, seen, tally, quarantine=quarantine)
    conclude(seen, problems, tally)


def written(rows: Iterable[tuple[int, SampleRow]], seen: Seen, tally: Tally, *, quarantine: bool = True) -> Iterator[bytes]:
    """The same lines of a part of a file; what only shows at the end is asked with `conclude`, of all parts together."""
    for line, row in rows:
        tally.note(row)
        digest = digest_of(row)
        hexed = digest.hex()
        seen.note(line, digest, row.external_id)
        key = splits.key_of(row.instruction, row.input)
        split = splits.split_of(key)
        tally.splits[split] += 1
        hits = find_hits(row)
        for rule in {hit[0] for hit in hits}:
            tally.rules[rule] += 1
        held = quarantine and bool(hits) and privacy.suspicious({hit[0] for hit in hits})
        tally.quarantined += held
        yield _line(line, row, hexed, key, split, "quarantined" if held else "clear", hits)


def conclude(seen: Seen, problems: Problems, tally: Tally) -> None:
    """What is wrong with a file as a whole: more labels than tasks there are, a content or an id twice."""
    if len(tally.task_types) > MOST_LABELS:
        problems.add(
            0, "task_type", f"It holds {len(tally.task_types)} different labels; {MOST_LABELS} are allowed. Choose another column.",
            "import.labels",
        )  # fmt: skip
    seen.complain(problems)


def digest_of(row: SampleRow) -> bytes:
    """SHA-256 of what the row says, its id apart: canonical JSON of its texts, labels and scores; what is absent or empty of the optional
    ones takes no part. The same as `records.digest_of` of these as a dictionary, written out: it is asked of every row of millions.
    """
    scores = row.scores
    parts = [f'"{name}":{scores[name]!r}' for name in ("alignment", "coherence", "difficulty") if name in scores] if scores else []
    parts.append(f'"difficulty_level":{_quoted(row.difficulty_level)}')
    if row.error_type:
        parts.append(f'"error_type":{_quoted(row.error_type)}')
    parts.append(
        f'"input":{_quoted(row.input)},"input_data":{_quoted(row.input_data)},"instruction":{_quoted(row.instruction)},'
        f'"output":{_quoted(row.output)},"output_format":{_quoted(row.output_format)}'
    )
    parts += [f'"{name}":{scores[name]!r}' for name in ("quality", "realism") if name in scores] if scores else []
    if row.rejected_output:
        parts.append(f'"rejected_output":{_quoted(row.rejected_output)}')
    parts.append(f'"task_type":{_quoted(row.task_type)}')
    return sha256(f"{{{','.join(parts)}}}".encode()).digest()


_encode = json.JSONEncoder(separators=(",", ":")).encode


def find_hits(row: SampleRow) -> list[tuple[str, str, int, int]]:
    """(rule, column, start, end) of all that the privacy scan finds in its texts."""
    texts = (row.instruction, row.input, row.output, row.rejected_output)
    # One scan of all: starting one takes as long as reading a few hundred characters. No rule crosses the line between two texts.
    hits = privacy.scan("\n\x1f\n".join(texts))
    found = []
    for hit in hits:
        start, end = hit.start, hit.end
        for column, text in zip(TEXTS, texts, strict=True):
            if start <= len(text):
                found.append((hit.rule, column, start, min(end, len(text))))
                break
            start, end = start - len(text) - 3, end - len(text) - 3
    return found


def bar(characters: int) -> int:
    """Which of BARS a text of so many characters belongs to."""
    # (n − 1).bit_length() of 128 is 7: the bars end at powers of two, the last is open.
    return min(max((characters - 1).bit_length() - 7, 0), len(BARS) - 1) if characters else 0


def _line(line: int, row: SampleRow, digest: str, key: str, split: str, standing: str, hits: list[tuple[str, str, int, int]]) -> bytes:
    texts = "\t".join(
        _escape(text)
        for text in (
            row.external_id or digest, digest, row.instruction, row.input, row.output, row.task_type, row.input_data, row.output_format,
            row.difficulty_level, row.rejected_output, row.error_type,
        )
    )  # fmt: skip
    scores = row.scores
    figures = "\t".join(repr(float(scores[name])) if name in scores else "\\N" for name in SCORES) if scores else "\\N\t\\N\t\\N\t\\N\t\\N"
    return f"{line}\t{texts}\t{figures}\t{key}\t{split}\t{standing}\t{_encode(hits) if hits else '[]'}\n".encode()


def _escape(text: str) -> str:
    """PostgreSQL's text format: a backslash before a backslash, and letters for what would end a value or a line."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if text.isprintable():  # nothing that ends a value or a line is
        return text
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
