"""Completions of the prompts given, for judging side by side: written here by a model, asked of a server that is allowed,
or made by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from training.engine import served
from training.engine.answers import Answer, Ledger, Pace, Place
from training.engine.attempt import Attempt, Outcome
from training.engine.spec import Generate

Rows = Sequence[Mapping[str, Any]]


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Generate)
    rows = attempt.rows("prompts.jsonl", id=str, messages=list)
    ledger = Ledger(attempt, rows, n=params.n, checkpoint_seconds=params.checkpoint_seconds)
    pace = Pace(attempt, phase="generating", done=ledger.resumed, total=len(rows) * params.n)
    write = _asked if params.endpoint else _by_grammar if params.grammar else _written
    told: dict[str, Any] = {}
    try:
        for found in write(attempt, params, rows, frozenset(ledger.answers), pace, told):
            ledger.add(found)
            if attempt.asked_to_keep:
                break
    except served.Unanswered:
        ledger.checkpoint()  # another attempt asks only for the rest
        raise
    pace.say()
    answers = ledger.answers.values()
    missing = Counter(answer.error for answer in answers if answer.error)
    if stopped := len(rows) * params.n - len(answers):
        missing["stopped"] = stopped
    metrics = {
        "completions": sum(not answer.error for answer in answers),
        "unanswered": dict(missing),
        "cut": sum(answer.finish_reason == "length" for answer in answers),
        "tokens": pace.tokens, "tokens_per_second": round(pace.tokens_per_second, 1), "resumed": ledger.resumed, **told,
    }  # fmt: skip
    return Outcome(metrics, items=attempt.write_items(ledger.items()))


def _written(
    attempt: Attempt, params: Generate, rows: Rows, skip: Collection[Place], pace: Pace, told: dict[str, Any]
) -> Iterator[dict[Place, Answer]]:
    """By the policy, here. What it needs is imported here: a job that only asks a server starts without torch."""
    from training.engine import decoding, models, tokens
    from training.engine.sampling import Sampling

    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    model, tokenizer = models.load_to_write(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    encoded = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in rows]
    how = Sampling(temperature=params.temperature, top_p=params.top_p, top_k=params.top_k, min_new_tokens=params.min_new_tokens)
    decoder = decoding.Decoder(
        attempt, model, tokenizer, how, max_new_tokens=params.max_new_tokens, batch_size=params.batch_size, token_budget=params.token_budget
    )
    done = set(skip)
    for found in _continuously(attempt, params, decoder, encoded, skip):
        done |= found.keys()
        pace.add(found.values())
        yield found
    for found in decoder.answers(encoded, n=params.n, skip=done):
        pace.add(found.values())
        yield found
    told["drawn_alone"] = decoder.drawn_alone


def _continuously(
    attempt: Attempt, params: Generate, decoder: Any, encoded: Sequence[list[int]], skip: Collection[Place]
) -> Iterator[dict[Place, Answer]]:
    """What continuous batching answers where it is wanted: all, or, should it fail, what it came to."""
    from training.engine import continuous

    if continuous.is_wanted(params):
        try:
            yield from continuous.answers(decoder, encoded, n=params.n, seed=attempt.spec.seed, skip=skip)
        except continuous.Stopped as stopped:
            attempt.events.log(f"continuous batching stopped ({stopped}): the rest is written in static batches")


def _asked(
    attempt: Attempt, params: Generate, rows: Rows, skip: Collection[Place], pace: Pace, told: dict[str, Any]
) -> Iterator[dict[Place, Answer]]:
    """By a server on the operator's list."""
    assert params.endpoint is not None
    server = served.Server(params.endpoint, key=served.key_from_environment())
    server.check()
    asker = served.Asker(attempt, server, params)
    for found in asker.answers([row["messages"] for row in rows], skip=skip):
        pace.add(found.values(), asker.tokens - pace.tokens)
        yield found
    told["served_models"] = sorted(asker.models)
    told["prompt_tokens"] = asker.prompt_tokens


def _by_grammar(
    attempt: Attempt, params: Generate, rows: Rows, skip: Collection[Place], pace: Pace, told: dict[str, Any]
) -> Iterator[dict[Place, Answer]]:
    """By rules alone: no model, no network, the same text for the same request."""
    from training.engine.grammar import answering

    for found in answering.answers(rows, n=params.n, skip=skip):
        attempt.check()
        pace.add(found.values())
        yield found
