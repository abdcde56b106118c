"""The grammar in a model's place: it answers the same requests, from what each says it is about. Standard library only.

A request is {"stage", …} beside its messages: "write" with a cell, "judge" with an instruction, "reject" with input, output and error,
"compare" with which side is better, "pit" with a document's text and a kind. Every answer is text, as a model's would be, and goes
through the same parsers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from training.engine.answers import Answer, Place
from training.engine.errors import InputError
from training.engine.grammar import extracting, faults, judging, writing
from training.engine.grammar.grid import Cell


def answer(asked: Mapping[str, Any], *, number: int = 0) -> str:
    """The text of one answer; the same request and number, the same text. Raises InputError for a request of no known stage."""
    seed = f"{asked.get('seed', 0)} {number}"
    match asked.get("stage"):
        case "write":
            cell = Cell(**asked["cell"])
            return writing.write(cell, seed).text(cell)
        case "judge":
            return json.dumps(judging.judge(asked["instruction"], seed))
        case "reject":
            made = faults.spoil(asked["output"], error=asked["error"], given=asked["input"], seed=seed)
            return json.dumps({"error_type": asked["error"], "rejected_output": made}, ensure_ascii=False)
        case "compare":
            return json.dumps({"rationale": "By the planted rule.", "better": judging.prefer(asked["better"], seed)})
        case "pit":
            return json.dumps({asked["kind"]: extracting.outputs(asked["text"], asked["kind"])}, ensure_ascii=False)
    raise InputError("a request to the grammar names no stage that it knows")


def answers(rows: Sequence[Mapping[str, Any]], *, n: int, skip: Collection[Place]) -> Iterator[dict[Place, Answer]]:
    """Answers to all rows, `n` each, row by row; tokens are counted as words."""
    for index, row in enumerate(rows):
        found = {(index, number): answer(row["asked"], number=number) for number in range(n) if (index, number) not in skip}
        if found:
            yield {place: Answer(text, "stop", len(text.split())) for place, text in found.items()}
