"""The fourteen tasks: what each asks of a text, and the answer, computed from the facts the text was made of.

A task draws its options once for an instruction, then makes any number of examples that keep to them. Answers are JSON values with a
schema, and are said in plain text from the same value. Standard library only.
"""

from __future__ import annotations

import json
from typing import Any

from training.engine.grammar.tasks.base import Options, Schema, Task, level
from training.engine.grammar.tasks.checking import Errors, Scoring
from training.engine.grammar.tasks.deciding import Classification, Diagnosis, Entailment
from training.engine.grammar.tasks.finding import Entities, Keywords, Relations
from training.engine.grammar.tasks.reading import MultipleChoice, QuestionAnswering, Summarization
from training.engine.grammar.tasks.rewording import Abbreviations, Expansion, Simplification

__all__ = ["TASKS", "Options", "Schema", "Task", "as_json", "level"]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Summarization(), QuestionAnswering(), MultipleChoice(), Entities(), Relations(), Classification(), Diagnosis(), Entailment(),
        Simplification(), Expansion(), Abbreviations(), Keywords(), Errors(), Scoring(),
    )
}  # fmt: skip


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
