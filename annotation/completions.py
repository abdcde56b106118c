"""Texts that answer prompts: what our models generated, and what external systems wrote for the same inputs."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import PurePath
from typing import IO, Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import prompts, records
from annotation.models import Completion, GenerationBatch, Privacy, Sample, Source
from annotation.reading import jsonl, limits
from annotation.records import ImportRefused, ImportReport, Problem, Problems, Row

MAX_SYSTEM = 80
DEFAULT_COLUMNS = {"id": "id", "system": "system", "text": "text"}
# (problems, digest of the file) → numbered rows.
Reader = Callable[[Problems, Any], Iterator[tuple[int, Row]]]


@transaction.atomic
def record(*, batch: GenerationBatch, items: Iterable[Mapping[str, Any]]) -> int:
    """Store what a batch's producer wrote; returns how many are new, so that it may be repeated.

    Each item: {"prompt": primary key, "text": str, "finish_reason": str = "", "tokens": int | None, "number": int = 0}.
    A NUL, which no table can hold, becomes U+FFFD.
    """
    before = batch.completions.count()
    made = []
    for item in items:
        text = str(item["text"]).replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        made.append(
            Completion(
                batch=batch,
                prompt_id=item["prompt"],
                number=item.get("number", 0),
                text=text,
                finish_reason=item.get("finish_reason") or "",
                tokens=item.get("tokens"),
                digest=records.text_digest(text),
            )
        )
    Completion.objects.bulk_create(made, ignore_conflicts=True, batch_size=1000)
    new = batch.completions.count() - before
    audit.record(batch.created_by, "completions.recorded", batch, completions=new)
    return new


def import_external(
    *, file: IO[bytes], filename: str, source: str, actor: User | None, columns: Mapping[str, str] | None = None
) -> ImportReport:
    """Store what named systems wrote for samples of `source`: csv or JSONL by the file's ending, one row a sample and system.

    `columns` says which columns hold the sample's id, the system's name and the text, where they are not called id, system, text.
    Texts that are there already are counted and left alone.

    Raises ImportRefused with every problem's line and field (unknown sample, a system twice for one sample, two systems with
    the same text for one sample, another text stored before); then nothing is stored.
    """
    names = {**DEFAULT_COLUMNS, **(columns or {})}
    return import_rows(
        rows=lambda problems, digest: _rows(file, filename, names, problems, digest), source=source, actor=actor, names=names
    )


def import_rows(*, rows: Reader, source: str, actor: User | None, names: Mapping[str, str] = DEFAULT_COLUMNS) -> ImportReport:
    """The same for rows that a reader of another format makes, with the sample's id, the system and the text under `names`."""
    problems = Problems()
    digest = sha256()
    report = ImportReport(source=source)
    found = list(_checked(rows(problems, digest), names, problems, report))
    if not report.rows and not problems.total:
        problems.add(0, "", "The file holds no records.")
    with transaction.atomic():
        origin = Source.objects.select_for_update().filter(name=source).first()
        if origin is None:
            raise ImportRefused([Problem(0, "source", "No samples are stored under this source. Import the samples first.")])
        named = Sample.objects.filter(source=origin, external_id__in={r.sample for r in found}).order_by("version")
        # Of several versions under one id the newest is meant.
        samples = {s.external_id: s for s in named}
        for row in found:
            if row.sample not in samples:
                problems.add(row.line, names["id"], f"No sample of this source has the id {records.label(row.sample)}.")
            elif samples[row.sample].privacy == Privacy.QUARANTINED:
                problems.add(row.line, names["id"], "The sample is in quarantine. A steward has to release it first.", "import.quarantined")
        problems.refuse_if_any()
        _store(found, samples, origin, names, actor, problems, report)
        problems.refuse_if_any()
        report.file_digest = digest.hexdigest()
        audit.record(actor, "completions.imported", origin, rows=report.rows, stored=report.stored, file=report.file_digest)
    return report


class _External:
    __slots__ = ("digest", "line", "sample", "system", "text")

    def __init__(self, line: int, sample: str, system: str, text: str) -> None:
        self.line, self.sample, self.system, self.text = line, sample, system, text
        self.digest = records.text_digest(text)


def _rows(file: IO[bytes], filename: str, names: Mapping[str, str], problems: Problems, digest: Any) -> Iterator[tuple[int, Row]]:
    ending = PurePath(filename).suffix.lower()
    if ending in {".jsonl", ".ndjson"}:
        yield from jsonl.rows(file, problems, digest)
    elif ending == ".csv":
        yield from _csv_rows(file, names, problems, digest)
    else:
        problems.add(0, "", "The file's name must end in .csv or .jsonl.")


