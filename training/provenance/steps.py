"""One step up or down from a node of each kind, as SQL: the edges of the lineage, which no table holds as such.

Every step selects (id, role) for the node `w.id`. What may be seen is decided here: `%(blinded)s` are the campaigns whose producers the
reader must not learn, `%(blinded_models)s` the models of which they must not learn what they wrote; words in braces are filled in by
`lateral`, those of BLINDS only for somebody who is blinded.
"""

from training.provenance.kinds import KINDS

_PART = "snapshot.id * 4 + part.number"
_HAS_ROWS = (
    "EXISTS (SELECT 1 FROM annotation_snapshotrow r WHERE r.snapshot_id = snapshot.id "
    "AND r.split = (ARRAY['train', 'validation', 'evaluation'])[part.number + 1])"
)
_SPLIT_NUMBER = "array_position(ARRAY['train', 'validation', 'evaluation'], r.split::text) - 1"
# Imports of a source wait for each other, and an entry is written after the rows: a row came with the first entry that is not older.
_CAME_WITH = """
    SELECT entry.id FROM accounts_auditentry entry
    WHERE entry.object_type = 'annotation.source' AND entry.object_id = s.source_id::text AND entry.verb = 'samples.imported'
      AND entry.at >= s.created_at
    ORDER BY entry.at, entry.id LIMIT 1
"""
_BEFORE = "coalesce(j.started_at, j.created_at)"
_REPLAYS = """
    j.kind = 'dpo' AND coalesce((j.spec->'params'->>'replay')::float, 0) > 0 AND s.split = 'train' AND s.output <> ''
    AND s.rejected_output <> '' AND s.privacy <> 'quarantined'
    AND s.created_at <= {before} AND (s.withdrawn_at IS NULL OR s.withdrawn_at > {before})
"""
_REPLAYED_SOURCES = """
    SELECT DISTINCT told.source_id FROM annotation_snapshotrow r JOIN annotation_prompt p ON p.id = r.prompt_id
    JOIN annotation_sample told ON told.id = p.sample_id WHERE r.snapshot_id = run.snapshot_id
"""
# KTO also learns that neither answer is good, from pairs that no row could be made of.
_UNFIT = """
    FROM annotation_pair pair JOIN annotation_prompt p ON p.id = pair.prompt_id
    JOIN annotation_sample s ON s.id = p.sample_id AND s.split = 'train'
    JOIN annotation_snapshot snapshot ON snapshot.campaign_id = pair.campaign_id
    JOIN annotation_snapshotevidence evidence ON evidence.snapshot_id = snapshot.id
    JOIN training_run run ON run.snapshot_id = snapshot.id JOIN jobs_job j ON j.id = run.job_id AND j.kind = 'kto'
    WHERE EXISTS (
        SELECT 1 FROM annotation_assignment a JOIN annotation_judgement judgement ON judgement.assignment_id = a.id
        WHERE a.pair_id = pair.id AND judgement.verdict = 'both_unacceptable' AND judgement.id = ANY (evidence.judgements)
    ) AND NOT EXISTS (SELECT 1 FROM annotation_snapshotrow r WHERE r.snapshot_id = snapshot.id AND r.pair_id = pair.id)
"""
_WORDS = {
    "here": _PART,
    "has_rows": _HAS_ROWS,
    "split": _SPLIT_NUMBER,
    "before": _BEFORE,
    "replays": _REPLAYS.format(before=_BEFORE),
    "replayed": _REPLAYED_SOURCES,
    "unfit": _UNFIT,
    "came_with": _CAME_WITH,
    "without_run": "NOT EXISTS (SELECT 1 FROM training_run made WHERE made.output_id = w.id)",
    "child_without_run": "NOT EXISTS (SELECT 1 FROM training_run made WHERE made.output_id = edge.child_id)",
}

Step = tuple[str, str, str]

