"""A snapshot's rows, pairs and answers as they are read, one after the other: nothing here holds them all, however many there are."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection
from django.db.models import Count, Q

from annotation import resolution, safety, snapshot_heard, snapshot_raters, snapshots
from annotation.models import (
    MAJOR,
    Adjudication,
    AssignmentState,
    Judgement,
    Pair,
    Prompt,
    SlotKind,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
    Verdict,
)
from annotation.staging import Tell, quiet

CHUNK = 1000
ROWS, PAIRS, ANSWERS = "rows.jsonl", "pairs.jsonl", "answers.jsonl"


def training_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split, in the snapshot's order, as trainers read them.

    {"prompt": [system turn, user turn], "chosen": [assistant turn], "rejected": [assistant turn], "p_chosen": float, "pair_id": int,
    "sample_id": str, "task_type": str}; a turn is {"role", "content"}.
    """
    rows = SnapshotRow.objects.filter(snapshot=snapshot, split=split).order_by("position")
    for row in rows.select_related("prompt__sample", "chosen", "rejected").iterator(chunk_size=CHUNK):
        yield {
            "prompt": row.prompt.messages,
            "chosen": [{"role": "assistant", "content": row.chosen.text}],
            "rejected": [{"role": "assistant", "content": row.rejected.text}],
            "p_chosen": row.p_chosen,
            "pair_id": row.pair_id,
            "sample_id": row.prompt.sample.external_id,
            "task_type": row.prompt.sample.task_type,
        }


def unacceptable_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """Both answers of the pairs of one split that were left out because neither may be chosen, by the answers the snapshot was made from.

    {"id", "prompt": [system turn, user turn], "completion": [assistant turn]}. Nothing that may not be trained on by what holds today:
    ruled out, withdrawn, or gold.
    """
    unfit = _unfit(snapshot, split)
    while chunk := list(islice(unfit, CHUNK)):
        kept = set(SnapshotRow.objects.filter(snapshot=snapshot, pair__in=chunk).values_list("pair_id", flat=True))
        held = Prompt.objects.filter(pairs__in=chunk)
        findings = safety.of_prompts(held, simulated=snapshot.simulated, external=snapshot.external)
        pairs = Pair.objects.filter(pk__in=chunk).select_related("prompt__sample", "first", "second", "gold").order_by("pk")
        for pair in pairs:
            if pair.pk not in kept and not snapshots.kept_out(pair, findings, snapshot.filters["task_types"]):
                for side, completion in (("first", pair.first), ("second", pair.second)):
                    yield {
                        "id": f"{pair.pk} {side}",
                        "prompt": pair.prompt.messages,
                        "completion": [{"role": "assistant", "content": completion.text}],
                    }


def _unfit(snapshot: Snapshot, split: str) -> Iterator[int]:
    """The pairs of a split whose votes say that both texts are unacceptable, in their order."""
    votes = Judgement.objects.filter(
        pk__in=snapshot_raters.heard(snapshot), surplus=False, assignment__state=AssignmentState.SUBMITTED, assignment__repeat=0,
        assignment__slot__kind__in=[SlotKind.VOTE, SlotKind.REVIEW], assignment__pair__prompt__sample__split=split,
    )  # fmt: skip
    by_pair = (
        votes.order_by("assignment__pair_id")
        .values("assignment__pair_id")
        .annotate(verdicts=ArrayAgg("verdict"), unfit=Count("pk", filter=Q(verdict=Verdict.BOTH_UNACCEPTABLE)))
        .filter(unfit__gt=0)
        .values_list("assignment__pair_id", "verdicts")
    )
    for pair, verdicts in by_pair.iterator(chunk_size=CHUNK):
        if resolution.resolve(verdicts).reason == resolution.BOTH_UNACCEPTABLE:
            yield pair


# --- laid out for the writers of exports -----------------------------------------------------------------------------------------------


def lay_out_gathered(snapshot: Snapshot, folder: Path, tell: Tell = quiet) -> None:
    """Write what exports are made of into `folder`, one JSON object a line: ROWS, PAIRS and ANSWERS. The database writes them; no row
    passes through Python. The snapshot is gathered (`annotation.snapshot_heard`).

    ROWS: what was frozen, in its order, with texts. PAIRS: every pair that an answer was heard on, in the order of its content. ANSWERS:
    every answer, in the order of their pairs. All of it as it was when it was frozen: a text that was ruled out of training by then, or
    whose sample was withdrawn by then, is null. Accounts and producers are numbered; no name is in it. `tell` hears how many lines of all
    three are written.
    """
    said = _said(snapshot)
    rows, pairs, answers = sum(snapshot.counts["used"].values()), snapshot_heard.pairs(), snapshot_heard.count()
    begun = 0
    for name, query, lines in ((ROWS, _ROWS, rows), (PAIRS, _PAIRS, pairs), (ANSWERS, _ANSWERS, answers)):
        before = begun
        tell("laying out", before, rows + pairs + answers)
        for written in _copy(query, said, folder / name):
            tell("laying out", before + written, rows + pairs + answers)
        begun += lines


