"""The import's child of the job runner: `python -m annotation.import_child ATTEMPT_DIR` reads a foreign file without a database.

It reads `spec.json`, appends `events.jsonl`, and writes last of all `result.json`; beside it `problems.csv` and, for what is to be stored,
`output/`: samples as PostgreSQL copies them (`annotation/sample_rows.py`), everything else as one record of ours a line. No Django.
"""

import csv
import errno
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any

from annotation import forks, import_batches, reading, sample_rows
from annotation.reading.shapes import PreferenceRow, Record, SampleRow
from annotation.records import Problems
from modelhub.child import hold

OUTPUT, REPORT, RESULT = "output", "problems.csv", "result.json"
# A part is copied by one statement of a second or so.
PART_BYTES = 16 * 2**20
# What a reader may say of a row and then goes on to the next; all else that readers say ends the reading.
ONE_ROWS = frozenset({"import.cells"})
# Lines a report holds; the counts are of all.
MOST_REPORTED = 10_000
PAUSE = 0.5
# What a look reads: enough to tell what a column holds, and over before a person wonders.
LOOKED_ROWS, LOOKED_SECONDS = 2000, 4.0
# Characters of a text in a preview, and its rows.
SHOWN, SHOWN_ROWS = 400, 20


class Reported(Problems):
    """Problems that are also written down, line by line, for a file that can be downloaded: places and reasons, never text.

    With `skip`, a row that would be refused for its own sake is left out instead, told of and counted: `bad_rows`. What is wrong with
    the file as a whole, or stops the reading, still refuses all of it.
    """

    def __init__(self, file: IO[str], *, skip: bool = False) -> None:
        super().__init__()
        self._skip, self._last = skip, 0
        self.bad_rows = 0
        self._write = csv.writer(file)
        self._write.writerow(["place", "number", "column", "kind", "code", "message"])
        self._written = 0

    def _note(self, kind: str, line: int, column: str, message: str, code: str) -> None:
        if self._written < MOST_REPORTED:
            self._written += 1
            self._write.writerow([self.unit, line, column, kind, code, message])

    def hear(self, done: import_batches.Outcome) -> None:
        """Tell what a batch had to tell, in the order of the file; stops where there is too much to be of use."""
        self.unit = done.unit
        told = [(one, one[1][3] in ONE_ROWS) for one in done.read] + [(one, not done.ended) for one in done.rows]
        # What is told of the file as a whole ended it.
        for (what, given), of_a_row in sorted(told, key=lambda one: one[0][1][0] or sys.maxsize):
            if what == "add" and self._skip and of_a_row and given[0]:
                what = "leave_out"
                self.bad_rows += given[0] != self._last
                self._last = given[0]
            getattr(self, what)(*given)
            if self.enough:
                return

    def add(self, line: int, column: str, message: str, code: str = "import.invalid") -> None:
        super().add(line, column, message, code)
        self._note("problem", line, column, message, code)

    def warn(self, line: int, column: str, message: str, code: str = "import.unusual") -> None:
        super().warn(line, column, message, code)
        self._note("warning", line, column, message, code)

    def leave_out(self, line: int, column: str, message: str, code: str) -> None:
        self.left_out[code] += 1
        super().warn(line, column, message, code)
        self._note("left out", line, column, message, code)