UP: tuple[Step, ...] = (
    (
        "sample", "file",
        "SELECT found.id, 'came in with' FROM annotation_sample s CROSS JOIN LATERAL ({came_with}) found WHERE s.id = w.id",
    ),
    ("sample", "source", "SELECT source_id, 'belongs to' FROM annotation_sample WHERE id = w.id"),
    ("prompt", "sample", "SELECT sample_id, 'rendered from' FROM annotation_prompt WHERE id = w.id"),
    ("completion", "prompt", "SELECT prompt_id, 'answers' FROM annotation_completion WHERE id = w.id"),
    ("completion", "batch", "SELECT batch_id, 'written in' FROM annotation_completion WHERE id = w.id"),
    ("batch", "model", "SELECT version_id, 'producer' FROM annotation_generationbatch WHERE id = w.id AND version_id IS NOT NULL"),
    (
        "batch", "file",
        "SELECT entry.id, 'texts' FROM annotation_generationbatch b JOIN annotation_source s ON s.name = b.decoding->>'imported_for' "
        "JOIN accounts_auditentry entry ON entry.object_type = 'annotation.source' AND entry.object_id = s.id::text "
        "AND entry.verb = 'completions.imported' AND entry.at >= b.created_at WHERE b.id = w.id AND b.version_id IS NULL",
    ),
    (
        "pair", "completion",
        "SELECT c.id, 'compares' FROM annotation_pair pair JOIN annotation_completion c ON c.id IN (pair.first_id, pair.second_id) "
        "WHERE pair.id = w.id {completion}",
    ),
    (
        "judgement", "pair",
        "SELECT pair.id, 'judges' FROM annotation_judgement judgement JOIN annotation_assignment a ON a.id = judgement.assignment_id "
        "JOIN annotation_pair pair ON pair.id = a.pair_id WHERE judgement.id = w.id {pair}",
    ),
    (
        "ruling", "pair",
        "SELECT pair.id, 'settles' FROM annotation_adjudication ruling JOIN annotation_dispute d ON d.id = ruling.dispute_id "
        "JOIN annotation_pair pair ON pair.id = d.pair_id WHERE ruling.id = w.id {pair}",
    ),
    (
        "part", "pair",
        "SELECT r.pair_id, 'row of' FROM annotation_snapshotrow r "
        "WHERE r.snapshot_id = w.id / 4 AND {split} = mod(w.id, 4)",
    ),
    (
        "snapshot", "part",
        "SELECT {here}, 'part of' FROM annotation_snapshot snapshot CROSS JOIN generate_series(0, 2) part(number) "
        "WHERE snapshot.id = w.id AND {has_rows}",
    ),
    (
        "run", "part",
        "SELECT {here}, CASE part.number WHEN 0 THEN 'learned from' ELSE 'stopped by' END FROM training_run run "
        "JOIN annotation_snapshot snapshot ON snapshot.id = run.snapshot_id CROSS JOIN generate_series(0, 1) part(number) "
        "WHERE run.id = w.id AND {has_rows} {snapshot}",
    ),
    ("run", "pair", "SELECT pair.id, 'unacceptable on both sides' {unfit} AND run.id = w.id {pair}"),
    (
        "run", "sample",
        "SELECT s.id, 'replayed' FROM training_run run JOIN jobs_job j ON j.id = run.job_id JOIN annotation_sample s "
        "ON s.source_id IN ({replayed}) WHERE run.id = w.id AND {replays}",
    ),
    (
        "run", "corpus",
        "SELECT corpus.id, 'read' FROM training_run run JOIN jobs_job j ON j.id = run.job_id "
        "CROSS JOIN jsonb_array_elements(coalesce(j.spec->'inputs'->'corpora', '[]')) told "
        "JOIN annotation_corpus corpus ON corpus.id = (told->>'corpus')::bigint WHERE run.id = w.id",
    ),
    (
        "run", "file",
        "SELECT entry.id, 'documents' FROM training_run run JOIN jobs_job j ON j.id = run.job_id "
        "CROSS JOIN jsonb_array_elements(coalesce(j.spec->'inputs'->'corpora', '[]')) told JOIN accounts_auditentry entry "
        "ON entry.object_type = 'annotation.corpus' AND entry.object_id = told->>'corpus' AND entry.verb = 'documents.imported' "
        "WHERE run.id = w.id AND entry.at <= {before}",
    ),
    ("run", "model", "SELECT policy_id, 'policy' FROM training_run WHERE id = w.id AND policy_id IS NOT NULL"),
    ("run", "model", "SELECT reference_id, 'reference' FROM training_run WHERE id = w.id AND reference_id IS NOT NULL"),
    (
        "run", "model",
        "SELECT edge.parent_id, edge.role FROM training_run run JOIN modelhub_lineageedge edge ON edge.child_id = run.output_id "
        "WHERE run.id = w.id AND edge.parent_id IS NOT NULL",
    ),
    # A recipe is what a merge followed; one that a search found is what that run made.
    (
        "run", "recipe",
        "SELECT run.recipe_id, 'followed' FROM training_run run JOIN jobs_job j ON j.id = run.job_id "
        "WHERE run.id = w.id AND run.recipe_id IS NOT NULL AND j.kind <> 'search'",
    ),
    (
        "recipe", "run",
        "SELECT run.id, 'found by' FROM training_run run JOIN jobs_job j ON j.id = run.job_id AND j.kind = 'search' "
        "WHERE run.recipe_id = w.id",
    ),
    ("recipe", "recipe", "SELECT cloned_from_id, 'changed from' FROM training_mergerecipe WHERE id = w.id AND cloned_from_id IS NOT NULL"),
    # An adapter that was trained and merged into a model at once is kept beside it: it has the model's number.
    ("model", "adapter", "SELECT id, 'merged in' FROM modelhub_modelversion WHERE id = w.id AND adapter_id IS NOT NULL"),
    ("adapter", "run", "SELECT id, 'learned by' FROM training_run WHERE output_id = w.id"),
    ("model", "run", "SELECT id, 'made by' FROM training_run WHERE output_id = w.id"),
    (
        "model", "model",
        "SELECT edge.parent_id, edge.role FROM modelhub_lineageedge edge WHERE edge.child_id = w.id AND edge.parent_id IS NOT NULL "
        "AND {without_run}",
    ),
    (
        "model", "part",
        "SELECT {here}, edge.role FROM modelhub_lineageedge edge JOIN annotation_snapshot snapshot ON edge.source_kind = 'snapshot' "
        "AND snapshot.digest = edge.source_digest CROSS JOIN generate_series(0, 1) part(number) "
        "WHERE edge.child_id = w.id AND {has_rows} AND {without_run} {snapshot}",
    ),
    ("evaluation", "model", "SELECT policy_id, 'policy' FROM training_evaluation WHERE id = w.id"),
    ("evaluation", "model", "SELECT reference_id, 'reference' FROM training_evaluation WHERE id = w.id"),
    (
        "evaluation", "part",
        "SELECT snapshot.id * 4 + 2, 'measured on' FROM training_evaluation e JOIN annotation_snapshot snapshot "
        "ON snapshot.id = e.snapshot_id WHERE e.id = w.id AND EXISTS (SELECT 1 FROM annotation_snapshotrow r "
        "WHERE r.snapshot_id = snapshot.id AND r.split = 'evaluation') {snapshot}",
    ),
    ("evaluation", "prompt", "SELECT prompt_id, 'asked' FROM training_evaluationitem WHERE evaluation_id = w.id"),
    (
        "evaluation", "corpus",
        "SELECT corpus.id, 'asked about' FROM training_evaluation e JOIN jobs_job j ON j.id = e.job_id JOIN annotation_corpus corpus "
        "ON corpus.id = (j.spec->'inputs'->'choices'->>'corpus')::bigint WHERE e.id = w.id",
    ),
    ("promotion", "model", "SELECT version_id, 'decides on' FROM training_promotion WHERE id = w.id"),
    (
        "promotion", "evaluation",
        "SELECT e.id, 'evidence' FROM training_promotion promotion JOIN training_evaluation e ON e.id = promotion.evaluation_id "
        "WHERE promotion.id = w.id {evaluation}",
    ),
    ("move", "model", "SELECT to_version_id, 'points to' FROM modelhub_aliasmove WHERE id = w.id"),
)  # fmt: skip

