"""Plain language modelling, as for domain-adaptive pre-training: on the documents given, or on a corpus of the toy world."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from training.engine import documents, language, models, tokens, toycorpus
from training.engine.attempt import Attempt, Outcome
from training.engine.language import Row
from training.engine.loop import Schooling, steps_for
from training.engine.spec import Pretrain


def run(attempt: Attempt) -> Outcome:
    began = time.monotonic()
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Pretrain)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"], params.dtype if params.lora else "float32")
    model.to(models.device())
    metrics: dict[str, Any] = {}
    if params.corpus is not None:
        batches = language.stream(language.encode_stream(tokenizer, toycorpus.corpus(params.corpus, seed)), params.batch_size, params.block)
        steps = steps_for(params, 0)
    else:
        attempt.events.progress("tokenizing", 0, 1)
        limit = min(params.block, models.training_context(model))
        rows = document_rows(tokenizer, [row["text"] for row in documents.read(attempt.inputs / "documents.jsonl")])
        language.check_packing(model, language.lines_of(rows, limit), tokenizer.pad_token_id)
        batches, per_epoch = language.batches_of(
            rows, batch_size=params.batch_size, pad=tokenizer.pad_token_id, seed=seed, pack_to=limit
        )  # fmt: skip
        steps = steps_for(params, per_epoch)
        metrics |= told(rows, limit)
    schooling = Schooling(attempt, model, params, total=steps)
    if (path := attempt.inputs / "validation.jsonl").exists():
        held = language.lines_of(
            document_rows(tokenizer, [row["text"] for row in documents.read(path)]), min(params.block, models.training_context(model))
        )
        schooling.validation = language.in_batches(held, params.batch_size, tokenizer.pad_token_id)
    metrics["loss"] = schooling.phase(batches, steps=steps, learning_rate=params.learning_rate)
    if attempt.spec.probe:
        return Outcome(schooling.probed(began))
    model, said = schooling.finish()
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(metrics | said, model=True)


def document_rows(tokenizer: Any, texts: Iterable[str]) -> list[Row]:
    """Each document with EOS after it; a control token written in it is text."""
    return [([*tokens.encode_plain(tokenizer, text), tokenizer.eos_token_id], 0) for text in texts]


def told(rows: list[Row], limit: int) -> dict[str, int]:
    """What was read, and how many rows were longer than a line and had to be cut (nothing of them is lost)."""
    return {"documents": len(rows), "document_tokens": sum(len(ids) for ids, _ in rows), "cut": sum(len(ids) > limit for ids, _ in rows)}
