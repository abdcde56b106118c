"""Samples between file and table. Where a source holds nothing yet there is nothing to compare with: what the child wrote is copied, part
by part, in the one transaction that stores it. Where it holds samples, the parts are first copied into a table of the import's own, held
against what is stored, and moved in one transaction, portion by portion.

That table is not logged: after a crash of the server it is empty, and the import that made it begins anew. Whatever PostgreSQL promises of
samples (one content and one id a source, splits, counts) it checks either way. No statement takes longer than a second or so, so that the
runner's limits (jobs/patience.py) hold, and whoever watches is told after each.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, connection, transaction
from psycopg import sql

from annotation import sample_rows
from annotation.models import Sample, SampleCount, Source
from annotation.records import Problem

PORTION = 10_000
BLOCK = 2**20
MOST_CONFLICTS = 50
# Of the transaction that stores: the triggers that count are given all rows of a statement, which would else go by way of the disk.
MEMORY = "32MB"
SKIP, VERSION = "skip", "version"
Tell = Callable[[str, int, int], None]

_TYPES = {
    "line": "bigint PRIMARY KEY", "quality": "double precision", "alignment": "double precision", "coherence": "double precision",
    "realism": "double precision", "difficulty": "double precision", "privacy_hits": "jsonb",
}  # fmt: skip
# The stored row of a staged one's content. Asked row by row, each by one step into an index: as a join the planner, which has no statistics
# of a table that was filled a moment ago, would hold every row of the portion against every row of the source.
_STORED = "SELECT x.id FROM annotation_sample x WHERE x.source_id = %(source)s AND x.digest = s.digest LIMIT 1"
_MOVED = [name for name in sample_rows.COLUMNS if name != "line"]


def quiet(phase: str, done: int, total: int) -> None:
    """For who stages what takes no time."""


@dataclass
class Staged:
    """A table with so many rows, up to line `last`; and what came of moving them."""

    table: str
    rows: int = 0
    last: int = 0
    stored: int = 0
    already: int = 0
    skipped: int = 0
    versions: int = 0
    splits: dict[str, int] = field(default_factory=dict)


def name_of(key: str) -> str:
    """The table of the import or attempt that `key` names, a text of letters, digits and underscores."""
    return f"annotation_staged_{key}"


def make(key: str = "", *, temporary: bool = False) -> Staged:
    """An empty table; one of the same key that an earlier attempt left is dropped. A temporary one ends with the transaction."""
    table = name_of(key or uuid4().hex)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_TYPES.get(name, "text"))) for name in sample_rows.COLUMNS
    )
    with connection.cursor() as cursor:
        if temporary:
            cursor.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(sql.Identifier(table), columns))
        else:
            drop(key)
            cursor.execute(
                sql.SQL("CREATE UNLOGGED TABLE {} ({}) WITH (autovacuum_enabled = false)").format(sql.Identifier(table), columns)
            )
    return Staged(table)


def drop(key: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name_of(key))))


def exists(key: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name_of(key)])
        return bool(cursor.fetchone()[0])


def empty(source: Source) -> bool:
    """Whether nothing is stored of it, by counts that triggers keep."""
    return not SampleCount.objects.filter(source=source, rows__gt=0).exists()


def leftovers() -> list[str]:
    """The keys of the tables that are there, whoever made them and whatever became of him."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE %s AND relkind = 'r' AND relpersistence = 'u' ORDER BY relname",
            [name_of("%")],
        )
        return [name.removeprefix(name_of("")) for (name,) in cursor.fetchall()]


def load(staged: Staged, lines: Iterable[bytes]) -> int:
    """Copy lines in `sample_rows.COLUMNS`' order, as `sample_rows.copy_lines` writes them, in one statement; returns how many."""
    names = sql.SQL(", ").join(map(sql.Identifier, sample_rows.COLUMNS))
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(staged.table), names)) as copy:
            for line in lines:
                copy.write(line)
        return int(cursor.rowcount)


def take(staged: Staged, part: Path) -> None:
    """Load one part that the child wrote, and remove it: nothing is needed twice, and a large file is large once. A part that is gone was
    taken before; one that was taken by a statement whose answer was lost is found by its lines."""
    if not part.exists():
        return
    try:
        with part.open("rb", buffering=BLOCK) as lines, transaction.atomic():
            load(staged, iter(lambda: lines.read(BLOCK), b""))
    except IntegrityError:
        pass
    part.unlink()


