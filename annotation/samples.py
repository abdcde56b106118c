"""Samples come in: MediFlow's columns, strictly, whole or not at all."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import IO, Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import records, splits
from annotation.models import Sample, Source
from annotation.reading import jsonl
from annotation.records import ImportRefused, ImportReport, Problem, Problems, Row

# The columns of the MediFlow data set (arXiv 2505.10717, data card).
REQUIRED = ("instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level")
SCORES = ("quality", "alignment", "coherence", "realism", "difficulty")
OPTIONAL = ("id", "rejected_output", "error_type", *SCORES)
MAY_BE_EMPTY = {"output", "difficulty_level"}
LIMITS = {"task_type": 60, "input_data": 80, "output_format": 20, "difficulty_level": 20, "error_type": 60}
LONG_TEXTS = ("instruction", "input", "output", "rejected_output")

# arXiv 2505.10717, appendix A.4; the data set's own spelling may differ in case, "_" and "-".
TASK_TYPES = frozenset(
    {
        "summarization", "question answering", "multiple choice question answering", "named entity recognition", "relation extraction",
        "classification", "reasoning & diagnosis", "textual entailment", "text simplification", "text expansion", "abbreviation expansion",
        "aspect oriented keyword extraction", "error detection & correction", "note scoring",
    }
)  # fmt: skip
OUTPUT_FORMATS = frozenset({"plain text", "json"})
CHUNK = 1000


def plain_label(value: str) -> str:
    return " ".join(value.casefold().replace("_", " ").replace("-", " ").replace(" and ", " & ").split())


def import_jsonl(*, file: IO[bytes], source: str, licence: str, actor: User | None, synthetic: bool = True) -> ImportReport:
    """Store the MediFlow-shaped rows of a JSONL file under `source`; rows that are there already are counted and left alone.

    Streams: one line is in memory at a time, a thousand rows go to the database at once, all in one transaction.
    Columns (text unless said otherwise): instruction, input, output, task_type, input_data, output_format, difficulty_level;
    optional id (else the row's digest), rejected_output, error_type and the judge scores quality, alignment, coherence, realism,
    difficulty (numbers from 1 to 4, or null).

    Raises ImportRefused with every problem's line and field; then nothing is stored.
    """
    problems = Problems()
    digest = sha256()
    report = ImportReport(source=source)
    if not source.strip() or len(source) > 80:
        raise ImportRefused([Problem(0, "source", "Name the source in 1 to 80 characters.")])
    if not licence.strip() or len(licence) > 80:
        raise ImportRefused([Problem(0, "licence", "Name the licence in 1 to 80 characters.")])
    with transaction.atomic():
        origin, _ = Source.objects.get_or_create(name=source, defaults={"licence": licence, "synthetic": synthetic})
        # One import of a source at a time: two at once could both find a row absent.
        origin = Source.objects.select_for_update().get(pk=origin.pk)
        if origin.licence != licence:
            problems.add(
                0, "licence", f"The source is stored under another licence ({records.label(origin.licence)}). Choose another source name."
            )
        ids: dict[str, int] = {}
        digests: dict[str, int] = {}
        fresh = _checked(file, problems, report, digest, ids, digests)
        while chunk := list(islice(fresh, CHUNK)):
            _store(chunk, origin, problems, report)
        if not report.rows and not problems.total:
            problems.add(0, "", "The file holds no records.")
        problems.refuse_if_any()
        report.file_digest = digest.hexdigest()
        audit.record(actor, "samples.imported", origin, rows=report.rows, stored=report.stored, file=report.file_digest)
    return report


def _checked(
    file: IO[bytes], problems: Problems, report: ImportReport, digest: Any, ids: dict[str, int], digests: dict[str, int]
) -> Iterator[tuple[int, Sample]]:
    for number, row in jsonl.rows(file, problems, digest):
        report.rows += 1
        sample = _sample(number, row, problems, report)
        if sample is None:
            continue
        if first := digests.get(sample.digest):
            problems.add(number, "", f"The same record stands on line {first}.")
            continue
        if first := ids.get(sample.external_id):
            problems.add(number, "id", f"The same id stands on line {first}.")
            continue
        ids[sample.external_id] = digests[sample.digest] = number
        yield number, sample


def _sample(number: int, row: Row, problems: Problems, report: ImportReport) -> Sample | None:
    before = problems.total
    for name in REQUIRED:
        if name not in row:
            problems.add(number, name, "The column is missing.")
    for name in row.keys() - {*REQUIRED, *OPTIONAL}:
        problems.add(number, records.label(name), "Unknown column. Allowed are MediFlow's columns and an id.")
    texts: dict[str, str] = {}
    for name in (*REQUIRED, "rejected_output", "error_type"):
        if name not in row:
            continue
        required = name in REQUIRED and name not in MAY_BE_EMPTY
        value = records.check_text(row[name], problems, number, name, required=required)
        if value is None:
            continue
        if len(value) > LIMITS.get(name, records.MAX_TEXT):
            problems.add(number, name, f"The label has {len(value)} characters; {LIMITS[name]} are allowed.")
        texts[name] = value
    scores = {name: _score(row.get(name), problems, number, name) for name in SCORES}
    external_id = records.check_id(row["id"], problems, number, "id") if row.get("id") is not None else None
    if texts.get("output") and texts.get("output") == texts.get("rejected_output"):
        problems.add(number, "rejected_output", "It is identical to the output: nothing to prefer.")
    if problems.total > before:
        return None
    for name in LONG_TEXTS:
        records.notice_oddities(texts.get(name, ""), report, number, name)
    for name, known in (("task_type", TASK_TYPES), ("output_format", OUTPUT_FORMATS)):
        if plain_label(texts[name]) not in known:
            report.warn(number, name, f"“{records.label(texts[name])}” is not one of MediFlow's; it was kept as it is.")
    digest = records.digest_of({**texts, **{name: value for name, value in scores.items() if value is not None}})
    key = splits.key_of(texts["instruction"], texts["input"])
    return Sample(external_id=external_id or digest, digest=digest, split_key=key, split=splits.split_of(key), **texts, **scores)


def _score(value: Any, problems: Problems, number: int, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.add(number, name, "A number is expected.")
        return None
    if not 1 <= value <= 4:
        problems.add(number, name, "The judge's scale runs from 1 to 4.")
        return None
    return float(value)


def _store(chunk: list[tuple[int, Sample]], origin: Source, problems: Problems, report: ImportReport) -> None:
    stored = Sample.objects.filter(source=origin)
    by_digest = dict(stored.filter(digest__in=[s.digest for _, s in chunk]).values_list("digest", "external_id"))
    by_id = dict(stored.filter(external_id__in=[s.external_id for _, s in chunk]).values_list("external_id", "digest"))
    fresh: list[Sample] = []
    for number, sample in chunk:
        known_id = by_digest.get(sample.digest)
        if known_id is not None and sample.external_id in (known_id, sample.digest):
            report.already += 1
        elif known_id is not None:
            problems.add(number, "id", "The same record is stored under another id.")
        elif sample.external_id in by_id:
            problems.add(number, "id", "A different record is stored under this id. Give it a new id, or import under another source name.")
        else:
            sample.source = origin
            fresh.append(sample)
            report.by_group[sample.split] = report.by_group.get(sample.split, 0) + 1
    # Once refused, always refused: reading on only finds more to report.
    if not problems.total:
        Sample.objects.bulk_create(fresh)
        report.stored += len(fresh)
