"""Completions of the prompts given, for judging side by side."""

from __future__ import annotations

from training.engine import decoding, models, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.spec import Generate


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Generate)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    rows = attempt.rows("prompts.jsonl", id=str, messages=list)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    encoded = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in rows]
    answers = decoding.generate(
        attempt, model, tokenizer, [ids for ids in encoded for _ in range(params.n)], max_new_tokens=params.max_new_tokens,
        batch_size=params.batch_size, temperature=params.temperature, top_p=params.top_p,
    )  # fmt: skip
    items = [
        {
            "id": rows[index // params.n]["id"], "text": answer.text, "finish_reason": answer.finish_reason,
            "tokens": answer.tokens, "n": index % params.n,
        }
        for index, answer in enumerate(answers)
    ]  # fmt: skip
    cut = sum(answer.finish_reason == "length" for answer in answers)
    metrics = {"completions": len(items), "cut": cut, "tokens": sum(answer.tokens for answer in answers)}
    return Outcome(metrics, items=attempt.write_items(items))