def measure(staged: Staged) -> None:
    """Count its rows and find its last line: call it when all is loaded."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*), coalesce(max(line), 0) FROM {}").format(sql.Identifier(staged.table)))
        staged.rows, staged.last = cursor.fetchone()


def _portions(staged: Staged) -> Iterator[tuple[int, int]]:
    """(first line, last line) of each portion."""
    for first in range(0, staged.last + 1, PORTION):
        yield first, first + PORTION - 1


def conflicts(staged: Staged, source: Source, *, tell: Tell = quiet, unit: str = "Line") -> tuple[list[Problem], int]:
    """Rows that are stored otherwise under the same id, or alike under another: the first 50, and how many in all."""
    found: list[Problem] = []
    total = 0
    if empty(source):
        return found, total
    for first, last in _portions(staged):
        rows = _query(
            """
            SELECT s.line, s.digest = x.digest, left(x.digest, 8), left(s.digest, 8)
            FROM {staged} s CROSS JOIN LATERAL (
                SELECT digest, external_id FROM annotation_sample WHERE source_id = %(source)s AND digest = s.digest
                UNION ALL (SELECT digest, external_id FROM annotation_sample
                WHERE source_id = %(source)s AND external_id = s.external_id AND s.external_id <> s.digest ORDER BY version DESC LIMIT 1)
                LIMIT 1
            ) x
            WHERE s.line BETWEEN %(first)s AND %(last)s
              AND (CASE WHEN x.digest = s.digest THEN s.external_id NOT IN (x.external_id, s.digest) ELSE true END)
            ORDER BY s.line
            """,
            staged, source=source.pk, first=first, last=last,
        )  # fmt: skip
        total += len(rows)
        for line, same, theirs, ours in rows[: MOST_CONFLICTS - len(found)]:
            said = (
                "The same record is stored under another id."
                if same
                else f"A different record is stored under this id: {theirs} there, {ours} here. Give it a new id, import under another "
                "source name, or choose what becomes of such rows."
            )
            found.append(Problem(line, "id", said, "import.conflict", unit))
        tell("comparing", min(last, staged.last), staged.last)
    return found, total


def move(staged: Staged, source: Source, *, on_conflict: str = SKIP, tell: Tell = quiet) -> None:
    """Make samples of `source` of the staged rows, inside the caller's transaction. What is there already is left alone and counted.

    A row whose id is stored with another content is skipped, or (`on_conflict="version"`) stored as the id's next version. Whether there
    are any is asked before, with `conflicts`.
    """
    moved = sql.SQL(", ").join(map(sql.Identifier, _MOVED))
    taken = sql.SQL(", ").join(sql.SQL("s.{}").format(sql.Identifier(name)) for name in _MOVED)
    anything = not empty(source)
    version = sql.SQL(
        "coalesce((SELECT max(v.version) FROM annotation_sample v WHERE v.source_id = %(source)s AND v.external_id = s.external_id), 0) + 1"
        if anything and on_conflict == VERSION
        else "1"
    )
    fresh = sql.SQL("AND ({}) IS NULL").format(sql.SQL(_STORED))
    other = sql.SQL(
        "AND (SELECT y.id FROM annotation_sample y WHERE y.source_id = %(source)s AND y.external_id = s.external_id LIMIT 1) IS NULL"
    )
    insert = sql.SQL(
        "INSERT INTO annotation_sample (source_id, version, {moved}) SELECT %(source)s, {version}, {taken} FROM {staged} s "
        "WHERE s.line BETWEEN %(first)s AND %(last)s {fresh} {other} ORDER BY s.line"
    ).format(
        moved=moved, taken=taken, version=version, staged=sql.Identifier(staged.table), fresh=fresh if anything else sql.SQL(""),
        other=other if anything and on_conflict == SKIP else sql.SQL(""),
    )  # fmt: skip
    before = _counts(source)
    staged.stored = staged.already = 0  # a transaction whose answer was lost is tried again
    with _storing() as cursor:
        for first, last in _portions(staged):
            given = {"source": source.pk, "first": first, "last": last}
            if anything:
                staged.already += _query(
                    f"SELECT count(*) FROM {{staged}} s WHERE s.line BETWEEN %(first)s AND %(last)s AND ({_STORED}) IS NOT NULL",  # noqa: S608 (ours)
                    staged, **given,
                )[0][0]  # fmt: skip
            cursor.execute(insert, given)
            staged.stored += cursor.rowcount
            tell("storing", min(last, staged.last), staged.last)
    staged.skipped = staged.rows - staged.stored - staged.already
    after = _counts(source)
    staged.splits = {split: count - before.get(split, 0) for split, count in after.items() if count > before.get(split, 0)}


def copy(parts: Iterable[Path], source: Source, *, rows: int, tell: Tell = quiet) -> Staged:
    """Make samples of `source`, which holds none and which the caller's transaction holds, of the `rows` rows that the child wrote.

    The parts stay: this may be tried again. A content or an id twice is an IntegrityError, as everywhere.
    """
    done = Staged("")
    names = sql.SQL(", ").join(map(sql.Identifier, _MOVED))
    statement = sql.SQL("COPY annotation_sample (source_id, {}) FROM STDIN").format(names)
    owner = f"{source.pk}\t".encode()
    with _storing() as cursor:
        for part in parts:
            with part.open("rb", buffering=BLOCK) as lines, cursor.copy(statement) as copied:
                while block := lines.readlines(BLOCK):
                    # The source stands where the line's number did: COPY takes every column there is, and cannot add one.
                    copied.write(b"".join([owner + line[line.index(b"\t") + 1 :] for line in block]))
            done.stored += cursor.rowcount
            tell("storing", done.stored, rows)
    done.rows = done.stored
    done.splits = _counts(source)
    return done


@contextmanager
def _storing() -> Iterator[Any]:
    """A cursor for statements of many rows each. They are checked with each statement, not all of them at once in the commit, which the
    runner's patience would cut off."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('work_mem', %s, true)", [MEMORY])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def superseded(source: Source) -> list[int]:
    """Samples of which a newer version under the same id is stored, and which are not withdrawn yet."""
    newer = Sample.objects.raw(
        "SELECT o.id FROM annotation_sample n JOIN annotation_sample o ON o.source_id = n.source_id AND o.external_id = n.external_id "
        "AND o.version < n.version WHERE n.source_id = %s AND n.version > 1 AND o.withdrawn_at IS NULL",
        [source.pk],
    )
    return [sample.pk for sample in newer]


def _counts(source: Source) -> dict[str, int]:
    counted: dict[str, int] = {}
    for split, rows in SampleCount.objects.filter(source=source).values_list("split", "rows"):
        counted[split] = counted.get(split, 0) + rows
    return counted


def _query(statement: str, staged: Staged, **given: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        # The table's name is an identifier that we made; everything else is a parameter.
        cursor.execute(sql.SQL(statement).format(staged=sql.Identifier(staged.table)), given)
        return list(cursor.fetchall())