def _said(snapshot: Snapshot) -> dict[str, Any]:
    """What the queries are told."""
    # Not the whole row of evidence, which names every answer: of a million that is a hundred megabytes.
    named = SnapshotEvidence.objects.values_list("rulings", flat=True).get(snapshot=snapshot)
    rulings = Adjudication.objects.filter(pk__in=named).select_related("dispute__pair")
    raters = snapshot_raters.of_gathered()
    return {
        "snapshot": snapshot.pk,
        "frozen_at": snapshot.frozen_at,
        "task_types": list(snapshot.filters.get("task_types", [])),
        "barred": sorted(safety.barred_by(rulings)),
        "ruled": sorted(ruling.dispute.pair_id for ruling in rulings),
        "users": [rater.user for rater in raters],
        "names": [rater.name for rater in raters],
        "fields": [rater.field for rater in raters],
        "major": list(MAJOR),
        "votes": [SlotKind.VOTE, SlotKind.REVIEW],
        "voted": snapshot_raters.votes_listed(snapshot),
        "listed": SnapshotEvidence.objects.filter(snapshot=snapshot).exclude(dropped={}).exists(),
    }


def _copy(query: str, said: dict[str, Any], place: Path) -> Iterator[int]:
    """A query's rows as JSON lines, as PostgreSQL writes them; yields how many so far. JSON holds no control character, so nothing is ever
    quoted, and a line's end is a row's.

    The queries below are put together from parts of this module alone: every value travels beside them.
    """
    with place.open("wb") as out, connection.cursor() as cursor:
        copy = f"COPY (SELECT row_to_json(told)::text FROM ({query}) AS told) TO STDOUT (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')"  # noqa: S608
        with cursor.copy(copy, said) as blocks:
            written = told = 0
            for block in blocks:
                out.write(block)
                written += bytes(block).count(b"\n")
                if written - told >= CHUNK:
                    told = written
                    yield written


# What was frozen since its votes are listed says which they are; of older ones it follows from the answers.
_COUNTED = """
CASE WHEN %(voted)s THEN heard.voted ELSE (NOT j.surplus AND a.repeat = 0 AND sl.kind = ANY(%(votes)s::text[])) END
""".strip()
_LOST = """
(SELECT pair::bigint AS pair, reason.key AS reason FROM annotation_snapshotevidence e, jsonb_each(e.dropped) reason,
    jsonb_array_elements_text(reason.value) AS pair WHERE e.snapshot_id = %(snapshot)s)
""".strip()
# A text is told unless its sample was withdrawn, or it was ruled out of training, when the snapshot was frozen.
_GONE = "(sa.withdrawn_at IS NOT NULL AND sa.withdrawn_at <= %(frozen_at)s)"
_BARRED = "= ANY(%(barred)s::bigint[])"

_ROWS = """
SELECT r.split, r.pair_id, sa.external_id AS sample_id, sa.task_type, pr.messages AS prompt, chosen.text AS chosen,
    rejected.text AS rejected, r.p_chosen, r.votes
FROM annotation_snapshotrow r
JOIN annotation_prompt pr ON pr.id = r.prompt_id
JOIN annotation_sample sa ON sa.id = pr.sample_id
JOIN annotation_completion chosen ON chosen.id = r.chosen_id
JOIN annotation_completion rejected ON rejected.id = r.rejected_id
WHERE r.snapshot_id = %(snapshot)s ORDER BY r.position
"""

