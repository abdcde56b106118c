"""Files that are small and want to be large: each written to a folder, with the codes of which one must come out."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MIB = 2**20
ROW = {
    "instruction": "Summarise.", "input": "Chest pain.", "output": "Pain.", "task_type": "summarization", "input_data": "Clinical Note",
    "output_format": "plain_text", "difficulty_level": "hard",
}  # fmt: skip
LINE = json.dumps(ROW).encode() + b"\n"
SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'


def packed(path: Path, *parts: tuple[bytes, int], level: int = 9) -> None:
    """A gzip file of each block so many times, made without holding it."""
    with gzip.open(path, "wb", compresslevel=level) as file:
        for block, times in parts:
            for _ in range(times):
                file.write(block)


def zst(path: Path, block: bytes, times: int) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        for _ in range(times):
            file.write(block)


def hole(path: Path, head: bytes, size: int) -> None:
    """A file that takes no room on the disk and has `size` bytes to whoever reads it."""
    path.write_bytes(head)
    os.truncate(path, size)


def workbook(path: Path, **parts: bytes | str) -> None:
    """A workbook of one row, with parts of it replaced or added."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    page = book.create_sheet("cases")
    page.append(list(ROW))
    page.append([*ROW.values()])
    made = io.BytesIO()
    book.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, parts.pop(entry.filename, old.read(entry)))
        for name, content in parts.items():
            new.writestr(name, content)


def overlapping(path: Path) -> None:
    """A workbook whose list of parts names the same bytes a thousand times under a thousand names."""
    workbook(path)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    size, start = struct.unpack_from("<II", data, end + 12)
    directory = bytes(data[start : start + size])
    body = zlib.compress(b" " * (10 * MIB), 9)[2:-4]
    name = b"xl/kernel.xml"
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, 0, len(body), 10 * MIB, len(name), 0) + name + body
    at = start
    more = b""
    for number in range(900):
        alias = f"xl/k{number}.xml".encode()
        more += struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 0, 0, len(body), 10 * MIB, len(alias), 0, 0, 0, 0, 0, at
        ) + alias  # fmt: skip
    made = bytes(data[:start]) + local + directory + more
    where = start + len(local)
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 900, 900, len(directory) + len(more), where, 0)
    path.write_bytes(made + tail)


def repeats(path: Path) -> None:
    """One text of 100,000 characters, two million times, in a few kilobytes."""
    schema = pa.schema([(name, pa.dictionary(pa.int32(), pa.string())) for name in ROW])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 100_000])
    table = pa.Table.from_arrays([column] * len(ROW), schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(table)


def zeros(path: Path) -> None:
    table = pa.table({name: ["\0" * (16 * MIB)] * 16 for name in ("instruction", "input")})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def lying(path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\0" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1")


def arrow(path: Path) -> None:
    table = pa.table({name: ["\0" * (32 * MIB)] * 8 for name in ("instruction", "input")})
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out,
    ):
        out.write_table(table)


def folder(path: Path) -> None:
    """A data set card whose YAML unfolds to a billion texts."""
    path.mkdir()
    (path / "train.jsonl").write_bytes(LINE)
    levels = ["a: &a [x,x,x,x,x,x,x,x,x]"] + [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    (path / "README.md").write_text("---\n" + "\n".join(levels) + "\nconfigs: *i\n---\n")


ENTITIES = (
    '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi",
        strict=True))
    + "]><w>&i;</w>"
)  # fmt: skip

