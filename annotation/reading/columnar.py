"""Parquet files and Arrow streams, a small batch at a time: a column that repeats one long text holds it once."""

import math
import struct
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from annotation.reading.limits import LIMITS, MAX_COLUMNS, MAX_DEPTH, MIB, Limits
from annotation.records import Problems, Row, label

BATCH = 256
# Nested columns are decoded as they are: fewer rows at once.
NESTED_BATCH = 16
MAX_FOOTER = 16 * MIB
MAX_BUFFER = MIB
# What the rows hold beside what the file has: labels that repeat are stored once, so this is more than the ratio of a packed text.
MAX_REPEATS = 500
_MAGIC = b"PAR1"


def parquet(path: Path, problems: Problems, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(row of the table, row). Columns of bytes or other things that are no text, number, list or object are left out and told of."""
    if not _footer_fits(path, problems):
        return
    try:
        with pq.ParquetFile(
            path, buffer_size=MAX_BUFFER, pre_buffer=False, thrift_string_size_limit=MAX_FOOTER, thrift_container_size_limit=1_000_000
        ) as first:
            schema, meta = first.schema_arrow, first.metadata
            if not _unpacks(path, meta, problems, limits) or not _fits(schema, meta.num_rows, problems, limits):
                return
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
        names = taken(schema, problems)
        with pq.ParquetFile(
            path, read_dictionary=texts, buffer_size=MAX_BUFFER, pre_buffer=False, thrift_string_size_limit=MAX_FOOTER,
            thrift_container_size_limit=1_000_000,
        ) as file:  # fmt: skip
            size = NESTED_BATCH if any(pa.types.is_nested(schema.field(name).type) for name in names) else BATCH
            batches = file.iter_batches(batch_size=size, columns=names, use_threads=False)
            yield from _rows(batches, problems, path.stat().st_size, 0)
    except (pa.ArrowException, OSError, ValueError) as error:
        problems.add(0, "", f"The Parquet file is damaged ({type(error).__name__}).", "upload.damaged")


def arrow(path: Path, problems: Problems, limits: Limits = LIMITS, start: int = 0) -> Iterator[tuple[int, Row]]:
    """The same of an Arrow stream or file, as `datasets.save_to_disk` writes them. Packed buffers are refused: they have no honest size."""
    try:
        with pa.OSFile(str(path)) as file:
            random = file.read(6) == b"ARROW1"
            file.seek(0)
            if random or _packed(path):
                what = "an Arrow file with an index" if random else "an Arrow stream with packed buffers"
                problems.add(0, "", f"This is {what}; a plain Arrow stream is read. Save it as Parquet.", "upload.type")
                return
            reader = pa.ipc.open_stream(file)
            if not _fits(reader.schema, 0, problems, limits):
                return
            names = taken(reader.schema, problems)
            batches = (batch.slice(at, NESTED_BATCH).select(names) for batch in reader for at in range(0, batch.num_rows, NESTED_BATCH))
            yield from _rows(batches, problems, path.stat().st_size, start)
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        problems.add(0, "", f"The Arrow file is damaged ({type(error).__name__}).", "upload.damaged")


def taken(schema: Any, problems: Problems) -> list[str]:
    """The columns whose values a row of ours can hold."""
    names = []
    for field in schema:
        if _plain(field.type):
            names.append(field.name)
        else:
            problems.warn(
                0, label(field.name), "The column holds neither text, numbers nor lists of them; it was not read.", "import.column_left"
            )
    return names


def _plain(kind: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return False
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _plain(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return all(_plain(kind.field(at).type, depth + 1) for at in range(kind.num_fields))
    if types.is_dictionary(kind):
        return _plain(kind.value_type, depth + 1)
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        or types.is_null(kind) or types.is_timestamp(kind) or types.is_date(kind)
    )  # fmt: skip


def _rows(batches: Iterator[Any], problems: Problems, size: int, start: int) -> Iterator[tuple[int, Row]]:
    place = start
    held = 0
    for batch in batches:
        columns = [_values(batch.column(at)) for at in range(batch.num_columns)]
        names = batch.schema.names
        for values in zip(*columns, strict=True):
            place += 1
            row = dict(zip(names, values, strict=True))
            held += sum(len(value) for value in values if isinstance(value, str))
            if held > 16 * MIB and held > MAX_REPEATS * size:
                problems.add(place, "", f"The rows hold more than {MAX_REPEATS} times what the file does.", "upload.ratio")
                return
            if (wrong := _unreadable(row)) is not None:
                problems.add(place, label(wrong), "Not a number that can be stored: it is not finite.", "import.number")
                continue
            yield place, row
            if problems.enough:
                return


def _values(column: Any) -> Any:
    """A column's values; texts that repeat are one object."""
    if not pa.types.is_dictionary(column.type):
        return [_said(value) for value in column.to_pylist()]
    kept: dict[int, Any] = {}
    dictionary = column.dictionary
    return [
        None if at is None else kept[at] if at in kept else kept.setdefault(at, dictionary[at].as_py()) for at in column.indices.to_pylist()
    ]


def _said(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else value


def _unreadable(row: Row) -> str | None:
    """The column that holds a number which is not finite, if one does."""
    for name, value in row.items():
        if isinstance(value, float):
            if not math.isfinite(value):
                return name
        elif isinstance(value, list | dict):
            level = [value]
            while level:
                inner = level.pop()
                for one in inner.values() if isinstance(inner, dict) else inner:
                    if isinstance(one, float) and not math.isfinite(one):
                        return name
                    if isinstance(one, list | dict):
                        level.append(one)
    return None


def _footer_fits(path: Path, problems: Problems) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        tail = file.read(8)
    if size < 12 or tail[4:] != _MAGIC:
        problems.add(0, "", "The Parquet file is cut off: its end is missing.", "upload.damaged")
        return False
    if (footer := int.from_bytes(tail[:4], "little")) > min(MAX_FOOTER, size):
        problems.add(0, "", f"The Parquet file's footer claims {footer:,} bytes.", "upload.damaged")
        return False
    return True


def _unpacks(path: Path, meta: Any, problems: Problems, limits: Limits) -> bool:
    size = path.stat().st_size
    unpacked = sum(
        max(0, meta.row_group(group).column(column).total_uncompressed_size)
        for group in range(meta.num_row_groups)
        for column in range(meta.num_columns)
    )
    if unpacked > limits.ratio_from and unpacked > limits.ratio * size:
        problems.add(0, "", f"It unpacks to more than {limits.ratio} times its size, which text does not.", "upload.ratio")
        return False
    if unpacked > limits.bytes:
        problems.add(0, "", f"More than {limits.bytes // MIB:,} MiB unpacked: send it in parts.", "upload.too_large")
        return False
    return True


def _fits(schema: Any, many: int, problems: Problems, limits: Limits) -> bool:
    if len(schema) > MAX_COLUMNS:
        problems.add(0, "", f"The table has {len(schema)} columns; {MAX_COLUMNS} are allowed.", "import.columns")
    for name in sorted({name for name in schema.names if schema.names.count(name) > 1} if len(schema) <= MAX_COLUMNS else ()):
        problems.add(0, label(name), "The table has this column twice.", "import.duplicate_key")
    if many > limits.rows:
        problems.add(0, "", f"More than {limits.rows:,} rows: send the table in parts.", "upload.too_large")
    return not problems.total


def _packed(path: Path) -> bool:
    """Whether a batch of an Arrow stream has compressed buffers: field 3 of the flatbuffer table RecordBatch (Message.fbs)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while True:
            head = file.read(8)
            if len(head) < 8 or head[:4] != b"\xff\xff\xff\xff":
                return False
            length = int.from_bytes(head[4:], "little")
            if not 0 < length <= size:
                return False
            message = file.read(length)
            kind, header, body = _message(message)
            if kind in (2, 3):
                table = header if kind == 3 else _child(message, header, 1)
                if table and _field(message, table, 3):
                    return True
            file.seek(body, 1)


def _message(data: bytes) -> tuple[int, int, int]:
    """(kind of header, place of the header table, length of the body) of a flatbuffer Message."""
    table = struct.unpack_from("<I", data, 0)[0]
    kind = _field(data, table, 1)
    body = _field(data, table, 3)
    length = struct.unpack_from("<q", data, table + body)[0] if body else 0
    if length < 0:
        raise ValueError
    return (data[table + kind] if kind else 0), _child(data, table, 2), length


def _field(data: bytes, table: int, number: int) -> int:
    """The offset of a table's field, 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    at = 4 + 2 * number
    return struct.unpack_from("<H", data, vtable + at)[0] if at < size else 0


def _child(data: bytes, table: int, number: int) -> int:
    offset = _field(data, table, number)
    if not offset:
        return 0
    at = table + offset
    return int(at + struct.unpack_from("<I", data, at)[0])
