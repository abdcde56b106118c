"""A snapshot as files: a folder that `datasets.load_dataset` opens, its JSONL twin, and both in a zip. The same snapshot, the same bytes.

Two configs: "default", the rows to train on, and "judgments", every answer they were resolved from, votes and flags kept as they were
given. No annotator is named, nor any model: raters are numbered, and their field is told only where three share it.
"""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from annotation import prompts, raw_votes, snapshots
from annotation.models import Snapshot, SnapshotRow, Source, Split

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("prompt", _TURNS),
        ("chosen", _TURNS),
        ("rejected", _TURNS),
        ("p_chosen", pa.float64()),
        ("pair_id", pa.int64()),
        ("sample_id", pa.string()),
        ("task_type", pa.string()),
    ]
)
_HARM = pa.struct([("severity", pa.string()), ("type", pa.string())])
_PLACE = [("of", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("kind", pa.string()), ("severity", pa.string())]
JUDGMENTS = pa.schema(
    [
        ("pair_id", pa.int64()),
        ("sample_id", pa.string()),
        ("task_type", pa.string()),
        ("prompt", _TURNS),
        ("first", pa.string()),
        ("second", pa.string()),
        ("rater", pa.string()),
        ("specialty", pa.string()),
        ("kind", pa.string()),
        ("counted", pa.bool_()),
        ("shown_left", pa.string()),
        ("verdict", pa.string()),
        ("cannot_reason", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("harm_first", _HARM),
        ("harm_second", _HARM),
        ("axes", pa.string()),
        ("hard", pa.string()),
        ("rationale", pa.string()),
        ("spans", pa.list_(pa.struct(_PLACE))),
        ("edited", pa.string()),
        ("edited_text", pa.string()),
        ("active_ms", pa.int64()),
    ]
)
CHUNK = 1000


def root() -> Path:
    return Path(settings.DATA_DIR) / "exports"


def folder(*, snapshot: Snapshot) -> Path:
    """The snapshot's data set folder under DATA_DIR/exports, written on first use; raises OSError when the disk refuses.

    README.md (card with YAML configs), data/<split>-00000-of-00001.parquet, jsonl/<split>.jsonl, the same under judgments/ for the raw
    answers, manifest.json with the SHA-256 of each.
    An empty split has no file, and the card says so. Written aside and renamed, so that a folder that exists is whole.
    """
    place = root() / snapshot.digest
    if place.is_dir():
        return place
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=root()))
    try:
        _write(snapshot, aside)
        try:
            aside.rename(place)
        except OSError:
            # Someone else wrote the same bytes first.
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


def jsonl(*, snapshot: Snapshot) -> Path:
    """All rows in one JSONL file, each with its split; written beside the folder on first use."""
    return _beside(snapshot, ".jsonl", _write_jsonl)


def archive(*, snapshot: Snapshot) -> Path:
    """The folder as a zip with fixed times and order; written on first use."""
    return _beside(snapshot, ".zip", _write_zip)


def _beside(snapshot: Snapshot, ending: str, write: Any) -> Path:
    place = root() / f"{snapshot.digest}{ending}"
    if place.is_file():
        return place
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=root())
    os.close(handle)
    aside = Path(name)
    try:
        write(snapshot, aside)
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)
    return place


def _write(snapshot: Snapshot, place: Path) -> None:
    counts, answers = {}, {}
    for split in Split.values:
        counts[split] = _write_split(snapshots.training_rows(snapshot, split), SCHEMA, split, place / "data", place / "jsonl")
    raw = raw_votes.read(snapshot)
    for split in Split.values:
        rows = (row for row in raw if row.split == split)
        answers[split] = _write_split(
            (row.values for row in rows), JUDGMENTS, split, place / "judgments" / "data", place / "judgments" / "jsonl"
        )
    (place / "README.md").write_text(card(snapshot, counts, answers), encoding="utf-8")
    files = sorted(path for path in place.rglob("*") if path.is_file())
    manifest = {
        "snapshot": snapshot.digest,
        "format": snapshots.FORMAT,
        "layout": prompts.LAYOUT,
        "rows": counts,
        "judgments": answers,
        "filters": snapshot.filters,
        "counts": snapshot.counts,
        "files": {path.relative_to(place).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files},
    }
    (place / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_split(rows: Iterator[dict[str, Any]], schema: Any, split: str, tables: Path, lines_in: Path) -> int:
    tables.mkdir(parents=True, exist_ok=True)
    lines_in.mkdir(parents=True, exist_ok=True)
    parquet = tables / f"{split}-00000-of-00001.parquet"
    lines = lines_in / f"{split}.jsonl"
    written = 0
    with pq.ParquetWriter(parquet, schema, compression="zstd") as table, lines.open("w", encoding="utf-8", newline="\n") as text:
        for chunk in _chunks(rows):
            table.write_table(pa.Table.from_pylist(chunk, schema=schema))
            text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in chunk)
            written += len(chunk)
    if not written:
        parquet.unlink()
        lines.unlink()
    return written


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write_jsonl(snapshot: Snapshot, place: Path) -> None:
    with place.open("w", encoding="utf-8", newline="\n") as text:
        for split in Split.values:
            for row in snapshots.training_rows(snapshot, split):
                text.write(json.dumps({**row, "split": split}, ensure_ascii=False) + "\n")


