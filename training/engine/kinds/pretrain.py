"""Plain language modelling: on the documents given, or on a corpus of the toy world."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from training.engine import language, models, tokens, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.spec import Pretrain


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Pretrain)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    if params.corpus is not None:
        sequences = language.encode_stream(tokenizer, toytext.corpus(params.corpus, seed))
    else:
        attempt.events.progress("tokenizing", 0, 1)
        rows = [[*tokens.encode_plain(tokenizer, row["text"]), tokenizer.eos_token_id] for row in attempt.rows("documents.jsonl", text=str)]
        sequences = _epochs(rows, seed)
    loss = language.train(
        attempt, model, language.packed(sequences, params.batch_size, params.block), steps=params.steps,
        learning_rate=params.learning_rate,
    )  # fmt: skip
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    return Outcome({"loss": loss}, model=True)


def _epochs(rows: list[list[int]], seed: int) -> Iterator[list[int]]:
    for epoch in itertools.count():
        order = list(range(len(rows)))
        random.Random(f"epoch {seed} {epoch}").shuffle(order)
        for index in order:
            yield rows[index]
