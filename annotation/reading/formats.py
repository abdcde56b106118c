"""The formats that are read, each as a stream of numbered rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from annotation.reading import jsonl, opening
from annotation.reading.limits import LIMITS, Limits
from annotation.records import Problems, Row

FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst")
# What the place of a row is called in each format, where it is not a line.
UNITS: dict[str, str] = {}


def rows(path: Path, *, format: str, problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(place, row) of every row that can be read; what cannot is a problem. Memory is flat: a row, a line or a small batch at a time.

    The place is what a person would look for: a line of text, a record of an array, a row of a table. `digest` is fed every byte of
    the file as it was sent. A generator: nothing happens before it is asked. Raises KeyError for an unknown format, OSError.
    """
    problems.unit = UNITS.get(format, "Line")
    if opening.too_large(path, problems, limits):
        return
    base, _, codec = format.partition(".")
    reader = {"jsonl": jsonl.rows}[base]
    with opening.opened(path, codec, problems, digest, limits) as file:
        yield from reader(file, problems, None, limits)
