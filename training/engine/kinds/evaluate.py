"""What a model prefers, what it knows, and what it says: on held-out pairs, questions and prompts."""

from __future__ import annotations

from typing import Any

from training.engine import decoding, models, statistics, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import EngineError, InputError
from training.engine.kinds import choices, questions
from training.engine.spec import Evaluate


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Evaluate)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    text, listed = str, list
    pairs = _given(attempt, "pairs.jsonl", id=text, prompt=listed, chosen=listed, rejected=listed)
    asked = _given(attempt, "questions.jsonl", id=text, messages=listed, answer=text, domain=text)
    prompts = _given(attempt, "prompts.jsonl", id=text, messages=listed)
    chosen = choices.read(attempt.inputs / "choices.jsonl") if (attempt.inputs / "choices.jsonl").exists() else []
    if not (pairs or asked or prompts or chosen):
        raise InputError("none of inputs/pairs.jsonl, questions.jsonl, prompts.jsonl and choices.jsonl is there")
    sides = ["policy", *(["reference"] if "reference" in attempt.spec.models else [])]
    if pairs and len(sides) == 1:
        raise EngineError("preference accuracy compares with a reference, and models has none", code="missing_reference")
    total = len(sides) * (2 * len(pairs) + len(asked) + len(prompts) + sum(len(row["answers"]) for row in chosen))
    seen: dict[str, dict[str, Any]] = {}
    for side in sides:
        seen[side] = _one(attempt, params, attempt.spec.models[side], pairs, asked, prompts, chosen, len(seen) * total // len(sides), total)
    items: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    if pairs:
        metrics["preference_accuracy"] = _preference(attempt, params, pairs, seen, items)
    if asked:
        for side in sides:
            metrics["recall" if side == "policy" else "recall_reference"] = questions.recall(seen[side]["answers"])
            items += [{"type": "question", "model": side} | row for row in seen[side]["answers"]]
    if chosen:
        scores = {side: seen[side]["choices"] for side in sides}
        metrics["choices"] = choices.compare(chosen, scores, draws=params.bootstrap, seed=attempt.spec.seed)
        items += [{"type": "choice", "id": row["id"]} | {side: scores[side][index] for side in sides} for index, row in enumerate(chosen)]
    for index, row in enumerate(prompts):
        items.append({"type": "prompt", "id": row["id"]} | {side: seen[side]["texts"][index] for side in sides})
    return Outcome(metrics, items=attempt.write_items(items))


def _given(attempt: Attempt, name: str, **fields: type) -> list[dict[str, Any]]:
    return attempt.rows(name, **fields) if (attempt.inputs / name).exists() else []


def _one(
    attempt: Attempt, params: Evaluate, folder: str, pairs: list[dict[str, Any]], asked: list[dict[str, Any]],
    prompts: list[dict[str, Any]], chosen: list[dict[str, Any]], done: int, total: int,
) -> dict[str, Any]:  # fmt: skip
    """Everything asked of one model, loaded once."""
    model, tokenizer = models.load(folder)
    seen: dict[str, Any] = {}
    if pairs:
        rows = [tokens.split_completion(tokenizer, row["prompt"], row[side]) for row in pairs for side in ("chosen", "rejected")]
        scores = decoding.completion_logps(attempt, model, tokenizer.pad_token_id, rows, params.batch_size, done=done, total=total)
        seen["logps"] = list(zip(scores[::2], scores[1::2], strict=True))
        done += len(rows)
    if asked:
        seen["answers"] = questions.ask(
            attempt, model, tokenizer, asked, max_new_tokens=params.max_new_tokens, batch_size=params.batch_size, done=done,
            total=total,
        )  # fmt: skip
        done += len(asked)
    if chosen:
        seen["choices"] = choices.score(attempt, model, tokenizer, chosen, params.batch_size, done=done, total=total)
        done += sum(len(row["answers"]) for row in chosen)
    if prompts:
        encoded = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in prompts]
        answers = decoding.generate(
            attempt, model, tokenizer, encoded, max_new_tokens=params.max_new_tokens, batch_size=params.batch_size,
            phase="evaluating", done=done, total=total,
        )  # fmt: skip
        seen["texts"] = [answer.text for answer in answers]
    return seen


def _preference(
    attempt: Attempt, params: Evaluate, pairs: list[dict[str, Any]], seen: dict[str, dict[str, Any]],
    items: list[dict[str, Any]],
) -> dict[str, float | int]:  # fmt: skip
    """Share of pairs whose chosen side has the larger implicit reward, beta (log pi - log ref) (arXiv 2305.18290, 5).

    A margin within ``indifference`` is half right. The interval redraws whole prompts; Wilson's, over pairs, stands beside
    it, and the wider end of each is given.
    """
    groups: dict[str, list[float]] = {}
    ties, signs = 0, 0.0
    for index, row in enumerate(pairs):
        (chosen, rejected), (was_chosen, was_rejected) = seen["policy"]["logps"][index], seen["reference"]["logps"][index]
        margin = params.beta * ((chosen - was_chosen) - (rejected - was_rejected))
        undecided = abs(margin) <= params.indifference
        right = 0.5 if undecided else float(margin > 0)
        ties += undecided
        signs += 0.5 if margin == 0 else float(margin > 0)
        groups.setdefault(repr(row["prompt"]), []).append(right)
        items.append({"type": "pair", "id": row["id"], "margin": margin, "correct": right})
    value = sum(map(sum, groups.values())) / len(pairs)
    low, high = statistics.bootstrap_mean(list(groups.values()), params.bootstrap, attempt.spec.seed)
    wilson_low, wilson_high = statistics.wilson(round(value * len(pairs)), len(pairs))
    return {
        "value": value, "low": min(low, wilson_low), "high": max(high, wilson_high), "n": len(pairs), "ties": ties,
        "prompts": len(groups), "by_sign_alone": signs / len(pairs),
    }  # fmt: skip
