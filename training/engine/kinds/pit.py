"""Pre-instruction tuning (arXiv 2505.10717, 3.1.2): an expert from the base.

Phase one trains on the outputs of a single task about each document, joined by EOS; phase two on outputs and then the
document. No chat markup. Each document is a sequence of its own. Replay of the base's mixture is our addition: without it
a model of this size forgets how to answer, and its distance from the base makes merging useless. The replay leaves out the
base's rare questions on new facts, so that what an expert can answer more comes from its own domain's outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from training.engine import language, models, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.language import Batch, Row
from training.engine.spec import Pit
from training.engine.tokens import encode_plain


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Pit)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    loss: Callable[[Any, Any], torch.Tensor] = language.loss_of
    if params.anchor:
        base, _ = models.load(attempt.spec.models["policy"])
        loss = _anchored(base, params.anchor)
    if params.neurons is not None:
        language.only_neurons(model, params.neurons.index, params.neurons.of)
    elif params.freeze_embeddings:
        language.freeze_embeddings(model)
    first = max(1, round(params.steps * params.phase_one)) if params.phase_one else 0
    phases = [(first, params.learning_rate / 3, False), (params.steps - first, params.learning_rate, True)]
    losses, done = {}, 0
    for number, (steps, rate, with_document) in enumerate(phases, start=1):
        if steps < 1:
            continue
        rows = _rows(tokenizer, params, seed, with_document)
        batches = (
            _anchor_batches(tokenizer, params, rows, seed + number) if params.anchor else _batches(tokenizer, params, rows, seed + number)
        )
        losses[f"loss_phase_{number}"] = language.train(
            attempt, model, batches, steps=steps, learning_rate=rate, first_step=done, total=params.steps,
            weight_decay=0.0 if params.neurons else 0.01, loss_function=loss,
        )  # fmt: skip
        done += steps
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(dict(losses), model=True)


def _batches(tokenizer: Any, params: Pit, rows: Iterator[Row], seed: int) -> Iterator[Batch]:
    replay = language.replay_rows(tokenizer, toytext.corpus("reading", seed + 1000))
    return language.mixed(rows, replay, params.replay, params.batch_size, tokenizer.pad_token_id, seed)


def _anchor_batches(tokenizer: Any, params: Pit, rows: Iterator[Row], seed: int) -> Iterator[tuple[Batch, Batch]]:
    """What to learn, and where to stay as the base is: ``replay`` of every batch is the latter, at least one row."""
    replay = language.replay_rows(tokenizer, toytext.elsewhere(params.domain, seed))
    kept = max(1, round(params.replay * params.batch_size))
    while True:
        learnt = [next(rows) for _ in range(max(1, params.batch_size - kept))]
        yield language.padded(learnt, tokenizer.pad_token_id), language.padded([next(replay) for _ in range(kept)], tokenizer.pad_token_id)


def _anchored(base: Any, weight: float) -> Callable[[Any, Any], torch.Tensor]:
    def loss(model: Any, batch: tuple[Batch, Batch]) -> torch.Tensor:
        learnt, kept = batch
        return language.loss_of(model, learnt) + weight * language.divergence(model, base, *kept)

    return loss


def _rows(tokenizer: Any, params: Pit, seed: int, with_document: bool) -> Iterator[Row]:
    """One document's sequence at a time, for ever, in fresh wordings each time round."""
    end = tokenizer.eos_token_id
    for turn in itertools.count():
        for item in toytext.documents(params.domain, 64, seed * 1000 + turn):
            ids: list[int] = []
            for part in toytext.pit_elements(item, params.outputs, with_document=with_document):
                ids += [*encode_plain(tokenizer, part), end]
            yield ids, 0
