"""Completions of the prompts given, for judging side by side."""

from __future__ import annotations

from training.engine import decoding, models, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.sampling import Sampling
from training.engine.spec import Generate


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Generate)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    rows = attempt.rows("prompts.jsonl", id=str, messages=list)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    encoded = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in rows]
    how = Sampling(temperature=params.temperature, top_p=params.top_p, top_k=params.top_k, min_new_tokens=params.min_new_tokens)
    decoder = decoding.Decoder(
        attempt, model, tokenizer, how, max_new_tokens=params.max_new_tokens, batch_size=params.batch_size, token_budget=params.token_budget
    )
    pace = decoding.Pace(attempt, phase="generating", done=0, total=len(rows) * params.n)
    answers: dict[decoding.Place, decoding.Answer] = {}
    for found in decoder.answers(encoded, n=params.n):
        answers |= found
        pace.add(found)
    pace.say()
    items = [
        {
            "id": rows[index]["id"], "n": number, "text": answer.text, "finish_reason": answer.finish_reason, "tokens": answer.tokens,
            "rope": answer.rope,
        }
        for (index, number), answer in sorted(answers.items())
    ]  # fmt: skip
    metrics = {
        "completions": len(items), "cut": sum(answer.finish_reason == "length" for answer in answers.values()), "tokens": pace.tokens,
        "drawn_alone": decoder.drawn_alone,
    }  # fmt: skip
    return Outcome(metrics, items=attempt.write_items(items))
