"""What a finished merge kept of its experts: base, experts and merge asked the questions of ``inputs/retention.jsonl``.

Rows are {"id", "messages", "answer", "domain", "expert"}: of each expert, named as in the recipe, questions on what it was taught. Whoever
asks chooses the questions; the tiny family's are in the validation wording, because merges are chosen by what is seen here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.engine import models
from training.engine.attempt import Attempt
from training.engine.kinds.exam import Exam
from training.engine.merging import adapters
from training.engine.merging.retention import retention

FILE = "retention.jsonl"


def measured(attempt: Attempt, base: Path, merged: Path) -> dict[str, Any]:
    """As ``retention`` gives it, experts by their names; questions with one answer are redrawn together. An adapter is left out: it is no
    model by itself."""
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    by_expert: dict[str, list[dict[str, Any]]] = {}
    for row in attempt.rows(FILE, id=str, messages=list, answer=str, domain=str, expert=str):
        if not adapters.is_adapter(attempt.source(row["expert"])):
            by_expert.setdefault(row["expert"], []).append(row)
    exams: dict[str, Exam] = {}

    def asked(folder: Path, experts: list[str]) -> dict[str, list[bool]]:
        model, tokenizer = models.load(str(folder))
        for expert in experts:
            exams.setdefault(expert, Exam(tokenizer, by_expert[expert]))
        return {expert: [right for right, _ in exams[expert].marks(attempt, model)] for expert in experts}

    every = list(by_expert)
    was, has = asked(base, every), asked(merged, every)
    learnt = {expert: asked(attempt.source(expert), [expert])[expert] for expert in every}
    groups = {expert: [row["answer"] for row in rows] for expert, rows in by_expert.items()}
    return retention(was, learnt, has, groups=groups, seed=attempt.spec.seed)
