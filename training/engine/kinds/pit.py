"""Pre-instruction tuning (arXiv 2505.10717, 3.1.2): an expert from the base.

Phase one trains on the outputs of a single task about each document, joined by EOS; phase two on outputs and then the
document. No chat markup. Each document is a sequence of its own, which sees no other. The loss is on every token.

On the toy domains only, and our addition: replay of the base's mixture, without which a model of this size forgets how to answer, and
its distance from the base makes merging useless. The replay leaves out the base's rare questions on new facts, so that what an expert
can answer more comes from its own domain's outputs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from training.engine import documents, language, models, toycorpus, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import InputError
from training.engine.kinds.pretrain import told
from training.engine.language import Batch, Row
from training.engine.loop import Schooling, steps_for
from training.engine.spec import Pit
from training.engine.tokens import encode_plain


def run(attempt: Attempt) -> Outcome:
    began = time.monotonic()
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Pit)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"], params.dtype if params.lora else "float32")
    model.to(models.device())
    if params.neurons is not None:
        language.only_neurons(model, params.neurons.index, params.neurons.of)
    elif params.freeze_embeddings:
        language.freeze_embeddings(model)
    learn = _on_toy_domain if params.domain else _on_documents
    schooling, metrics = learn(attempt, model, tokenizer, params)
    if attempt.spec.probe:
        return Outcome(schooling.probed(began))
    model, said = schooling.finish()
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(metrics | said, model=True)


# --- real documents ----------------------------------------------------------------------------------------------------------------


def _on_documents(attempt: Attempt, model: Any, tokenizer: Any, params: Pit) -> tuple[Schooling, dict[str, Any]]:
    attempt.events.progress("tokenizing", 0, 1)
    given = documents.read(attempt.inputs / "documents.jsonl")
    limit = min(params.max_length or models.context(model), models.training_context(model))
    outputs = _sequences(tokenizer, given, params.outputs, with_document=False)
    both = _sequences(tokenizer, given, params.outputs, with_document=True)
    if not outputs:
        raise InputError(f"no row of inputs/documents.jsonl has outputs.{params.outputs}")
    if params.packing:
        language.check_packing(model, language.lines_of(outputs, limit), tokenizer.pad_token_id)
    first, second = (_batches(tokenizer, rows, params, attempt.spec.seed + number, limit) for number, rows in ((1, outputs), (2, both)))
    # Phase one takes its share of the steps given, else its own number of epochs.
    if params.steps is not None:
        steps_one = round(params.steps * params.phase_one)
        steps_two = params.steps - steps_one
    else:
        steps_one, steps_two = -(-round(first[1] * params.phase_one_epochs) // params.gradient_accumulation), steps_for(params, second[1])
    schooling = Schooling(attempt, model, params, total=steps_one + steps_two)
    metrics: dict[str, Any] = told(both, limit) | {"with_outputs": len(outputs)}
    # A probe measures the longer rows.
    if steps_one and not attempt.spec.probe:
        rate = params.phase_one_learning_rate or params.learning_rate / 3
        metrics["loss_phase_1"] = schooling.phase(first[0], steps=steps_one, learning_rate=rate)
    if (path := attempt.inputs / "validation.jsonl").exists():
        held = _sequences(tokenizer, documents.read(path), params.outputs, with_document=True)
        schooling.validation = language.in_batches([[row] for row in language.cut(held, limit)], params.batch_size, tokenizer.pad_token_id)
    if steps_two and not schooling.ended:
        metrics["loss_phase_2"] = schooling.phase(second[0], steps=steps_two, learning_rate=params.learning_rate)
    return schooling, metrics


def _sequences(tokenizer: Any, given: list[dict[str, Any]], task: str, *, with_document: bool) -> list[Row]:
    """A sequence a document, an EOS after each of its parts. In phase one a document without the task's output has nothing to give."""
    rows: list[Row] = []
    for row in given:
        ids: list[int] = []
        for part in documents.sequence(row, task, with_document=with_document):
            ids += [*encode_plain(tokenizer, part), tokenizer.eos_token_id]
        if ids:
            rows.append((ids, 0))
    return rows


