"""Which of four answers belongs to a question, and how likely the right one is: what a model without chat manners can be asked.

The question stands as plain text in the very form that pre-instruction tuning reads (documents.answered); an answer's score is its mean
log-probability per token, because answers differ in length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine import decoding, documents, rundir, statistics, tokens
from training.engine.attempt import Attempt
from training.engine.errors import InputError


def read(path: Path) -> list[dict[str, Any]]:
    """{"id", "group", "domain", "question", "answers"} a row; ``answers`` begins with the right one. Raises ``InputError``.

    ``group`` is what must be redrawn as a whole for an interval, such as a document.
    """
    rows = []
    for number, row in enumerate(rundir.read_jsonl(path, {"id": str, "group": str, "domain": str, "question": str}), start=1):
        answers = row.get("answers")
        if not isinstance(answers, list) or len(answers) < 2 or not all(isinstance(one, str) and one for one in answers):
            raise InputError(f"inputs/{path.name} line {number}: answers is not a list of two texts or more")
        if len(set(answers)) != len(answers):
            raise InputError(f"inputs/{path.name} line {number}: an answer stands there twice")
        rows.append(row)
    return rows


def score(
    attempt: Attempt, model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], batch_size: int, *, done: int, total: int
) -> list[list[float]]:
    """Mean log-probability per token of each answer of each row."""
    pairs = [_split(tokenizer, row["question"], answer) for row in rows for answer in row["answers"]]
    sums = iter(decoding.completion_logps(attempt, model, tokenizer.pad_token_id, pairs, batch_size, done=done, total=total))
    sizes = iter(len(answer) for _, answer in pairs)
    return [[next(sums) / next(sizes) for _ in row["answers"]] for row in rows]


def _split(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[int]]:
    """(ids up to the answer, ids of the answer and EOS): tokenised as one text, as in training, and cut where the answer begins."""
    whole = [*tokens.encode_plain(tokenizer, documents.answered(question, answer)), tokenizer.eos_token_id]
    start = tokens.encode_plain(tokenizer, documents.answered(question, ""))
    shared = next((i for i, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), min(len(start), len(whole) - 1))
    return whole[:shared], whole[shared:]


def compare(rows: Sequence[dict[str, Any]], scores: dict[str, list[list[float]]], *, draws: int, seed: int) -> dict[str, Any]:
    """By domain and over all: each side's share right and mean log-probability of the right answer, and the differences.

    {"accuracy": {side: share}, "logp": {side: figure}, "accuracy_difference", "logp_difference"}; every figure has value, low, high and
    n, the interval from redrawing whole groups. A difference is policy less reference on the same rows.
    """
    found: dict[str, Any] = {}
    for domain in [*dict.fromkeys(row["domain"] for row in rows), "all"]:
        chosen = [index for index, row in enumerate(rows) if domain in (row["domain"], "all")]
        groups = [rows[index]["group"] for index in chosen]
        right = {side: [float(given[i][0] > max(given[i][1:])) for i in chosen] for side, given in scores.items()}
        likely = {side: [given[i][0] for i in chosen] for side, given in scores.items()}
        told: dict[str, Any] = {"questions": len(chosen)}
        for name, values in (("accuracy", right), ("logp", likely)):
            told[name] = {side: _figure(one, groups, draws, seed) for side, one in values.items()}
            if "reference" in values:
                less = [a - b for a, b in zip(values["policy"], values["reference"], strict=True)]
                told[f"{name}_difference"] = _figure(less, groups, draws, seed)
        found[domain] = told
    return found


def _figure(values: Sequence[float], groups: Sequence[str], draws: int, seed: int) -> dict[str, float | int]:
    together: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        together.setdefault(group, []).append(value)
    low, high = statistics.bootstrap_mean(list(together.values()), draws, seed)
    return {"value": sum(values) / len(values), "low": low, "high": high, "n": len(values)}
