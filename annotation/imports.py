"""Files come in: received whole, looked at, read in a child without a database, and stored in one transaction, or not at all.

A small file is done while the page waits; a large one by a job of kind `import` (annotation/kinds.py). Both take the same steps:
`read` in a confined child, `stage` what it wrote, `store` it with everything else that belongs to it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.models import User
from annotation import completions, documents, import_child, preferences, privacy, reading, records, samples, staging
from annotation.incoming import folder_of, forget, path_of, place
from annotation.models import Content, Group, Import, ImportState, Source
from annotation.reading.shapes import PreferenceRow
from annotation.records import ImportRefused, ImportReport, Problem
from annotation.staging import Staged, Tell, quiet
from jobs import confinement, submissions
from jobs.errors import EngineFailed
from jobs.models import Job

KIND = "import"
# What is done while a page waits may take so long, and then it is given up: a job has time.
LOOK_SECONDS, AT_ONCE_SECONDS = 20.0, 60.0
# What a child sees of our environment beside a folder for what it makes.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# Options of the reading: `annotation.reading.Options`.
READING = ("nul", "pairs", "doubles", "bad")
# What a conflict with stored rows comes to.
CONFLICTS = {
    "refuse": "Stop, and say which",
    staging.SKIP: "Leave what is stored",
    staging.VERSION: "Store the file's row as a new version",
}


class NotNow(Exception):
    """The import cannot do that now; the message says why."""


# --- how it is to be read ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What a look at the file told: `annotation.import_child.look`'s answer, or why there is none."""

    said: dict[str, Any]
    failed: str = ""


def look(imported: Import, *, shape: str = "", mapping: dict[str, str] | None = None) -> Look:
    """Have a child look at the first rows, with `shape` and `mapping` in place of what it would propose. Stores nothing."""
    spec = {"task": "look", "path": str(path_of(imported)), "name": imported.label, "shape": shape, "mapping": mapping, **_bounds({})}
    with _scratch() as folder:
        try:
            return Look(_child(folder, spec, seconds=LOOK_SECONDS))
        except EngineFailed as failed:
            return Look({}, failed.message)


@transaction.atomic
def configure(
    *, imported: Import, format: str, shape: str, mapping: dict[str, str], target: str, licence: str, options: dict[str, Any] | None = None
) -> Import:
    """Say how the file is to be read and as what it is to be stored. `target` names the source, or for documents the corpus.

    options: synthetic (bool), quarantine (bool), on_conflict (CONFLICTS), nul, pairs, doubles and bad (annotation.reading.Options), and
    for documents group and origin. Raises ImportRefused, and NotNow while a job works on it or when it is stored.
    """
    mine = Import.objects.select_for_update(of=("self",)).select_related("job").get(pk=imported.pk)
    if mine.state == ImportState.STORED or mine.working:
        raise NotNow("The file is stored already." if mine.state == ImportState.STORED else "A job works on it. Stop that first.")
    found = reading.SHAPES.get(shape)
    chosen = {"synthetic": True, "quarantine": True, "on_conflict": "refuse", **(options or {})}
    stops = []
    if found is None:
        stops.append(Problem(0, "shape", "Say what the rows are.", "import.shape"))
    else:
        given = {name for name, column in mapping.items() if column}
        for field_ in found.targets:
            if field_.required and not field_.default and field_.name not in given:
                stops.append(Problem(0, field_.name, f"Say which column holds: {field_.title}.", "import.mapping"))
    for name, value in (("target", target), ("licence", licence)):
        if not value.strip() or len(value) > 80:
            words = "the licence" if name == "licence" else "the source or corpus"
            stops.append(Problem(0, name, f"Name {words} in 1 to 80 characters.", f"import.{name}"))
    if found and found.makes == Content.DOCUMENTS and chosen.get("group") not in Group.values:
        stops.append(Problem(0, "group", f"The groups are {', '.join(Group.values)}.", "import.group"))
    if chosen["on_conflict"] not in CONFLICTS:
        stops.append(Problem(0, "on_conflict", f"The choices are {', '.join(CONFLICTS)}.", "import.on_conflict"))
    if stops:
        raise ImportRefused(stops)
    assert found is not None
    mine.format, mine.shape, mine.content, mine.mapping = format, shape, found.makes, {k: v for k, v in mapping.items() if v}
    mine.target, mine.licence, mine.options = target.strip(), licence.strip(), chosen
    # How conflicts are met is no part of what the file is: the same rows are the same import.
    told = {"shape": shape, "mapping": mine.mapping, "options": {k: v for k, v in chosen.items() if k in READING}}
    mine.recipe = records.digest_of(told)
    mine.state, mine.counts = ImportState.RECEIVED, {}
    mine.save()
    return mine


