"""One config of a data set folder: Parquet in shards, and the same rows as JSON lines. Rows come one by one; a chunk is held, never all."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 2000
# Of one file; a data set of a million pairs is a few of them.
ROWS_A_SHARD = 250_000
JSONL = "jsonl"

encode = json.JSONEncoder(ensure_ascii=False).encode


class _Split:
    """One split of a config, as files that are numbered when their number is known."""

    def __init__(self, place: Path, config: str, split: str, schema: Any) -> None:
        self.place, self.config, self.split, self.schema = place, config, split, schema
        self.waiting: list[dict[str, Any]] = []
        self.shards = self.rows = 0
        self.in_shard = ROWS_A_SHARD
        self.table: Any = None
        self.lines: IO[str] | None = None

    def put(self, row: dict[str, Any]) -> None:
        self.waiting.append(row)
        if len(self.waiting) == CHUNK:
            self.flush()

    def flush(self) -> None:
        if not self.waiting:
            return
        if self.in_shard >= ROWS_A_SHARD:
            self._next()
        assert self.lines is not None
        self.table.write_table(pa.Table.from_pylist(self.waiting, schema=self.schema))
        self.lines.writelines([encode(row) + "\n" for row in self.waiting])
        self.in_shard += len(self.waiting)
        self.rows += len(self.waiting)
        self.waiting.clear()

    def _next(self) -> None:
        self._shut()
        parquet, lines = self._paths(self.shards, None)
        parquet.parent.mkdir(parents=True, exist_ok=True)
        lines.parent.mkdir(parents=True, exist_ok=True)
        self.table = pq.ParquetWriter(parquet, self.schema, compression="zstd")
        self.lines = lines.open("w", encoding="utf-8", newline="\n")
        self.shards += 1
        self.in_shard = 0

    def _paths(self, number: int, of: int | None) -> tuple[Path, Path]:
        name = f"{self.split}-{number:05}" + (f"-of-{of:05}" if of is not None else ".part")
        return self.place / self.config / f"{name}.parquet", self.place / JSONL / self.config / f"{name}.jsonl"

    def _shut(self) -> None:
        if self.table is not None and self.lines is not None:
            self.table.close()
            self.lines.close()
        self.table = self.lines = None

    def close(self) -> int:
        """How many rows there are; every file has its name now."""
        self.flush()
        self._shut()
        for number in range(self.shards):
            for part, whole in zip(self._paths(number, None), self._paths(number, self.shards), strict=True):
                part.rename(whole)
        return self.rows


class Config:
    """A config of a data set: `put` its rows in any order of splits, then `close` it for the rows of each."""

    def __init__(self, place: Path, name: str, schema: Any, splits: Iterable[str]) -> None:
        self.name, self.schema = name, schema
        self.splits = {split: _Split(place, name, split, schema) for split in splits}

    def put(self, split: str, row: dict[str, Any]) -> None:
        self.splits[split].put(row)

    def close(self) -> dict[str, int]:
        return {split: files.close() for split, files in self.splits.items()}


class Meter:
    """Tells how far a writer has come, not more often than every `every` rows."""

    def __init__(self, say: Callable[[int, int], None] | None, total: int, every: int = 5000) -> None:
        self.say, self.total, self.every, self.done = say, total, every, 0

    def __call__(self, more: int = 1) -> None:
        before = self.done
        self.done += more
        if self.say is not None and before // self.every != self.done // self.every:
            self.say(min(self.done, self.total), self.total)