def _csv_rows(file: IO[bytes], names: Mapping[str, str], problems: Problems, digest: Any) -> Iterator[tuple[int, Row]]:
    """Rows of a comma-separated file with a header, numbered by the line on which each begins (texts may hold line breaks)."""
    raw = file.read()
    digest.update(raw)
    # Decoded line by line, so that a wrong byte is reported with its line.
    text = "\n".join(_every_line(raw, problems))
    if problems.total or not text.strip():
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    csv.field_size_limit(limits.MAX_LINE_BYTES)
    header: list[str] | None = None
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cells):
                continue
            if header is None:
                header = cells
                for name in {n for n in header if header.count(n) > 1}:
                    problems.add(line, records.label(name), "The header names this column twice.")
                for name in names.values():
                    if name not in header:
                        problems.add(line, records.label(name), "The header lacks this column.")
                for name in sorted(set(header) - set(names.values())):
                    problems.add(line, records.label(name), "Unknown column: only the sample's id, the system and its text are taken.")
                if problems.total:
                    return
            elif len(cells) != len(header):
                problems.add(line, "", f"The row has {len(cells)} cells, the header {len(header)}.")
            else:
                yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        problems.add(begins, "", f"Not valid csv: {error}.")


def _every_line(raw: bytes, problems: Problems) -> list[str]:
    texts = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            problems.add(
                number, "", f"Byte 0x{line[error.start]:02X} at byte {error.start + 1} of the line is not UTF-8. Save the file as UTF-8."
            )
            return []
    return texts


def _checked(rows: Iterator[tuple[int, Row]], names: Mapping[str, str], problems: Problems, report: ImportReport) -> Iterator[_External]:
    seen: dict[tuple[str, str], int] = {}
    texts: dict[tuple[str, str], tuple[int, str]] = {}
    for number, row in rows:
        report.rows += 1
        before = problems.total
        for name in names.values():
            if name not in row:
                problems.add(number, records.label(name), "The column is missing.")
        for name in sorted(row.keys() - set(names.values())):
            problems.add(number, records.label(name), "Unknown column: only the sample's id, the system and its text are taken.")
        if problems.total > before:
            continue
        sample = records.check_id(row[names["id"]], problems, number, names["id"])
        system = records.check_id(row[names["system"]], problems, number, names["system"])
        text = records.check_text(row[names["text"]], problems, number, names["text"])
        if sample is None or system is None or text is None:
            continue
        if len(system) > MAX_SYSTEM:
            problems.add(number, names["system"], f"The name has {len(system)} characters; {MAX_SYSTEM} are allowed.")
            continue
        found = _External(number, sample, system, text)
        if first := seen.get((sample, system)):
            problems.add(number, names["system"], f"Line {first} holds this system's text for the same sample.")
        elif twin := texts.get((sample, found.digest)):
            problems.add(
                number, names["text"], f"Identical to the text of another system for the same sample on line {twin[0]}: nothing to prefer."
            )
        else:
            records.notice_oddities(text, report, number, names["text"])
            seen[sample, system] = number
            texts[sample, found.digest] = (number, system)
            yield found


def _store(
    rows: list[_External],
    samples: Mapping[str, Sample],
    origin: Source,
    names: Mapping[str, str],
    actor: User | None,
    problems: Problems,
    report: ImportReport,
) -> None:
    rendered = {p.sample_id: p for p in prompts.render(samples=samples.values())}
    decoding = {"imported_for": origin.name}
    for system in sorted({row.system for row in rows}):
        mine = [row for row in rows if row.system == system]
        batch = GenerationBatch.objects.filter(system=system, decoding=decoding).first()
        if batch is None:
            batch = GenerationBatch.objects.create(system=system, decoding=decoding, created_by=actor)
        stored = dict(batch.completions.filter(number=0).values_list("prompt_id", "digest"))
        fresh = []
        for row in mine:
            prompt = rendered[samples[row.sample].pk]
            if prompt.pk not in stored:
                fresh.append(Completion(batch=batch, prompt=prompt, text=row.text, digest=row.digest, finish_reason="external"))
            elif stored[prompt.pk] == row.digest:
                report.already += 1
            else:
                problems.add(row.line, names["text"], "Another text of this system is stored for this sample.")
        Completion.objects.bulk_create(fresh, batch_size=1000)
        report.stored += len(fresh)
        report.by_group[system] = len(fresh)
