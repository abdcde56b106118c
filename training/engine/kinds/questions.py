"""Plain questions with one right answer: how much a model knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine import decoding, models, statistics, tokens, toytext
from training.engine.attempt import Attempt


def ask(
    attempt: Attempt, model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], *, max_new_tokens: int, batch_size: int,
    done: int = 0, total: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Greedy answers to {"id", "messages", "answer", "domain"}: {"id", "domain", "text", "correct"} a row, where
    correct is the whole answer up to case and punctuation."""
    prompts = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in rows]
    answers = decoding.generate(
        attempt, model, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, phase="evaluating",
        done=done, total=total,
    )  # fmt: skip
    return [
        {"id": row["id"], "domain": row["domain"], "text": answer.text, "correct": toytext.exact(answer.text, row["answer"])}
        for row, answer in zip(rows, answers, strict=True)
    ]


def recall(answered: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Share of right answers by domain, and over all of them under "all", with Wilson intervals."""
    by_domain: dict[str, list[bool]] = {}
    for row in answered:
        by_domain.setdefault(row["domain"], []).append(row["correct"])
    by_domain["all"] = [row["correct"] for row in answered]
    return {domain: statistics.proportion(sum(marks), len(marks)) for domain, marks in by_domain.items()}


def validation_score(attempt: Attempt, folder: Path, domain: str, n: int) -> float:
    """Mean of the domain's recall in the wording kept for choosing, and of general knowledge (what SLERP is to restore)."""
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    model, tokenizer = models.load(str(folder))
    rows = toytext.questions(domain, min(n, 32), 1, "validation") + toytext.general_questions(min(n, 22), 1)
    found = recall(ask(attempt, model, tokenizer, rows, max_new_tokens=16, batch_size=64))
    return (float(found[domain]["value"]) + float(found["general"]["value"])) / 2