_PAIRS = f"""
WITH told AS MATERIALIZED (
    SELECT a.pair_id, count(*) AS answers, count(*) FILTER (WHERE {_COUNTED}) AS judgements,
        {", ".join(f"count(*) FILTER (WHERE {_COUNTED} AND j.verdict = '{verdict}') AS {verdict}" for verdict in Verdict.values)},
        bool_or(j.harm_first = ANY(%(major)s::text[])) AS harm_first, bool_or(j.harm_second = ANY(%(major)s::text[])) AS harm_second
    FROM snapshot_heard heard
    JOIN annotation_judgement j ON j.id = heard.id
    JOIN annotation_assignment a ON a.id = heard.assignment_id
    JOIN annotation_slot sl ON sl.id = a.slot_id
    GROUP BY a.pair_id
), producers AS MATERIALIZED (
    SELECT b.id, dense_rank() OVER (ORDER BY md5(%(snapshot)s::text || ':' || coalesce('v' || b.version_id, 's' || b.system))) AS number
    FROM annotation_generationbatch b WHERE b.id IN (
        SELECT c.batch_id FROM told JOIN annotation_pair p ON p.id = told.pair_id
        JOIN annotation_completion c ON c.id = p.first_id OR c.id = p.second_id
    )
)
SELECT sa.split, p.id AS pair_id, sa.external_id AS sample_id, sa.task_type, sa.input_data AS document_type,
    sa.output_format, sa.difficulty_level, CASE WHEN {_GONE} THEN NULL ELSE pr.messages END AS prompt,
    CASE WHEN {_GONE} OR p.first_id {_BARRED} THEN NULL ELSE f.text END AS first,
    CASE WHEN {_GONE} OR p.second_id {_BARRED} THEN NULL ELSE s.text END AS second,
    'model-' || first_by.number AS first_by, 'model-' || second_by.number AS second_by,
    CASE WHEN r.id IS NULL THEN NULL WHEN r.chosen_id = p.first_id THEN 'first' ELSE 'second' END AS chosen, r.p_chosen, r.votes,
    told.judgements, told.answers, json_build_object({", ".join(f"'{verdict}', told.{verdict}" for verdict in Verdict.values)}) AS verdicts,
    told.harm_first, told.harm_second, p.selected_by AS selection_policy, p.selection_probability,
    lost.reason AS left_out,
    r.id IS NULL AND NOT (told.harm_first AND told.harm_second) AND NOT {_GONE} AND NOT p.first_id {_BARRED} AND NOT p.second_id {_BARRED}
        AND CASE WHEN %(listed)s THEN coalesce(lost.reason = 'both_unacceptable', false) ELSE
            told.both_unacceptable > 0 AND 2 * told.both_unacceptable >= told.judgements - told.cannot_judge AND g.id IS NULL
            AND NOT p.id = ANY(%(ruled)s::bigint[])
            AND (cardinality(%(task_types)s::text[]) = 0 OR sa.task_type = ANY(%(task_types)s::text[]))
        END AS unfit
FROM told
JOIN snapshot_pairs pairs ON pairs.id = told.pair_id
JOIN annotation_pair p ON p.id = told.pair_id
JOIN annotation_prompt pr ON pr.id = p.prompt_id
JOIN annotation_sample sa ON sa.id = pr.sample_id
JOIN annotation_completion f ON f.id = p.first_id
JOIN annotation_completion s ON s.id = p.second_id
JOIN producers first_by ON first_by.id = f.batch_id
JOIN producers second_by ON second_by.id = s.batch_id
LEFT JOIN annotation_snapshotrow r ON r.snapshot_id = %(snapshot)s AND r.pair_id = p.id
LEFT JOIN annotation_gold g ON g.pair_id = p.id
LEFT JOIN {_LOST} AS lost ON lost.pair = p.id
ORDER BY pairs.place
"""  # noqa: S608


def _moment(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


_ANSWERS = f"""
SELECT sa.split, j.id AS judgment_id, j.revision, p.id AS pair_id, sa.external_id AS sample_id, sa.task_type, r.name AS rater,
    r.field AS specialty, CASE WHEN a.repeat > 0 THEN 'repeat' ELSE sl.kind END AS kind, {_COUNTED} AS counted,
    a.repeat > 0 AS is_repeat, sl.kind = 'gold' AS is_gold, CASE WHEN a.first_on_left THEN 'first' ELSE 'second' END AS displayed_left,
    j.verdict, j.cannot_reason, j.reasons, j.harm_first, j.harm_first_type, j.harm_second, j.harm_second_type, j.axes, j.hard,
    j.rationale, marks.found AS spans,
    CASE WHEN e.id IS NULL THEN '' WHEN e.completion_id = p.first_id THEN 'first' ELSE 'second' END AS edited,
    CASE WHEN {_GONE} OR e.completion_id {_BARRED} THEN NULL ELSE e.text END AS edited_text, p.selected_by AS selection_policy,
    {_moment("coalesce(a.shown_at, a.leased_at)")} AS served_at, {_moment("j.submitted_at")} AS submitted_at, j.active_ms, j.layout
FROM snapshot_heard heard
JOIN annotation_judgement j ON j.id = heard.id
JOIN annotation_assignment a ON a.id = heard.assignment_id
JOIN annotation_slot sl ON sl.id = a.slot_id
JOIN annotation_pair p ON p.id = a.pair_id
JOIN annotation_prompt pr ON pr.id = p.prompt_id
JOIN annotation_sample sa ON sa.id = pr.sample_id
JOIN unnest(%(users)s::bigint[], %(names)s::text[], %(fields)s::text[]) AS r (id, name, field) ON r.id = a.annotator_id
LEFT JOIN annotation_edit e ON e.judgement_id = j.id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'of', CASE WHEN sp.completion_id = p.first_id THEN 'first' ELSE 'second' END, 'start', sp.start, 'end', sp."end",
        'kind', sp.kind, 'severity', sp.severity) ORDER BY sp.completion_id, sp.start, sp.id) AS found
    FROM annotation_errorspan sp WHERE sp.judgement_id = j.id
) AS marks ON true
ORDER BY heard.place, j.verdict, j.harm_first, j.harm_second, md5(j.rationale), j.id
"""  # noqa: S608
