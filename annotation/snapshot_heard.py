"""Every answer that a snapshot was made from, gathered once into tables of one transaction's own, in the order of its content.

Asked of the evidence's arrays anew for each question, the planner, which knows nothing of an array's length, walked a million answers one
by one through eight tables. Gathered and counted, it reads each table once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from annotation.models import Judgement, Snapshot
from annotation.staging import Tell, quiet
from jobs import patience

# Of one sort or hash: more would be several times as much in the server.
_MEMORY = "48MB"

# Every answer once, and whether it is listed as a vote.
_SAID = """
CREATE TEMPORARY TABLE snapshot_said ON COMMIT DROP AS
SELECT id, bool_or(voted) AS voted FROM (
    SELECT unnest(judgements) AS id, false AS voted FROM annotation_snapshotevidence WHERE snapshot_id = %(snapshot)s
    UNION ALL SELECT unnest(votes), true FROM annotation_snapshotevidence WHERE snapshot_id = %(snapshot)s
) AS told GROUP BY id
"""
_ANSWERED = """
CREATE TEMPORARY TABLE snapshot_answered ON COMMIT DROP AS
SELECT said.id, said.voted, a.id AS assignment_id, a.pair_id, a.annotator_id
FROM snapshot_said said
JOIN annotation_judgement j ON j.id = said.id
JOIN annotation_assignment a ON a.id = j.assignment_id
"""
_PAIRS = """
CREATE TEMPORARY TABLE snapshot_pairs ON COMMIT DROP AS
SELECT p.id, row_number() OVER (ORDER BY pr.digest COLLATE "C", f.digest COLLATE "C", s.digest COLLATE "C", p.id) AS place
FROM (SELECT DISTINCT pair_id FROM snapshot_answered) AS told
JOIN annotation_pair p ON p.id = told.pair_id
JOIN annotation_prompt pr ON pr.id = p.prompt_id
JOIN annotation_completion f ON f.id = p.first_id
JOIN annotation_completion s ON s.id = p.second_id
"""
_HEARD = """
CREATE TEMPORARY TABLE snapshot_heard ON COMMIT DROP AS
SELECT answered.*, pairs.place FROM snapshot_answered answered JOIN snapshot_pairs pairs ON pairs.id = answered.pair_id
"""
_STEPS = (("snapshot_said", _SAID), ("snapshot_answered", _ANSWERED), ("snapshot_pairs", _PAIRS), ("snapshot_heard", _HEARD))


@contextmanager
def gathered(snapshot: Snapshot, tell: Tell = quiet) -> Iterator[None]:
    """Inside, in one transaction: `snapshot_pairs` (id, place), pairs that an answer was heard on in the order of their content, and
    `snapshot_heard` (id, voted, assignment_id, pair_id, annotator_id, place), their answers. `tell` hears of each table.
    """
    with transaction.atomic():
        patience.take_longer(**patience.READING, work_mem=_MEMORY)
        with connection.cursor() as cursor:
            for done, (table, made) in enumerate(_STEPS):
                tell("gathering answers", done, len(_STEPS))
                cursor.execute(made, {"snapshot": snapshot.pk})
                cursor.execute(f"ANALYZE {table}")
        yield
        with connection.cursor() as cursor:
            # The caller's own transaction may go on, and gather another.
            cursor.execute(f"DROP TABLE {', '.join(table for table, _ in _STEPS)}")


def answers() -> "QuerySet[Judgement]":
    return Judgement.objects.filter(pk__in=RawSQL("SELECT id FROM snapshot_heard", []))


def votes() -> "QuerySet[Judgement]":
    """The answers that are listed as votes."""
    return Judgement.objects.filter(pk__in=RawSQL("SELECT id FROM snapshot_heard WHERE voted", []))


def pairs() -> int:
    """How many pairs an answer was heard on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM snapshot_pairs")
        return int(cursor.fetchone()[0])


def count() -> int:
    """How many answers were heard."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM snapshot_heard")
        return int(cursor.fetchone()[0])


def raters() -> list[int]:
    """The accounts of those who were heard."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT annotator_id FROM snapshot_heard")
        return [account for (account,) in cursor.fetchall()]
