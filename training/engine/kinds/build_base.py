"""The family's first model: a tokenizer, a fresh Phi-3, and its schooling in general text and known facts."""

from __future__ import annotations

from training.engine import language, models, tokens, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.spec import BuildBase


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, BuildBase)
    models.set_threads(attempt.spec.threads, seed)
    attempt.events.progress("tokenizing", 0, 1)
    # One vocabulary whatever the seed: families that differ only by seed stay comparable token by token.
    tokenizer = tokens.build(params.vocab_size, seed=0)
    model = models.fresh_phi3(
        tokenizer=tokenizer, hidden=params.hidden_size, layers=params.layers, heads=params.heads,
        intermediate=params.intermediate_size, seed=seed,
    )  # fmt: skip
    sequences = language.encode_stream(tokenizer, toytext.corpus("base", seed))
    loss = language.train(
        attempt, model, language.packed(sequences, params.batch_size, params.block), steps=params.steps,
        learning_rate=params.learning_rate,
    )  # fmt: skip
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    count = sum(parameter.numel() for parameter in model.parameters())
    return Outcome({"loss": loss, "parameters": count, "vocabulary": len(tokenizer)}, model=True)
