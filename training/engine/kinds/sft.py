"""Supervised fine-tuning of all weights; the loss is on completions only, replay is learnt whole."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

from training.engine import language, models, tokens, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import TooLong
from training.engine.language import Row
from training.engine.spec import Sft


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Sft)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    if params.freeze_embeddings:
        language.freeze_embeddings(model)
    attempt.events.progress("tokenizing", 0, 1)
    metrics: dict[str, Any] = {}
    if params.corpus == "toy":
        rows = _toy_rows(tokenizer, seed)
        steps = params.steps or 1
    else:
        given = [_row(tokenizer, row["prompt"], row["completion"]) for row in attempt.rows("train.jsonl", prompt=list, completion=list)]
        _refuse_long(given, params.max_length or models.context(model))
        rows = _epochs(given, seed)
        steps = params.steps or math.ceil(len(given) * float(params.epochs or 1) / params.batch_size / (1 - params.replay))
        metrics["rows"] = len(given)
    batches = language.mixed(
        rows,
        language.replay_rows(tokenizer, toytext.corpus("replay", seed)),
        params.replay,
        params.batch_size,
        tokenizer.pad_token_id,
        seed,
    )
    metrics["steps"] = steps
    metrics["loss"] = language.train(attempt, model, batches, steps=steps, learning_rate=params.learning_rate)
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(metrics, model=True)


def _row(tokenizer: Any, prompt: list[toytext.Message], completion: list[toytext.Message]) -> Row:
    start, rest = tokens.split_completion(tokenizer, prompt, completion)
    return start + rest, len(start)


def _refuse_long(rows: list[Row], limit: int) -> None:
    for number, (ids, _) in enumerate(rows, start=1):
        if len(ids) > limit:
            raise TooLong(f"row {number} of train.jsonl has {len(ids)} tokens, the limit is {limit}")


def _epochs(rows: list[Row], seed: int) -> Iterator[Row]:
    for epoch in itertools.count():
        order = list(range(len(rows)))
        random.Random(f"epoch {seed} {epoch}").shuffle(order)
        yield from (rows[index] for index in order)


def _toy_rows(tokenizer: Any, seed: int) -> Iterator[Row]:
    """Samples of the family's half only; a campaign's prompts are never trained on."""
    for sample in toytext.sample_stream(seed, "family"):
        answer = [{"role": "assistant", "content": sample["output"]}]
        yield _row(tokenizer, toytext.messages(sample), answer)
