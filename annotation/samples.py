"""Samples come in: MediFlow's columns, strictly, whole or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any

from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import privacy, records, sample_rows, slots, splits, staging
from annotation.models import Pair, Privacy, Sample, SampleCount, Source
from annotation.reading import SHAPES, Options, jsonl
from annotation.reading.shapes import SCORES, SampleRow
from annotation.records import ImportRefused, ImportReport, Problem, Problems


class NotInQuarantine(Exception):
    """Somebody has decided about the sample before, or it was never held."""


def import_jsonl(*, file: IO[bytes], source: str, licence: str, actor: User | None, synthetic: bool = True) -> ImportReport:
    """Store the MediFlow-shaped rows of a JSONL file under `source`; rows that are there already are counted and left alone.

    What programs of ours call with files they have made: `annotation.imports` is the door for people's. The same steps, in this process:
    a row is read, checked, scanned for privacy and copied into a table of its own, from which all move in one transaction.
    Columns (text unless said otherwise): instruction, input, output, task_type, input_data, output_format, difficulty_level;
    optional id (else the row's digest), rejected_output, error_type and the judge scores quality, alignment, coherence, realism,
    difficulty (numbers from 1 to 4, or null).

    Raises ImportRefused with every problem's line and field; then nothing is stored.
    """
    stops = [Problem(0, name, f"Name the {name} in 1 to 80 characters.") for name in ("source", "licence")
             if not (value := {"source": source, "licence": licence}[name]).strip() or len(value) > 80]  # fmt: skip
    if stops:
        raise ImportRefused(stops)
    problems, digest, tally = Problems(), sha256(), sample_rows.Tally()
    report = ImportReport(source=source)
    with transaction.atomic():
        origin = open_source(name=source, licence=licence, synthetic=synthetic)
        staged = staging.make(temporary=True)
        staging.load(staged, sample_rows.copy_lines(_read(file, problems, digest), problems, tally))
        if not tally.rows and not problems.total:
            problems.add(0, "", "The file holds no records.", "import.empty")
        problems.refuse_if_any()
        staging.measure(staged)
        found, total = staging.conflicts(staged, origin)
        if total:
            raise ImportRefused(found, total)
        staging.move(staged, origin)
        report.rows, report.stored, report.already, report.by_group = staged.rows, staged.stored, staged.already, staged.splits
        report.warnings, report.warning_count, report.file_digest = problems.warnings, problems.warning_count, digest.hexdigest()
        audit.record(actor, "samples.imported", origin, rows=report.rows, stored=report.stored, file=report.file_digest)
    return report


def _read(file: IO[bytes], problems: Problems, digest: Any) -> Iterator[tuple[int, SampleRow]]:
    convert = SHAPES["mediflow"].convert
    for place, row in jsonl.rows(file, problems, digest):
        for record in convert(place, row, {}, problems, Options()):
            assert isinstance(record, SampleRow)
            yield place, record


def open_source(*, name: str, licence: str, synthetic: bool) -> Source:
    """The source, made if it is not there, and held until the transaction ends. Raises ImportRefused when it has another licence."""
    origin, _ = Source.objects.get_or_create(name=name, defaults={"licence": licence, "synthetic": synthetic})
    # One import of a source at a time: two at once could both find a row absent.
    origin = Source.objects.select_for_update(no_key=True).get(pk=origin.pk)
    if origin.licence != licence:
        said = f"The source is stored under another licence ({records.label(origin.licence)}). Choose another source name."
        raise ImportRefused([Problem(0, "licence", said, "import.licence")])
    return origin


# --- lists of millions -------------------------------------------------------------------------------------------------------------------

_PAGE = """
SELECT s.id FROM (VALUES {cells}) AS cell (source, task, part) CROSS JOIN LATERAL (
    SELECT id FROM annotation_sample
    WHERE source_id = cell.source AND task_type = cell.task AND split = cell.part AND id {way} %s ORDER BY id {order} LIMIT %s
) s ORDER BY s.id {order} LIMIT %s
"""


def counted(**filters: Any) -> int:
    """How many samples fit `source` (key), `task_type` and `split`, from counts that triggers keep."""
    return sum(SampleCount.objects.filter(**filters).values_list("rows", flat=True))


@dataclass(frozen=True)
class Listed:
    """A page of samples, newest first, without their texts. `older` and `newer` are the keys to go on from, None at an end."""

    rows: list[Sample]
    count: int
    older: int | None = None
    newer: int | None = None


def listed(*, filters: dict[str, Any], before: int | None = None, after: int | None = None, size: int = 50) -> Listed:
    """The page below the key `before`, or above `after`, of what fits `filters` (source, task_type, split). Three queries at most.

    Nothing is counted and nothing skipped: a page far down costs what the first does. With filters each cell (source × task × split) is
    read from its end of one index, so that a filter that fits little does not read what does not fit.
    """
    up = after is not None
    keys = _keys(filters, limit=after if up else before, up=up, size=size + 1)
    more = len(keys) > size
    keys = sorted(keys[:size], reverse=True)
    shown = ("external_id", "version", "source__name", "task_type", "input_data", "split", "privacy", "created_at", "withdrawn_at")
    rows = list(Sample.objects.filter(pk__in=keys).select_related("source").only(*shown).order_by("-pk")) if keys else []
    past, ahead = (more, True) if up else (before is not None, more)
    return Listed(rows, counted(**filters), keys[-1] if keys and ahead else None, keys[0] if keys and past else None)


def _keys(filters: dict[str, Any], *, limit: int | None, up: bool, size: int) -> list[int]:
    edge = limit if limit is not None else (0 if up else 2**62)
    way, order = (">", "ASC") if up else ("<", "DESC")
    if not filters or set(filters) == {"split"}:
        # One index serves these whole.
        found = Sample.objects.filter(**filters, **{"pk__gt" if up else "pk__lt": edge})
        return list(found.order_by("pk" if up else "-pk").values_list("pk", flat=True)[:size])
    cells = list(SampleCount.objects.filter(rows__gt=0, **filters).values_list("source_id", "task_type", "split"))
    if not cells:
        return []
    statement = _PAGE.format(cells=", ".join(["(%s::bigint, %s, %s)"] * len(cells)), way=way, order=order)
    with connection.cursor() as cursor:
        # `way` and `order` are words of ours; all else is a parameter.
        cursor.execute(statement, [*(value for cell in cells for value in cell), edge, size, size])
        return [key for (key,) in cursor.fetchall()]


def task_types() -> list[str]:
    """The kinds of tasks there are, in the order of the alphabet."""
    return list(SampleCount.objects.filter(rows__gt=0).order_by("task_type").values_list("task_type", flat=True).distinct())


# --- the quarantine ----------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def release(*, sample: Sample, actor: User | None) -> None:
    """A steward has read it: it names nobody, or may. From now on it is a sample like any other. Raises NotInQuarantine."""
    _decide(sample, privacy=Privacy.RELEASED)
    audit.record(actor, "sample.released", sample, rules=_rules(sample))


@transaction.atomic
def keep_out(*, sample: Sample, actor: User | None) -> None:
    """A steward has read it: nobody shall use it. It stays where only stewards see it, withdrawn. Raises NotInQuarantine."""
    _decide(sample, withdrawn_at=Now())
    audit.record(actor, "sample.withdrawn", sample, rules=_rules(sample))


@transaction.atomic
def redact(*, sample: Sample, actor: User | None) -> Sample:
    """What was found is replaced by its rule's name in brackets, as a new version of the sample; the one as it came is withdrawn.

    Returns the new version, or the sample that holds these words already. Raises NotInQuarantine.
    """
    _decide(sample, withdrawn_at=Now())
    texts = {name: _redacted(getattr(sample, name)) for name in sample_rows.TEXTS}
    scores = {name: value for name in SCORES if (value := getattr(sample, name)) is not None}
    labels = {name: getattr(sample, name) for name in ("task_type", "input_data", "output_format", "difficulty_level", "error_type")}
    row = SampleRow(external_id=sample.external_id, scores=scores, **texts, **labels)
    digest, key = sample_rows.digest_of(row).hex(), splits.key_of(row.instruction, row.input)
    same = Sample.objects.filter(source=sample.source_id, digest=digest).first()
    made = same or Sample.objects.create(
        source_id=sample.source_id, external_id=sample.external_id, version=_next_version(sample), digest=digest, split_key=key,
        split=splits.split_of(key), **texts, **labels, **scores,
    )  # fmt: skip
    audit.record(actor, "sample.redacted", sample, rules=_rules(sample), version=made.pk)
    return made


def _decide(sample: Sample, **change: Any) -> None:
    if not Sample.objects.filter(pk=sample.pk, privacy=Privacy.QUARANTINED, withdrawn_at=None).update(**change):
        raise NotInQuarantine("Somebody has decided about this sample meanwhile. Nothing was changed.")


def _next_version(sample: Sample) -> int:
    same = Sample.objects.filter(source=sample.source_id, external_id=sample.external_id)
    return int(same.aggregate(newest=Max("version"))["newest"]) + 1


def _redacted(text: str) -> str:
    return privacy.redact(text, privacy.scan(text)) if text else text


def _rules(sample: Sample) -> list[str]:
    return sorted({hit[0] for hit in sample.privacy_hits})


def withdraw_older(*, source: Source) -> int:
    """Withdraw the samples of which a newer version is stored, with their open places; returns how many."""
    older = staging.superseded(source)
    if older:
        Sample.objects.filter(pk__in=older).update(withdrawn_at=Now())
        slots.withdraw(pairs=Pair.objects.filter(prompt__sample__in=older))
    return len(older)