def earlier(imported: Import, digest: str = "") -> Import | None:
    """The import by which the same file, read alike, has come in before under the same name."""
    same = Import.objects.filter(
        sha256=digest or imported.sha256, content=imported.content, target=imported.target, recipe=imported.recipe, state=ImportState.STORED
    )
    # What was held back then may have been released since.
    return same.exclude(pk=imported.pk).filter(~Q(sha256=""), counts__held_back=0).first()


def recognise(
    *, imported: Import, target: str, licence: str, shape: str = "", mapping: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
) -> Import:  # fmt: skip
    """Configure it by what a look finds, for programs: `shape` and single entries of `mapping` go before what is proposed.

    Raises ImportRefused when it is not known for what it is, and as `configure` does.
    """
    seen = look(imported, shape=shape)
    if seen.failed or not seen.said.get("shape"):
        raise ImportRefused([unknown(seen)])
    proposed = seen.said["mapping"] if seen.said["shape"] == seen.said["proposed"] else {}
    return configure(
        imported=imported, format=seen.said["format"], shape=seen.said["shape"], mapping={**proposed, **(mapping or {})}, target=target,
        licence=licence, options=options,
    )  # fmt: skip


def unknown(seen: Look) -> Problem:
    """Why a file is not known for what it is."""
    first = next(iter(seen.said.get("problems", [])), None)
    said = seen.failed or (first["message"] if first else "What its rows are is not known. Say their shape and which column is which.")
    return Problem(first["line"] if first else 0, "", said, first["code"] if first else "import.shape")


# --- doing it ----------------------------------------------------------------------------------------------------------------------------


def start(*, imported: Import, actor: User | None, dry: bool = False) -> Import:
    """Import it: at once when it is small, else by a job. With `dry` everything is done but storing. What came of it is on the row.

    Raises NotNow while a job works on it or when it is stored, and when the file is gone.
    """
    mine = Import.objects.select_related("job").get(pk=imported.pk)
    if mine.working or mine.state == ImportState.STORED:
        raise NotNow("A job works on it." if mine.working else "The file is stored already.")
    if not path_of(mine).exists():
        raise NotNow("The file is not there any more. Send it again.")
    if not mine.shape:
        raise NotNow("Say first what the rows are.")
    if mine.bytes <= settings.ROUNDS_IMPORT_AT_ONCE_BYTES:
        return at_once(imported=mine, actor=actor, dry=dry)
    return queue(imported=mine, actor=actor, dry=dry)


@transaction.atomic
def queue(*, imported: Import, actor: User | None, dry: bool = False) -> Import:
    """Have a job import it. One import of a file is under way at a time."""
    job = submissions.submit(
        kind=KIND, label=f"{'Try' if dry else 'Import'} {imported.label}"[:120], spec={"import": str(imported.public_id), "dry": dry},
        requested_by=actor, dedupe_key=f"{KIND}:{imported.public_id}", max_attempts=3,
    )  # fmt: skip
    imported.job, imported.state = job, ImportState.RECEIVED
    imported.counts = {}
    imported.save(update_fields=["job", "state", "counts"])
    return imported