# What it is called, the file's name, who writes it, and the codes of which one has to be among the problems.
BOMBS: list[tuple[str, str, Callable[[Path], Any], set[str]]] = [
    ("gzip: a gigabyte of zeros", "a.jsonl.gz", lambda p: packed(p, (bytes(MIB), 1024)), {"upload.ratio", "upload.line_too_long"}),
    ("gzip: one text without end", "b.jsonl.gz", lambda p: packed(p, (b'{"input": "', 1), (b"x" * MIB, 500)), {"upload.ratio"}),
    ("gzip: blank lines", "c.jsonl.gz", lambda p: packed(p, (b"\n" * MIB, 300)), {"upload.ratio", "upload.too_large"}),
    ("gzip in gzip", "d.jsonl.gz", lambda p: packed(p, (gzip.compress(gzip.compress(bytes(100 * MIB))), 1)), {"upload.type"}),
    ("Zstandard: a gigabyte of zeros", "e.jsonl.zst", lambda p: zst(p, bytes(MIB), 1024), {"upload.ratio", "upload.line_too_long"}),
    ("Zstandard: one row for ever", "f.jsonl.zst", lambda p: zst(p, LINE * 5000, 500), {"upload.ratio"}),
    ("ten million lines of a byte", "g.jsonl", lambda p: p.write_bytes(b"1\n" * 10_000_000), {"import.not_jsonl"}),
    ("ten million blank lines", "h.jsonl", lambda p: p.write_bytes(b"\n" * 10_000_000), {"upload.too_large", "import.empty"}),
    ("a line of two gigabytes", "i.jsonl", lambda p: hole(p, b'{"input": "x', 2**31), {"upload.line_too_long"}),
    ("a file of seventeen gigabytes", "j.jsonl", lambda p: hole(p, LINE, 17 * 2**30), {"upload.too_large"}),
    ("a hundred thousand deep", "k.jsonl", lambda p: p.write_bytes(b'{"input": ' + b"[" * 100_000 + b"\n"), {"import.depth"}),
    ("a million lists on a line", "l.jsonl", lambda p: p.write_bytes(b'{"input": [' + b"[]," * 1_300_000 + b"[]]}\n"), {"import.values"}),
    (
        "half a million keys in an object", "m.jsonl",
        lambda p: p.write_bytes(b"{" + b",".join(b'"%d":1' % n for n in range(350_000)) + b"}\n"), {"import.values"},
    ),
    ("a number of three million digits", "n.jsonl", lambda p: p.write_bytes(b'{"quality": ' + b"9" * 3_000_000 + b"}\n"), {"import.type"}),
    (
        "a document of one record without end", "o.json",
        lambda p: p.write_bytes(b'[{"input": "' + b"x" * (64 * MIB) + b'"}]'), {"upload.line_too_long"},
    ),
    ("a document of twenty million lists", "p.json", lambda p: p.write_bytes(b'[{"a": [' + b"[]," * 20_000_000), {"import.values"}),
    ("a document a million deep", "q.json", lambda p: p.write_bytes(b"[{" + b'"a": [' * 1_000_000), {"import.depth"}),
    ("CSV: a quotation mark never closed", "r.csv", lambda p: p.write_bytes(b'a,b\n1,"' + b"x,y\n" * 20_000_000), {"import.csv"}),
    ("CSV: a million columns", "s.csv", lambda p: p.write_bytes(b"a," * 1_000_000 + b"b\n1\n"), {"import.columns", "import.duplicate_key"}),
    (
        "workbook: a sheet of a gigabyte", "t.xlsx",
        lambda p: workbook(p, **{"xl/worksheets/sheet1.xml": SHEET.format(" " * (256 * MIB))}), {"upload.ratio"},
    ),
    ("workbook: a billion laughs", "u.xlsx", lambda p: workbook(p, **{"xl/workbook.xml": ENTITIES}), {"upload.type"}),
    ("workbook: parts that overlap", "v.xlsx", overlapping, {"upload.ratio"}),
    ("workbook: fifty thousand parts", "w.xlsx", lambda p: workbook(p, **{f"xl/{n}.xml": b"" for n in range(50_000)}),
    {"upload.too_large"}),
    (
        "workbook: the last cell there is", "x.xlsx",
        lambda p: workbook(p, **{"xl/worksheets/sheet1.xml": SHEET.format('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')}),
        {"upload.too_large", "import.columns"},
    ),
    ("Parquet: one text two million times", "y.parquet", repeats, {"upload.ratio"}),
    ("Parquet: pages of zeros", "z.parquet", zeros, {"upload.ratio"}),
    ("Parquet: a footer of two gigabytes", "za.parquet", lying, {"upload.damaged"}),
    ("Arrow: packed zeros", "zb.arrow", arrow, {"upload.type"}),
    ("a card that unfolds", "zc", folder, {"upload.type"}),
]  # fmt: skip