DOWN: tuple[Step, ...] = (
    (
        "file", "sample",
        "SELECT s.id, 'came in with' FROM accounts_auditentry e JOIN annotation_sample s ON s.source_id = CASE WHEN "
        "e.verb = 'samples.imported' AND e.object_type = 'annotation.source' THEN e.object_id::bigint END AND s.created_at <= e.at "
        "AND s.created_at > coalesce((SELECT max(b.at) FROM accounts_auditentry b WHERE b.object_type = e.object_type "
        "AND b.object_id = e.object_id AND b.verb = e.verb AND (b.at, b.id) < (e.at, e.id)), '-infinity') WHERE e.id = w.id",
    ),
    (
        "file", "batch",
        "SELECT b.id, 'texts' FROM accounts_auditentry e JOIN annotation_source s ON s.id = CASE WHEN e.verb = 'completions.imported' "
        "AND e.object_type = 'annotation.source' THEN e.object_id::bigint END JOIN annotation_generationbatch b "
        "ON b.decoding->>'imported_for' = s.name AND b.version_id IS NULL AND b.created_at <= e.at WHERE e.id = w.id",
    ),
    (
        "file", "run",
        "SELECT run.id, 'documents' FROM accounts_auditentry e JOIN jobs_job j ON e.verb = 'documents.imported' "
        "AND j.spec->'inputs'->'corpora' @> jsonb_build_array(jsonb_build_object('corpus', e.object_id::bigint)) "
        "AND e.at <= {before} JOIN training_run run ON run.job_id = j.id WHERE e.id = w.id",
    ),
    ("source", "sample", "SELECT id, 'belongs to' FROM annotation_sample WHERE source_id = w.id"),
    (
        "corpus", "run",
        "SELECT run.id, 'read' FROM jobs_job j JOIN training_run run ON run.job_id = j.id "
        "WHERE j.spec->'inputs'->'corpora' @> jsonb_build_array(jsonb_build_object('corpus', w.id))",
    ),
    (
        "corpus", "evaluation",
        "SELECT e.id, 'asked about' FROM jobs_job j JOIN training_evaluation e ON e.job_id = j.id "
        "WHERE (j.spec->'inputs'->'choices'->>'corpus')::bigint = w.id",
    ),
    ("sample", "prompt", "SELECT id, 'rendered from' FROM annotation_prompt WHERE sample_id = w.id"),
    (
        "sample", "run",
        "SELECT run.id, 'replayed' FROM annotation_sample s JOIN jobs_job j ON j.kind = 'dpo' JOIN training_run run ON run.job_id = j.id "
        "WHERE s.id = w.id AND {replays} AND s.source_id IN ({replayed})",
    ),
    ("prompt", "completion", "SELECT c.id, 'answers' FROM annotation_completion c WHERE c.prompt_id = w.id {completion}"),
    (
        "prompt", "evaluation",
        "SELECT e.id, 'asked' FROM training_evaluationitem item JOIN training_evaluation e ON e.id = item.evaluation_id "
        "WHERE item.prompt_id = w.id {evaluation}",
    ),
    ("completion", "pair", "SELECT pair.id, 'compares' FROM annotation_pair pair WHERE pair.first_id = w.id {pair}"),
    ("completion", "pair", "SELECT pair.id, 'compares' FROM annotation_pair pair WHERE pair.second_id = w.id {pair}"),
    ("batch", "completion", "SELECT c.id, 'written in' FROM annotation_completion c WHERE c.batch_id = w.id {completion}"),
    (
        "pair", "part",
        "SELECT r.snapshot_id * 4 + {split}, 'row of' FROM annotation_snapshotrow r WHERE r.pair_id = w.id",
    ),
    ("pair", "run", "SELECT run.id, 'unacceptable on both sides' {unfit} AND pair.id = w.id"),
    (
        "judgement", "part",
        "SELECT r.snapshot_id * 4 + {split}, 'vote of' FROM annotation_judgement judgement JOIN annotation_assignment a "
        "ON a.id = judgement.assignment_id JOIN annotation_snapshotrow r ON r.pair_id = a.pair_id "
        "JOIN annotation_snapshotevidence evidence ON evidence.snapshot_id = r.snapshot_id AND judgement.id = ANY (evidence.judgements) "
        "WHERE judgement.id = w.id",
    ),
    (
        "ruling", "part",
        "SELECT r.snapshot_id * 4 + {split}, 'ruling of' FROM annotation_adjudication ruling JOIN annotation_dispute d "
        "ON d.id = ruling.dispute_id JOIN annotation_snapshotrow r ON r.pair_id = d.pair_id JOIN annotation_snapshotevidence evidence "
        "ON evidence.snapshot_id = r.snapshot_id AND ruling.id = ANY (evidence.rulings) WHERE ruling.id = w.id",
    ),
    (
        "snapshot", "part",
        "SELECT {here}, 'part of' FROM annotation_snapshot snapshot CROSS JOIN generate_series(0, 2) part(number) "
        "WHERE snapshot.id = w.id AND {has_rows}",
    ),
    (
        "part", "run",
        "SELECT id, CASE mod(w.id, 4) WHEN 0 THEN 'learned from' ELSE 'stopped by' END FROM training_run "
        "WHERE snapshot_id = w.id / 4 AND mod(w.id, 4) IN (0, 1)",
    ),
    (
        "part", "model",
        "SELECT edge.child_id, edge.role FROM annotation_snapshot snapshot JOIN modelhub_lineageedge edge ON edge.source_kind = 'snapshot' "
        "AND edge.source_digest = snapshot.digest WHERE snapshot.id = w.id / 4 AND mod(w.id, 4) IN (0, 1) "
        "AND {child_without_run}",
    ),
    ("part", "evaluation", "SELECT id, 'measured on' FROM training_evaluation WHERE snapshot_id = w.id / 4 AND mod(w.id, 4) = 2"),
    ("run", "model", "SELECT output_id, 'made by' FROM training_run WHERE id = w.id AND output_id IS NOT NULL"),
    (
        "run", "adapter",
        "SELECT made.id, 'learned by' FROM training_run run JOIN modelhub_modelversion made ON made.id = run.output_id "
        "WHERE run.id = w.id AND made.adapter_id IS NOT NULL",
    ),
    ("adapter", "model", "SELECT w.id, 'merged in'"),
    (
        "run", "recipe",
        "SELECT run.recipe_id, 'found by' FROM training_run run JOIN jobs_job j ON j.id = run.job_id AND j.kind = 'search' "
        "WHERE run.id = w.id AND run.recipe_id IS NOT NULL",
    ),
    (
        "recipe", "run",
        "SELECT run.id, 'followed' FROM training_run run JOIN jobs_job j ON j.id = run.job_id AND j.kind <> 'search' "
        "WHERE run.recipe_id = w.id",
    ),
    ("recipe", "recipe", "SELECT id, 'changed from' FROM training_mergerecipe WHERE cloned_from_id = w.id"),
    ("model", "batch", "SELECT id, 'producer' FROM annotation_generationbatch WHERE version_id = w.id"),
    ("model", "run", "SELECT id, 'policy' FROM training_run WHERE policy_id = w.id"),
    ("model", "run", "SELECT id, 'reference' FROM training_run WHERE reference_id = w.id"),
    (
        "model", "run",
        "SELECT run.id, edge.role FROM modelhub_lineageedge edge JOIN training_run run ON run.output_id = edge.child_id "
        "WHERE edge.parent_id = w.id",
    ),
    (
        "model", "model",
        "SELECT edge.child_id, edge.role FROM modelhub_lineageedge edge WHERE edge.parent_id = w.id "
        "AND {child_without_run}",
    ),
    ("model", "evaluation", "SELECT e.id, 'policy' FROM training_evaluation e WHERE e.policy_id = w.id {evaluation}"),
    ("model", "evaluation", "SELECT e.id, 'reference' FROM training_evaluation e WHERE e.reference_id = w.id {evaluation}"),
    ("model", "promotion", "SELECT id, 'decides on' FROM training_promotion WHERE version_id = w.id"),
    ("model", "move", "SELECT id, 'points to' FROM modelhub_aliasmove WHERE to_version_id = w.id"),
    ("evaluation", "promotion", "SELECT id, 'evidence' FROM training_promotion WHERE evaluation_id = w.id"),
)  # fmt: skip