def at_once(*, imported: Import, actor: User | None, dry: bool = False, seconds: float | None = None) -> Import:
    """The same while the caller waits, in this process and one child. The row says what came of it: stored, or refused and why."""
    with _scratch() as folder:
        try:
            read = _child(folder, spec_of(imported, dry=dry), seconds=seconds or AT_ONCE_SECONDS)
            keep_report(imported, folder)
            check(imported, read)
            if dry:
                note(imported, read, {"dry": True})
            else:
                with transaction.atomic():
                    staged = stage(imported, read, folder, temporary=True)
                    finish(imported, read, store(imported, read, staged, folder, actor), actor)
        except ImportRefused as refused:
            refuse(imported, refused.problems, refused.total)
        except EngineFailed as failed:
            refuse(imported, [Problem(0, "", failed.message, failed.code)], 1)
    imported.refresh_from_db()
    return imported


def spec_of(imported: Import, *, dry: bool = False) -> dict[str, Any]:
    """What the child is told."""
    return {
        "task": "bring", "path": str(path_of(imported)), "bytes": imported.bytes, "format": imported.format, "shape": imported.shape,
        "mapping": imported.mapping, "dry": dry, "quarantine": imported.options.get("quarantine", True), **_bounds(imported.options),
    }  # fmt: skip


def _bounds(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "options": {name: options[name] for name in READING if name in options},
        "limits": {
            "file_bytes": settings.ROUNDS_IMPORT_MAX_BYTES, "bytes": settings.ROUNDS_IMPORT_MAX_UNPACKED,
            "rows": settings.ROUNDS_IMPORT_MAX_ROWS,
        },
    }  # fmt: skip


def check(imported: Import, read: dict[str, Any]) -> None:
    """Raises ImportRefused for what the child found, and for a file that is not the one that was received."""
    if imported.sha256 and not read["problems"] and read["sha256"] != imported.sha256:
        raise ImportRefused([Problem(0, "file", "The file has changed since it was received.", "upload.digest")])
    if read["problems"]:
        raise ImportRefused([Problem(**one) for one in read["first"]], read["problems"])


@dataclass
class Held:
    """What is ready to be stored: the files that the child wrote, or for samples of a source that holds some a staged table."""

    parts: list[Path]
    staged: Staged | None = None
    told: dict[str, Any] = field(default_factory=dict)


def compares(imported: Import) -> bool:
    """Whether samples have to be held against what is stored of their source. An empty source takes them as they were read."""
    source = Source.objects.filter(name=imported.target).first()
    return source is not None and not staging.empty(source)


def stage(imported: Import, read: dict[str, Any], folder: Path, *, temporary: bool = False, tell: Tell = quiet) -> Held:
    """Copy what the child wrote to where one transaction can take it. Raises ImportRefused for conflicts with what is stored."""
    parts = [folder / import_child.OUTPUT / name for name in read["parts"]]
    key = imported.public_id.hex
    if imported.content != Content.SAMPLES:
        return Held(parts)
    if earlier(imported, read["sha256"]):
        staging.drop(key)
        return Held(parts)
    # A job's table was made before its child began, and holds what was taken of it meanwhile.
    there = not temporary and staging.exists(key)
    if not there and not compares(imported):
        return Held(parts)
    staged = Staged(staging.name_of(key)) if there else staging.make(key, temporary=temporary)
    for part in parts:
        staging.take(staged, part)
    staging.measure(staged)
    if staged.rows != read["tally"]["rows"]:
        raise EngineFailed("import.staging", "Not every row that was read could be staged. It is tried again.", retryable=True)
    source = Source.objects.filter(name=imported.target).first()
    if source is not None and imported.options.get("on_conflict") not in (staging.SKIP, staging.VERSION):
        found, total = staging.conflicts(staged, source, tell=tell, unit=read["unit"])
        if total:
            raise ImportRefused(found, total)
    return Held(parts, staged)