def _batches(tokenizer: Any, rows: list[Row], params: Pit, seed: int, limit: int) -> tuple[Iterator[Batch], int]:
    whole = rows if params.packing else language.cut(rows, limit)
    return language.batches_of(
        whole, batch_size=params.batch_size, pad=tokenizer.pad_token_id, seed=seed, pack_to=limit if params.packing else None
    )  # fmt: skip


# --- the toy world -----------------------------------------------------------------------------------------------------------------


def _on_toy_domain(attempt: Attempt, model: Any, tokenizer: Any, params: Pit) -> tuple[Schooling, dict[str, Any]]:
    assert params.steps is not None
    seed = attempt.spec.seed
    schooling = Schooling(attempt, model, params, total=params.steps)
    loss: Callable[[Any, Any], torch.Tensor] = language.loss_of
    if params.anchor:
        base, _ = models.load(attempt.spec.models["policy"])
        loss = _anchored(base.to(schooling.device), params.anchor)
    first = max(1, round(params.steps * params.phase_one)) if params.phase_one else 0
    phases = [
        (first, params.phase_one_learning_rate or params.learning_rate / 3, False),
        (params.steps - first, params.learning_rate, True),
    ]
    losses = {}
    for number, (steps, rate, with_document) in enumerate(phases, start=1):
        if steps < 1 or schooling.ended:
            continue
        rows = _toy_rows(tokenizer, params, seed, with_document)
        batches = (
            _anchor_batches(tokenizer, params, rows, seed + number) if params.anchor else _replayed(tokenizer, params, rows, seed + number)
        )
        losses[f"loss_phase_{number}"] = schooling.phase(
            batches, steps=steps, learning_rate=rate, weight_decay=0.0 if params.neurons else None, loss_function=loss
        )  # fmt: skip
    return schooling, losses


def _replayed(tokenizer: Any, params: Pit, rows: Iterator[Row], seed: int) -> Iterator[Batch]:
    replay = language.replay_rows(tokenizer, toycorpus.corpus("reading", seed + 1000))
    return language.mixed(rows, replay, params.replay, params.batch_size, tokenizer.pad_token_id, seed)


def _anchor_batches(tokenizer: Any, params: Pit, rows: Iterator[Row], seed: int) -> Iterator[tuple[Batch, Batch]]:
    """What to learn, and where to stay as the base is: ``replay`` of every batch is the latter, at least one row."""
    assert params.domain is not None
    replay = language.replay_rows(tokenizer, toycorpus.elsewhere(params.domain, seed))
    kept = max(1, round(params.replay * params.batch_size))
    while True:
        learnt = [next(rows) for _ in range(max(1, params.batch_size - kept))]
        yield language.padded(learnt, tokenizer.pad_token_id), language.padded([next(replay) for _ in range(kept)], tokenizer.pad_token_id)


def _anchored(base: Any, weight: float) -> Callable[[Any, Any], torch.Tensor]:
    def loss(model: Any, batch: tuple[Batch, Batch]) -> torch.Tensor:
        learnt, kept = batch
        return language.loss_of(model, learnt) + weight * language.divergence(model, base, kept)

    return loss


def _toy_rows(tokenizer: Any, params: Pit, seed: int, with_document: bool) -> Iterator[Row]:
    """One document's sequence at a time, for ever, in fresh wordings each time round."""
    assert params.domain is not None
    end = tokenizer.eos_token_id
    for turn in itertools.count():
        for item in _toy_documents(params.domain, seed * 1000 + turn):
            ids: list[int] = []
            for part in toycorpus.pit_elements(item, params.outputs, with_document=with_document):
                ids += [*encode_plain(tokenizer, part), end]
            yield ids, 0


def _toy_documents(domain: str, seed: int) -> list[dict[str, Any]]:
    """64 documents of a domain; of the mixture as many of each, one domain after the other."""
    if domain != "mixture":
        return toytext.documents(domain, 64, seed)
    of_each = (toytext.documents(each, 64, seed) for each in toytext.DOMAINS)
    return [item for turn in zip(*of_each, strict=True) for item in turn]