# Where a row of these is reached, it is passed over when its campaign's producers are not to be learned by the reader.
BLINDS = {
    "pair": "AND pair.campaign_id <> ALL (%(blinded)s)",
    "snapshot": "AND snapshot.campaign_id <> ALL (%(blinded)s)",
    "completion": (
        "AND NOT EXISTS (SELECT 1 FROM annotation_pair pair WHERE (pair.first_id = c.id OR pair.second_id = c.id) "
        "AND pair.campaign_id = ANY (%(blinded)s)) AND NOT EXISTS (SELECT 1 FROM annotation_generationbatch b WHERE b.id = c.batch_id "
        "AND b.version_id = ANY (%(blinded_models)s))"
    ),
    "evaluation": (
        "AND NOT EXISTS (SELECT 1 FROM annotation_snapshot snapshot WHERE snapshot.id = e.snapshot_id "
        "AND snapshot.campaign_id = ANY (%(blinded)s))"
    ),
}


_ONE = "SELECT '{goal}'::text, step.id::bigint, step.role::text FROM ({sql}) step(id, role) WHERE w.kind = '{start}'"
_SOME = "SELECT * FROM ({steps} OFFSET 0) step WHERE {condition}"


def lateral(steps: tuple[Step, ...], *, blind: bool) -> str:
    """Every step from a node `w`, each asked only of the kind it starts at: rows of (kind, id, role).

    In two groups, so that of what comes in thousands only the steps of such kinds are looked at (OFFSET 0 keeps the groups apart).
    """
    words = _WORDS | (BLINDS if blind else dict.fromkeys(BLINDS, ""))
    many = [name for name, kind in KINDS.items() if kind.many]
    among = f"w.kind IN ({', '.join(repr(name) for name in many)})"
    groups = []
    for condition, wanted in ((among, True), (f"NOT {among}", False)):
        own = [_ONE.format(goal=goal, sql=sql.format(**words), start=start) for start, goal, sql in steps if (start in many) is wanted]
        groups.append(_SOME.format(steps=" UNION ALL ".join(own), condition=condition))
    return " UNION ALL ".join(groups)