def store(imported: Import, read: dict[str, Any], held: Held, folder: Path, actor: User | None, *, tell: Tell = quiet) -> dict[str, Any]:
    """Make rows of it, inside the caller's transaction; returns counts. The same file again stores nothing and names the first."""
    if before := earlier(imported, read["sha256"]):
        return {"already_as": str(before.public_id), "stored": 0, "already": read["tally"]["rows"], "held_back": 0}
    match imported.content:
        case Content.SAMPLES:
            return _store_samples(imported, read, held, actor, tell)
        case Content.DOCUMENTS:
            report = _store_documents(imported, held, actor)
        case Content.COMPLETIONS:
            names = {"id": "sample_id", "system": "system", "text": "text"}
            report = completions.import_rows(
                rows=lambda problems, digest: _read_back(held.parts, digest), source=imported.target, actor=actor, names=names
            )
        case _:
            return _store_preferences(imported, held, actor)
    return {"stored": report.stored, "already": report.already, "held_back": 0, "by_group": report.by_group}


def _store_samples(imported: Import, read: dict[str, Any], held: Held, actor: User | None, tell: Tell) -> dict[str, Any]:
    source = samples.open_source(name=imported.target, licence=imported.licence, synthetic=bool(imported.options.get("synthetic", True)))
    how = imported.options.get("on_conflict", "refuse")
    if done := held.staged:
        staging.move(done, source, on_conflict=staging.VERSION if how == staging.VERSION else staging.SKIP, tell=tell)
    elif staging.empty(source):
        done = staging.copy(held.parts, source, rows=read["tally"]["rows"], tell=tell)
        if done.rows != read["tally"]["rows"]:
            raise EngineFailed("import.staging", "Not every row that was read could be stored. It is tried again.", retryable=True)
    if done is None or (done.skipped and how == "refuse"):
        # Somebody else's import came between our look and now: the next try finds it.
        raise EngineFailed("import.conflict", "Rows of this source were stored meanwhile. It is tried again.", retryable=True)
    replaced = samples.withdraw_older(source=source) if how == staging.VERSION else 0
    staging.drop(imported.public_id.hex)
    transaction.on_commit(lambda: _remove(held.parts))
    audit.record(
        actor, "samples.imported", source, rows=done.rows, stored=done.stored, file=read["sha256"], replaced=replaced,
        quarantined=read["tally"]["quarantined"],
    )  # fmt: skip
    return {
        "stored": done.stored, "already": done.already, "skipped": done.skipped, "replaced": replaced, "by_group": done.splits,
        "held_back": 0,
    }  # fmt: skip


