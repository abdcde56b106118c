"""Batched generation and scoring, longest prompts together so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.engine import models
from training.engine.attempt import Attempt
from training.engine.errors import TooLong
from training.engine.tokens import stop_ids


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str  # "stop": the model ended its turn; "length": it was cut at max_new_tokens
    tokens: int


def generate(
    attempt: Attempt, model: Any, tokenizer: Any, prompts: Sequence[list[int]], *, max_new_tokens: int, batch_size: int,
    temperature: float = 0.0, top_p: float = 1.0, phase: str = "generating", done: int = 0, total: int | None = None,
) -> list[Answer]:  # fmt: skip
    """One answer a prompt, in the order given. Greedy at temperature 0, else from the global seed.

    Raises ``TooLong`` naming the prompt's position when prompt and answer do not fit the model's context.
    """
    limit, ends = models.context(model), stop_ids(tokenizer)
    for index, ids in enumerate(prompts):
        if len(ids) + max_new_tokens > limit:
            raise TooLong(f"prompt {index + 1} has {len(ids)} tokens; with {max_new_tokens} new ones it exceeds the context of {limit}")
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    answers: list[Answer | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    total = total or len(prompts)
    model.eval()
    for chunk in _chunks(order, batch_size):
        attempt.check()
        inputs, mask = _left_padded([prompts[index] for index in chunk], tokenizer.pad_token_id)
        with torch.inference_mode():
            made = model.generate(
                input_ids=inputs, attention_mask=mask, max_new_tokens=max_new_tokens, eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id, **sampling,
            )  # fmt: skip
        for index, ids in zip(chunk, made[:, inputs.shape[1] :].tolist(), strict=True):
            answers[index] = _answer(tokenizer, ids, ends)
        done += len(chunk)
        attempt.events.progress(phase, done, total)
    return [answer for answer in answers if answer is not None]


def _answer(tokenizer: Any, ids: list[int], ends: list[int]) -> Answer:
    stop = next((index for index, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True).strip()
    return Answer(text, "length" if stop is None else "stop", len(kept))


def completion_logps(
    attempt: Attempt, model: Any, pad: int, rows: Sequence[tuple[list[int], list[int]]], batch_size: int, *,
    done: int = 0, total: int | None = None,
) -> list[float]:  # fmt: skip
    """Sum of log probabilities of each completion's tokens given its prompt: log pi(y | x), in rows' order."""
    limit = models.context(model)
    for index, (prompt, completion) in enumerate(rows):
        if len(prompt) + len(completion) > limit:
            raise TooLong(f"row {index + 1} has {len(prompt) + len(completion)} tokens, the context is {limit}")
    scores = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]) + len(rows[index][1]))
    total = total or len(rows)
    model.eval()
    for chunk in _chunks(order, batch_size):
        attempt.check()
        width = max(len(rows[index][0]) + len(rows[index][1]) for index in chunk)
        inputs = torch.full((len(chunk), width), pad)
        mask = torch.zeros((len(chunk), width))
        for place, index in enumerate(chunk):
            prompt, completion = rows[index]
            size = len(prompt) + len(completion)
            inputs[place, :size] = torch.tensor(prompt + completion)
            mask[place, len(prompt) : size] = 1
        with torch.inference_mode():
            logits = model(input_ids=inputs, use_cache=False).logits[:, :-1].float()
            chosen = logits.gather(-1, inputs[:, 1:, None])[..., 0] - logits.logsumexp(-1)
        for index, score in zip(chunk, (chosen * mask[:, 1:]).sum(-1).tolist(), strict=True):
            scores[index] = score
        done += len(chunk)
        attempt.events.progress("evaluating", done, total)
    return scores


def _chunks(order: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield list(order[start : start + size])


def _left_padded(prompts: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, prompts))
    inputs = torch.full((len(prompts), width), pad)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for index, ids in enumerate(prompts):
        inputs[index, width - len(ids) :] = torch.tensor(ids)
        mask[index, width - len(ids) :] = 1
    return inputs, mask
