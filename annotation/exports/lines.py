"""Text files, one a split, that exist once they have a line. Pure."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from annotation.exports.shards import Meter


class Lines:
    """`put` whole lines by split; `rows` counts them. An empty split has no file."""

    def __init__(self, place: Path, ending: str, say: Callable[[int, int], None] | None, total: int) -> None:
        self.place, self.ending = place, ending
        self.rows: Counter[str] = Counter()
        self.files: dict[str, IO[str]] = {}
        self.meter = Meter(say, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for file in self.files.values():
            file.close()

    def put(self, split: str, line: str) -> None:
        if split not in self.files:
            self.files[split] = (self.place / f"{split}{self.ending}").open("w", encoding="utf-8", newline="\n")
        self.files[split].write(line + "\n")
        self.rows[split] += 1
        self.meter()