def _write_zip(snapshot: Snapshot, place: Path) -> None:
    source = folder(snapshot=snapshot)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(f"{filename(snapshot)}/{path.relative_to(source).as_posix()}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, path.read_bytes())


def _config(name: str, place: str, counts: dict[str, int]) -> str:
    files = "".join(f"  - split: {split}\n    path: {place}/{split}-*.parquet\n" for split, rows in counts.items() if rows)
    return f"- config_name: {name}\n  data_files:\n{files}" if files else ""


def filename(snapshot: Snapshot) -> str:
    """What a download is called: nothing but the digest, so that a name typed by someone never becomes a file's."""
    return f"rounds-snapshot-{snapshot.digest[:12]}"


def card(snapshot: Snapshot, counts: dict[str, int], answers: dict[str, int]) -> str:
    """The data set's card: YAML that the Hub and `datasets` read, then what a reader must know before training on it."""
    sources = list(
        Source.objects.filter(samples__prompts__in=SnapshotRow.objects.filter(snapshot=snapshot).values("prompt"))
        .distinct()
        .order_by("name")
    )
    licences = sorted({source.licence for source in sources})
    configs = _config("default", "data", counts) + _config("judgments", "judgments/data", answers)
    tags = ["preference", "dpo", "clinical", *(["toy"] if snapshot.toy else []), *(["simulated"] if snapshot.simulated else [])]
    total = sum(counts.values())
    size = "n<1K" if total < 1000 else "1K<n<10K" if total < 10_000 else "10K<n<100K" if total < 100_000 else "100K<n<1M"
    head = [
        "---",
        "language:\n- en",
        "license: other",
        f"license_name: {json.dumps(' and '.join(licences))}",
        f"pretty_name: {json.dumps(f'Rounds preferences {snapshot.digest[:12]}')}",
        f"annotations_creators:\n- {'machine-generated' if snapshot.simulated else 'expert-generated'}",
        f"size_categories:\n- {size}",
        "task_categories:\n- text-generation",
        "tags:\n" + "\n".join(f"- {tag}" for tag in tags),
        f"configs:\n{configs}---",
    ]
    badges = []
    if snapshot.simulated:
        badges.append(
            "> **Simulated.** A program played the raters. This shows that the machinery works and says nothing about medicine.\n"
        )
    if snapshot.toy:
        badges.append("> **Toy.** The texts come from a toy model family trained on generated text.\n")
    dropped = snapshot.counts.get("dropped", {})
    body = [
        f"# {' '.join(snapshot.name.split())}",
        *badges,
        "Blinded comparisons of two texts for one clinical prompt: which one the raters preferred, and how surely.",
        "## Rows",
        "| split | rows |\n|---|---|\n" + "\n".join(f"| {split} | {rows if rows else 'none'} |" for split, rows in counts.items()),
        f"From {snapshot.counts['judgements']} judgements by {snapshot.counts['raters']} raters. "
        "The split belongs to the sample and never changes: train on `train`, stop early "
        "on `validation`, and keep `evaluation` for the final comparison.",
        "## Left out",
        "| reason | pairs |\n|---|---|\n"
        + "\n".join(f"| {snapshots.DROP_REASONS.get(reason, reason)} | {count} |" for reason, count in dropped.items())
        if dropped
        else "Nothing.",
        "## Columns",
        "- `prompt`, `chosen`, `rejected`: lists of turns (`role`, `content`), as TRL's trainers read them. Set `max_length` from "
        "these texts: a trainer's default may drop long prompts silently.\n"
        "- `p_chosen`: the soft target in (0.5, 1): the mean of 0.92 (much better), 0.75 (slightly) and 0.5 (both acceptable) over "
        "the votes, with one vote for 0.5 added; 0.95 where a lead clinician ruled, and against a text flagged as harmful, which is never "
        "preferred.\n- `pair_id`, `sample_id`, `task_type`: where the row comes from.",
        "## Judgments",
        "The config `judgments` holds every answer the rows were resolved from, one a row, by completion (`first`, `second`), with flags, "
        "reasons, marked places (code points), edits and the side it was shown on. `counted` answers are votes; the others (repeats, late "
        "ones) are kept because harm seen is harm seen. A text is left out (null) where a lead ruled it out of training or its sample was "
        "withdrawn. Raters are numbered for this data set alone; `specialty` is given only where three of its raters share it.",
        "## Sources and licences",
        "\n".join(
            f"- {' '.join(source.name.split())}: {' '.join(source.licence.split())}{' (synthetic)' if source.synthetic else ''}"
            for source in sources
        ),
        f"Layout `{prompts.LAYOUT}`: the instruction is the system turn, the input the user turn. Snapshot digest `{snapshot.digest}`.",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(body) + "\n"
