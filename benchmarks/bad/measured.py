"""One file read in a process of its own: `python -m benchmarks.bad.measured FILE` prints what came of it, how long it took and how much
memory it took beyond what the readers need at rest.

Imports nothing of Django. At rest means: everything is imported, and a small file of the same kind has been read.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from annotation import reading
from annotation.records import Problems


def read(path: Path, name: str = "") -> Problems:
    """What the wizard does with a file before it stores any of it, with what it proposes itself."""
    problems = Problems()
    found = reading.detect(path, name=name or path.name)
    for one in found.problems:
        problems.add(one.line, one.field, one.message, one.code)
    if not found.format or problems.total:
        return problems
    shape = reading.SHAPES[found.shape or "mediflow"]
    rows = 0
    for place, row in reading.rows(path, format=found.format, problems=problems):
        rows += 1
        for _ in shape.convert(place, row, found.mapping, problems):
            pass
        if problems.enough:
            break
    if not rows and not problems.total:
        problems.add(0, "", "The file holds no records.", "import.empty")
    return problems


def memory(which: str) -> int:
    """Kilobytes: VmRSS is now, VmHWM the most there was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1])
    return 0


def warm(kind: str) -> None:
    """Read a small good file of the kind, so that what is measured next is the file's and not the library's."""
    from benchmarks.bad import bombs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"warm{kind}"
        if kind == ".xlsx":
            bombs.workbook(path)
        elif kind in (".parquet", ".arrow"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            table = pa.Table.from_pylist([bombs.ROW] * 100)
            if kind == ".parquet":
                pq.write_table(table, path)
            else:
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
                    out.write_table(table)
        elif kind == ".gz":
            bombs.packed(path, (bombs.LINE, 10))
        elif kind == ".zst":
            bombs.zst(path, bombs.LINE, 10)
        else:
            path.write_bytes(bombs.LINE * 10)
        read(path)


def main() -> None:
    path = Path(sys.argv[1])
    warm(path.suffix)
    # The high-water mark begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    before, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found: dict[str, Any] = {}
    try:
        problems = read(path)
        found = {"codes": dict(problems.counts), "total": problems.total, "status": problems.found[0].status if problems.found else 200}
    except Exception as error:  # what must never happen is what is looked for
        found = {"codes": {}, "total": 0, "status": 500, "error": f"{type(error).__name__}: {error}"}
    found |= {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "extra_mb": round((memory("VmHWM") - before) / 1024, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