def _remove(parts: list[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


def _store_documents(imported: Import, held: Held, actor: User | None) -> ImportReport:
    def rows(problems: records.Problems, digest: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, record in _read_back(held.parts, digest):
            yield number, import_child.document(record)

    return documents.import_rows(
        rows=rows, corpus=imported.target, group=imported.options["group"], licence=imported.licence, actor=actor,
        source=imported.options.get("origin", ""),
    )  # fmt: skip


def _store_preferences(imported: Import, held: Held, actor: User | None) -> dict[str, Any]:
    """Rows in which the privacy scan found enough are held back: a preference is a prompt, and prompts are not made of such texts."""
    back = [0]

    def rows() -> Iterator[PreferenceRow]:
        for _, record in _read_back(held.parts):
            row = import_child.preference(record)
            texts = (row.sample.instruction, row.sample.input, row.first_text, row.second_text)
            if imported.options.get("quarantine", True) and privacy.suspicious({h.rule for text in texts for h in privacy.scan(text)}):
                back[0] += 1
            else:
                yield row

    source = samples.open_source(name=imported.target, licence=imported.licence, synthetic=bool(imported.options.get("synthetic", True)))
    done = preferences.store(source=source, rows=rows(), actor=actor, name=imported.target)
    return {**done.as_dict(), "held_back": back[0], "campaign": str(done.campaign.public_id)}


def _read_back(parts: list[Path], digest: Any = None) -> Iterator[tuple[int, dict[str, Any]]]:
    for part in parts:
        yield from import_child.read_back(part)


# --- what came of it ---------------------------------------------------------------------------------------------------------------------


def finish(imported: Import, read: dict[str, Any], counts: dict[str, Any], actor: User | None) -> None:
    """Say that it is stored, in the transaction that stores it. The uploaded file goes: its rows are in their tables."""
    mine = Import.objects.select_for_update().get(pk=imported.pk)
    mine.sha256 = mine.sha256 or read["sha256"]
    mine.counts = _counts(read) | counts
    if "already_as" in counts:
        mine.save(update_fields=["sha256", "counts"])
    else:
        mine.state, mine.ended_at = ImportState.STORED, timezone.now()
        try:
            with transaction.atomic():
                mine.save(update_fields=["sha256", "counts", "state", "ended_at"])
        except IntegrityError:
            raise EngineFailed("import.already", "The same file came in meanwhile.", retryable=True) from None
    told = {name: value for name, value in mine.counts.items() if isinstance(value, int)}
    audit.record(actor, "import.stored", mine, file=mine.sha256, content=mine.content, **told)
    if not mine.on_server:
        transaction.on_commit(lambda: forget(path_of(mine)))


def note(imported: Import, read: dict[str, Any], more: dict[str, Any]) -> None:
    """What a dry run found."""
    Import.objects.filter(pk=imported.pk).update(counts=_counts(read) | more)


def refuse(imported: Import, problems: list[Problem], total: int) -> None:
    """Say why nothing was stored. The file stays, so that it can be read in another way."""
    listed = [{"line": p.line, "field": p.field, "message": p.message, "code": p.code, "unit": p.unit} for p in problems]
    Import.objects.filter(pk=imported.pk).exclude(state=ImportState.STORED).update(
        state=ImportState.REFUSED, counts={"problems": total, "first": listed[: records.MAX_PROBLEMS]}
    )


def keep_report(imported: Import, folder: Path) -> None:
    """Places and reasons of what was found, for download; none of the text."""
    report = folder / import_child.REPORT
    if report.exists():
        target = folder_of(imported)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(report, target / import_child.REPORT)


def report_of(imported: Import) -> Path | None:
    path = folder_of(imported) / import_child.REPORT
    return path if path.exists() else None


def _counts(read: dict[str, Any]) -> dict[str, Any]:
    tally = read["tally"]
    return {
        "rows": tally["rows"], "problems": read["problems"], "warnings": read["warnings"], "told": read["told"], "codes": read["counts"],
        "left_out": read["left_out"], "bad_rows": read["bad_rows"],
        "quarantined": tally["quarantined"], "suspicious": tally["suspicious"], "rules": tally["rules"],
        "lengths": tally["lengths"], "splits": tally["splits"], "seconds": read["seconds"], "unit": read["unit"],
    }  # fmt: skip


# --- the child, while somebody waits -----------------------------------------------------------------------------------------------------


@contextmanager
def _scratch() -> Iterator[Path]:
    place().mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".work-", dir=place()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(folder: Path, spec: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """Run the child to its end. Raises EngineFailed with what it says, or when it takes too long."""
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    (folder / "tmp").mkdir(mode=0o700)
    program = confinement.command([sys.executable, "-m", "annotation.import_child", str(folder)], folder=folder, network=False)
    environment = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(settings.PROJECT), "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    try:
        subprocess.run(
            program, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=seconds, check=False,
        )  # fmt: skip
        said: dict[str, Any] = json.loads((folder / import_child.RESULT).read_text(encoding="utf-8"))
    except subprocess.TimeoutExpired:
        raise EngineFailed("import.slow", "Reading it takes longer than a page can wait. Is it what it is called?") from None
    except (OSError, ValueError):
        raise EngineFailed("import.broken", "The reader ended without an answer: the file may be too large for it, or damaged.") from None
    if not said["ok"]:
        raise EngineFailed(said["error"]["code"], said["error"]["message"])
    return said


def of_job(job: Job) -> Import:
    return Import.objects.get(public_id=job.spec["import"])
