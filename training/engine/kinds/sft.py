"""Supervised fine-tuning, of all weights or of an adapter; the loss is on completions only, replay is learnt whole.

The tokenising is ours and not TRL's: there a control token written in a text would become one, and a row that is too long would be
cut without a word.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from training.engine import language, models, tokens, toycorpus, toysamples, toyshapes, toytext
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import TooLong
from training.engine.language import Batch, Row
from training.engine.loop import Schooling, steps_for
from training.engine.spec import Sft

WATCH, WATCH_TOKENS = "watch.jsonl", 64


def run(attempt: Attempt) -> Outcome:
    began = time.monotonic()
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Sft)
    models.set_threads(attempt.spec.threads, seed)
    model, tokenizer = models.load(attempt.spec.models["policy"], params.dtype if params.lora else "float32")
    model.to(models.device())
    if params.freeze_embeddings:
        language.freeze_embeddings(model)
    attempt.events.progress("tokenizing", 0, 1)
    metrics: dict[str, Any] = {}
    limit = min(params.max_length or models.context(model), models.training_context(model))
    pad = tokenizer.pad_token_id
    if params.corpus == "toy":
        batches, steps = _mixed(tokenizer, params, _toy_rows(tokenizer, params.shapes, seed), seed), steps_for(params, 0)
    else:
        given = _given(attempt, tokenizer, "train.jsonl", limit)
        metrics["rows"] = len(given)
        if params.packing:
            language.check_packing(model, language.lines_of(given, limit), pad)
        batches, per_epoch = language.batches_of(
            given, batch_size=params.batch_size, pad=pad, seed=seed, pack_to=limit if params.packing else None
        )  # fmt: skip
        # Replay comes on top: an epoch of the rows takes so many more batches.
        steps = steps_for(params, round(per_epoch / (1 - params.replay)))
        if params.replay:
            rows = (given[index] for chunk in language.epochs(len(given), params.batch_size, seed) for index in chunk)
            batches = _mixed(tokenizer, params, rows, seed)
    schooling = Schooling(attempt, model, params, total=steps)
    if (attempt.inputs / "validation.jsonl").exists():
        schooling.validation = language.in_batches(
            [[row] for row in _given(attempt, tokenizer, "validation.jsonl", limit)], params.batch_size, pad
        )
    if (attempt.inputs / WATCH).exists() and not attempt.spec.probe:
        schooling.look = _fixed_prompts(attempt, schooling, tokenizer)
        if attempt.resume is None:
            schooling.look(0)
    metrics["loss"] = schooling.phase(batches, steps=steps, learning_rate=params.learning_rate)
    if attempt.spec.probe:
        return Outcome(schooling.probed(began))
    model, said = schooling.finish()
    attempt.events.progress("saving", 0, 1)
    models.save(model, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(metrics | said, model=True)


def _fixed_prompts(attempt: Attempt, schooling: Schooling, tokenizer: Any) -> Callable[[int], None]:
    """Answers the same few prompts greedily, each by itself: one that hangs on its neighbours could not be compared from step to step."""
    prompts = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in attempt.rows(WATCH, messages=list)]
    room = models.training_context(schooling.model) - WATCH_TOKENS

    def look(step: int) -> None:
        training, sizes = schooling.model.training, []
        schooling.model.eval()
        for index, prompt in enumerate(prompts):
            if len(prompt) > room:
                continue
            attempt.check()
            given = torch.tensor([prompt], device=schooling.device)
            made = schooling.model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=WATCH_TOKENS, do_sample=False,
                eos_token_id=tokens.stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id,
            )[0, len(prompt) :]  # fmt: skip
            attempt.events.sample(step, index, tokenizer.decode(made, skip_special_tokens=True).strip())
            sizes.append(len(made))
        schooling.model.train(training)
        if sizes:
            attempt.events.metric(step, "sample_tokens", sum(sizes) / len(sizes))

    return look


def _given(attempt: Attempt, tokenizer: Any, name: str, limit: int) -> list[Row]:
    rows = [_row(tokenizer, row["prompt"], row["completion"]) for row in attempt.rows(name, prompt=list, completion=list)]
    for number, (ids, _) in enumerate(rows, start=1):
        if len(ids) > limit:
            raise TooLong(f"row {number} of {name} has {len(ids)} tokens, the limit is {limit}")
    return rows


def _row(tokenizer: Any, prompt: list[toytext.Message], completion: list[toytext.Message]) -> Row:
    start, rest = tokens.split_completion(tokenizer, prompt, completion)
    return start + rest, len(start)


def _mixed(tokenizer: Any, params: Sft, rows: Iterator[Row], seed: int) -> Iterator[Batch]:
    replay = language.replay_rows(tokenizer, toycorpus.corpus("replay", seed))
    return language.mixed(rows, replay, params.replay, params.batch_size, tokenizer.pad_token_id, seed)


def _toy_rows(tokenizer: Any, shapes: float, seed: int) -> Iterator[Row]:
    """Samples of the family's half only, for a campaign's prompts are never trained on; a share of ``shapes`` are instructions of other
    shapes (training.engine.toyshapes)."""
    rng = random.Random(f"shapes or samples {seed}")  # noqa: S311 (seeded, and nothing here is secret)
    others, samples = toyshapes.rows(seed, "all"), toysamples.sample_stream(seed, "family")
    while True:
        if rng.random() < shapes:
            asked = next(others)
            yield _row(tokenizer, asked[:-1], asked[-1:])
            continue
        sample = next(samples)
        yield _row(tokenizer, toysamples.messages(sample), [{"role": "assistant", "content": sample["output"]}])