class Counted:
    """SHA-256 of a file as it was sent, and how many bytes went by."""

    def __init__(self) -> None:
        self._digest = sha256()
        self.bytes = 0

    def update(self, data: Any) -> None:
        self._digest.update(data)
        self.bytes += len(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class Parts:
    """Files of lines, each as large as one statement copies."""

    def __init__(self, folder: Path, ending: str, say: Callable[[str], None]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._ending, self._say = folder, ending, say
        self._file: IO[bytes] | None = None
        self._size = 0
        self.names: list[str] = []

    def write(self, line: bytes) -> None:
        if self._file is None or self._size >= PART_BYTES:
            self.close()
            self.names.append(f"part-{len(self.names):05d}.{self._ending}")
            self._file, self._size = (self._folder / self.names[-1]).open("wb", buffering=2**20), 0
        self._file.write(line)
        self._size += len(line)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._say(self.names[-1])

    def remove(self) -> None:
        """Of a file with problems nothing is stored: nothing of it is kept."""
        self.close()
        for name in self.names:
            (self._folder / name).unlink(missing_ok=True)
        self.names = []


def main(folder: Path) -> int:
    hold()
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    try:
        done = look(spec) if spec["task"] == "look" else bring(folder, spec)
    except MemoryError:
        return _end(folder, _error("out_of_memory", "The file needs more memory than an import may have.", retryable=False), 1)
    except forks.Failed as failed:
        return _end(folder, _error("helper_ended", f"{failed} It is tried again.", retryable=True), 1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _end(folder, _error("disk_full" if full else "unreadable", f"{type(error).__name__}: {error.strerror}.", retryable=full), 1)
    return _end(folder, {"ok": True, **done}, 0)


def _error(code: str, message: str, *, retryable: bool) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message, "retryable": retryable}}


# --- a look ------------------------------------------------------------------------------------------------------------------------------


def look(spec: dict[str, Any]) -> dict[str, Any]:
    """What the file is and holds, as far as its first rows tell: format, shape, columns, the first rows as read and as they would be
    stored, lengths, doubles and privacy hits. `shape` and `mapping` of the spec are taken in place of what is proposed.
    """
    path = Path(spec["path"])
    found = reading.detect(path, name=spec.get("name", ""))
    shape = spec.get("shape") or found.shape
    mapping = spec["mapping"] if spec.get("mapping") is not None else dict(found.mapping)
    done: dict[str, Any] = {
        "format": found.format, "shape": shape, "proposed": found.shape, "columns": list(found.columns), "mapping": mapping,
        "notes": list(found.notes), "confidence": found.confidence, "reason": found.reason,
        "first": [{"place": place, "row": {str(name): _shown(value) for name, value in row.items()}} for place, row in found.first_rows],
        "problems": _told(found.problems), "total": len(found.problems),
    }  # fmt: skip
    if shape and not (found.problems and not found.first_rows):
        done |= _try(path, spec | {"format": found.format, "shape": shape, "mapping": mapping})
    return done


class _Placed(Problems):
    """Problems, and on which rows they were."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[int] = set()

    def add(self, line: int, column: str, message: str, code: str = "import.invalid") -> None:
        super().add(line, column, message, code)
        if line:
            self.places.add(line)


def _try(path: Path, spec: dict[str, Any]) -> dict[str, Any]:
    problems, digest, tally = _Placed(), Counted(), sample_rows.Tally()
    until = time.monotonic() + LOOKED_SECONDS
    read, whole = 0, True
    shown: list[dict[str, Any]] = []
    records: list[tuple[int, Record]] = []
    rows = reading.rows(path, format=spec["format"], problems=problems, digest=digest, limits=import_batches.limits(spec))
    bearable = takewhile(lambda _: not problems.enough, rows)
    for place, record in import_batches.Work(spec).records(bearable, problems):
        read += 1
        if len(shown) < SHOWN_ROWS:
            shown.append({"place": place, "record": {name: _shown(value) for name, value in asdict(record).items()}})
        records.append((place, record))
        if read >= LOOKED_ROWS or (read % 50 == 0 and time.monotonic() > until):
            whole = False
            break
    bad = len(problems.places)  # doubles, found below, are the file's matter
    makes = reading.SHAPES[spec["shape"]].makes
    if makes == "samples":
        samples = ((place, row) for place, row in records if isinstance(row, SampleRow))
        for _ in sample_rows.copy_lines(samples, problems, tally):
            pass
    else:
        for _, record in records:
            import_batches.scan_others(record, tally)
    return {
        "makes": makes, "read": read + bad, "whole": whole, "shown": shown, "problems": _told(problems.found), "total": problems.total,
        "bad_rows": bad, "warnings": problems.warning_count, "counts": dict(problems.counts), "tally": tally.as_dict(),
    }  # fmt: skip


def _shown(value: Any) -> Any:
    """A value as a preview shows it: short, and always as text."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _told(problems: Any) -> list[dict[str, Any]]:
    return [{"line": p.line, "field": p.field, "message": p.message, "code": p.code, "unit": p.unit} for p in islice(problems, 50)]


# --- the whole ---------------------------------------------------------------------------------------------------------------------------


def bring(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Read all of it: check, name, split and scan every row, and write what is to be stored. With problems nothing is left to store.

    `spec`: path, bytes, format, shape, mapping, options, quarantine, dry (write nothing), and hands (processes, else as many as pay).
    """
    path = Path(spec["path"])
    digest, tally, seen = Counted(), sample_rows.Tally(), sample_rows.Seen()
    began = time.monotonic()
    makes = reading.SHAPES[spec["shape"]].makes
    work = import_batches.Work(spec)
    hands = import_batches.hands(spec, work)
    with (
        (folder / REPORT).open("w", encoding="utf-8", newline="") as report,
        (folder / "events.jsonl").open("a", encoding="utf-8") as events,
    ):
        problems = Reported(report, skip=spec.get("options", {}).get("bad") == "skip")
        # Whoever watches copies a part as soon as it is whole, while the next is written.
        parts = Parts(folder / OUTPUT, "copy" if makes == "samples" else "jsonl", lambda name: _say(events, {"type": "part", "name": name}))
        tell = _teller(events, spec.get("bytes", 0), began)
        keep = not spec.get("dry")
        for done in import_batches.through(work, import_batches.batches(path, spec, digest), hands):
            problems.hear(done)
            tally.add(done.tally)
            seen.extend(done.seen)
            if keep and done.data:
                parts.write(done.data)
            if keep and problems.total:
                keep = False
                parts.remove()
            tell(digest.bytes, tally.rows)
            if problems.enough or done.ended:
                break
        if makes == "samples":
            sample_rows.conclude(seen, problems, tally)
        if not tally.rows and not problems.total:
            problems.add(0, "", "The file holds no records that can be stored." if problems.bad_rows else "The file holds no records.",
                         "import.empty")  # fmt: skip
        if problems.total:
            parts.remove()
        parts.close()
        tell(digest.bytes, tally.rows, last=True)
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "makes": makes, "sha256": digest.hexdigest(), "bytes": digest.bytes, "parts": parts.names, "problems": problems.total,
        "first": _told(problems.found), "warnings": problems.warning_count, "told": _told(problems.warnings),
        "counts": dict(problems.counts), "left_out": dict(problems.left_out), "bad_rows": problems.bad_rows, "tally": tally.as_dict(),
        "unit": problems.unit, "seconds": round(time.monotonic() - began, 3), "hands": hands, "peak_rss_mb": round(max(peaks), 1),
    }  # fmt: skip


def read_back(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, record as an object) of a part that `bring` wrote for what is no sample."""
    with path.open("rb") as file:
        for line in file:
            found = json.loads(line)
            yield found["place"], found["record"]


def preference(record: dict[str, Any]) -> PreferenceRow:
    return PreferenceRow(**record | {"sample": SampleRow(**record["sample"])})


def document(record: dict[str, Any]) -> dict[str, Any]:
    """As `annotation.documents` reads it: {"id"?, "title", "text", "outputs"}."""
    row = {name: record[name] for name in ("title", "text", "outputs")}
    return row | ({"id": record["external_id"]} if record["external_id"] else {})


def _teller(events: IO[str], total: int, began: float) -> Callable[..., None]:
    told = [0.0]

    def tell(done: int, rows: int, *, last: bool = False) -> None:
        """Progress in kilobytes: the runner counts in 32 bits."""
        now = time.monotonic()
        if last or now - told[0] >= PAUSE:
            told[0] = now
            event = {
                "type": "progress", "phase": "reading", "done": done // 1024, "total": max(total, done) // 1024, "rows": rows,
                "seconds": round(now - began, 1),
            }  # fmt: skip
            _say(events, event)

    return tell


def _say(events: IO[str], event: dict[str, Any]) -> None:
    events.write(json.dumps({"t": round(time.time(), 3), **event}) + "\n")
    events.flush()


def _end(folder: Path, result: dict[str, Any], code: int) -> int:
    aside = folder / ".result.json.tmp"
    # Half a character of a file's own stands in its first rows as they are shown: no page could say it.
    with aside.open("w", encoding="utf-8", errors="replace") as stream:
        json.dump({"schema": 1, **result}, stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(folder / RESULT)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
