"""Validation questions as one forward pass: which answers greedy decoding would give, and how likely the right ones are.

Greedy decoding writes an answer's tokens exactly when each of them is the likeliest after those before it, so a pass over questions with
their right answers tells what writing them out would, at a fraction of the time. Only an answer that differs in case, punctuation or its
cut into tokens counts here as wrong and there as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from training.engine import buckets, language, tokens, toytext
from training.engine.attempt import Attempt
from training.engine.language import Row
from training.engine.merging.search import Score

# Which validation questions there are is part of every figure; tests/engine/test_search.py has their digest.
SEED = 1
BATCH = 64


def validation_questions(each: int) -> list[dict[str, Any]]:
    """``each`` questions of every toy domain in the wording kept for choosing settings, which neither training nor evaluation uses."""
    return [row for domain in toytext.DOMAINS for row in toytext.questions(domain, each, SEED, "validation")]


class Exam:
    """Questions tokenised once, to be asked of many models with one tokenizer."""

    def __init__(self, tokenizer: Any, rows: Sequence[dict[str, Any]]) -> None:
        self._domains = [row["domain"] for row in rows]
        encoded = [_row(tokenizer, row) for row in rows]
        self._chunks = list(buckets.by_length([len(ids) for ids, _ in encoded], batch_size=BATCH, switch=None))
        self._batches = [language.padded([encoded[index] for index in chunk], tokenizer.pad_token_id) for chunk in self._chunks]

    @torch.inference_mode()
    def marks(self, attempt: Attempt, model: Any) -> list[tuple[bool, float]]:
        """(whether the answer is right, its mean log-probability a token) of every question, in order."""
        found: list[tuple[bool, float]] = [(False, 0.0)] * len(self._domains)
        model.eval()
        for chunk, batch in zip(self._chunks, self._batches, strict=True):
            attempt.check()
            logps, hits = language.token_scores(model, batch)
            sizes = (batch.labels[:, 1:] != language.IGNORE).sum(1).tolist()
            for index, logp, hit in zip(chunk, logps.split(sizes), hits.split(sizes), strict=True):
                found[index] = bool(hit.all()), float(logp.mean())
        return found

    def score(self, attempt: Attempt, model: Any) -> Score:
        marks = self.marks(attempt, model)
        of_domain: dict[str, list[bool]] = {}
        for domain, (right, _) in zip(self._domains, marks, strict=True):
            of_domain.setdefault(domain, []).append(right)
        shares = {domain: sum(right) / len(right) for domain, right in of_domain.items()}
        return Score(shares, sum(logp for _, logp in marks) / len(marks), len(marks))


def _row(tokenizer: Any, row: dict[str, Any]) -> Row:
    """The question as a chat, its right answer and the end of the turn; labels are the answer and that end."""
    prompt, answer = tokens.split_completion(tokenizer, row["messages"], [{"role": "assistant", "content": row["answer"]}])
    ends = set(tokens.stop_ids(tokenizer))
    last = next((place for place, token in enumerate(answer) if token in ends), len(answer) - 1)
    return prompt + answer[: last + 1], len(prompt)
