"""A first model: a tokenizer, a fresh Phi-3, and its schooling, in the toy world's general text or in the documents given."""

from __future__ import annotations

from collections.abc import Iterator

from training.engine import documents, language, models, tokens, toycorpus
from training.engine.attempt import Attempt, Outcome
from training.engine.kinds.pretrain import document_rows
from training.engine.language import Batch
from training.engine.loop import Schooling
from training.engine.spec import BuildBase


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, BuildBase)
    models.set_threads(attempt.spec.threads, seed)
    attempt.events.progress("tokenizing", 0, 1)
    given = documents.read(attempt.inputs / "documents.jsonl") if params.tokenizer == "documents" else []
    if given:
        tokenizer = tokens.made_of(params.vocab_size, tokens.words_of(given), longest=params.context)
    else:
        # One vocabulary whatever the seed: families that differ only by seed stay comparable token by token.
        tokenizer = tokens.build(params.vocab_size, seed=0)
    model = models.fresh_phi3(
        tokenizer=tokenizer, hidden=params.hidden_size, layers=params.layers, heads=params.heads,
        intermediate=params.intermediate_size, seed=seed, context=params.context,
    )  # fmt: skip
    if given:
        rows = document_rows(tokenizer, [row["text"] for row in given])
        batches: Iterator[Batch]
        batches, _ = language.batches_of(
            rows, batch_size=params.batch_size, pad=tokenizer.pad_token_id, seed=seed, pack_to=params.block
        )  # fmt: skip
    else:
        batches = language.stream(language.encode_stream(tokenizer, toycorpus.corpus("base", seed)), params.batch_size, params.block)
    schooling = Schooling(attempt, model, params, total=params.steps)
    loss = schooling.phase(batches, steps=params.steps, learning_rate=params.learning_rate)
    model, said = schooling.finish()
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    count = sum(parameter.numel() for parameter in model.parameters())
    return Outcome({"loss": loss, "parameters": count, "vocabulary": len(tokenizer), **said}, model=True)
