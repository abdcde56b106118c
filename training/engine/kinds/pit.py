"""Pre-instruction tuning (arXiv 2505.10717, 3.1.2): an expert from the base.

Phase one trains on the outputs of a single task about each document, joined by EOS; phase two on outputs and then the
document. No chat markup. Each document is a sequence of its own. Replay of the base's mixture (without its rare questions on new
facts, so that an expert learns to answer from its own domain's outputs alone) is our addition: without it a model of this size forgets how to answer, and its distance from the base makes merging useless.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from training.engine import language, models, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.language import Row
from training.engine.spec import Pit
from training.engine.tokens import encode_plain


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Pit)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    if params.freeze_embeddings:
        language.freeze_embeddings(model)
    first = max(1, round(params.steps * params.phase_one)) if params.phase_one else 0
    phases = [(first, params.learning_rate / 3, False), (params.steps - first, params.learning_rate, True)]
    losses, done = {}, 0
    for number, (steps, rate, with_document) in enumerate(phases, start=1):
        if steps < 1:
            continue
        batches = language.mixed(
            _rows(tokenizer, params, seed, with_document), language.replay_rows(tokenizer, "reading", seed + 1000 * number),
            params.replay, params.batch_size, tokenizer.pad_token_id, seed + number,
        )  # fmt: skip
        losses[f"loss_phase_{number}"] = language.train(
            attempt, model, batches, steps=steps, learning_rate=rate, first_step=done, total=params.steps
        )
        done += steps
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(dict(losses), model=True)


def _rows(tokenizer: Any, params: Pit, seed: int, with_document: bool) -> Iterator[Row]:
    """One document's sequence at a time, for ever, in fresh wordings each time round."""
    end = tokenizer.eos_token_id
    for turn in itertools.count():
        for item in toytext.documents(params.domain, 64, seed * 1000 + turn):
            ids: list[int] = []
            for part in toytext.pit_elements(item, params.outputs, with_document=with_document):
                ids += [*encode_plain(tokenizer, part), end]
            yield ids, 0
