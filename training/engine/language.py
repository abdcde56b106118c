"""A plain next-token training loop in float32: pre-training, pre-instruction tuning and supervised fine-tuning."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from training.engine import toytext
from training.engine.attempt import Attempt
from training.engine.tokens import encode_markup

IGNORE = -100
Batch = tuple[torch.Tensor, torch.Tensor]  # token ids (B, T) and labels (B, T), IGNORE where nothing is learnt
Row = tuple[list[int], int]  # token ids, and from which position on they are labels


def encode_stream(tokenizer: Any, texts: Iterable[str]) -> Iterator[list[int]]:
    """Our own generated text as ids, each sequence ending in EOS; tokenised a few hundred at a time."""
    end, pending = tokenizer.eos_token_id, []
    newline = encode_markup(tokenizer, "<|end|>\n")
    for text in texts:
        pending.append(text)
        if len(pending) == 256:
            for ids in tokenizer(pending, add_special_tokens=False)["input_ids"]:
                yield ids if ids[-1] == end or ids[-len(newline) :] == newline else [*ids, end]
            pending = []


def packed(sequences: Iterable[list[int]], batch_size: int, block: int) -> Iterator[Batch]:
    """Sequences end to end in blocks of ``block`` tokens; every token is a label. For the base's first schooling."""
    buffer: list[int] = []
    for ids in sequences:
        buffer += ids
        if len(buffer) >= batch_size * block:
            made = torch.tensor(buffer[: batch_size * block]).view(batch_size, block)
            buffer = buffer[batch_size * block :]
            yield made, made


def padded(rows: Sequence[Row], pad: int) -> Batch:
    """Rows of their own, padded on the right: with causal attention no row sees another, nor the padding."""
    width = max(len(ids) for ids, _ in rows)
    inputs = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORE)
    for index, (ids, start) in enumerate(rows):
        inputs[index, : len(ids)] = torch.tensor(ids)
        labels[index, start : len(ids)] = torch.tensor(ids[start:])
    return inputs, labels


def mixed(rows: Iterator[Row], replay: Iterator[Row], share: float, batch_size: int, pad: int, seed: int) -> Iterator[Batch]:
    """Batches in which each row comes from ``replay`` with probability ``share``."""
    rng = random.Random(f"mixture {seed}")
    while True:
        drawn = [next(replay) if rng.random() < share else next(rows, None) for _ in range(batch_size)]
        kept = [row for row in drawn if row is not None]
        if not kept:
            return
        yield padded(kept, pad)


def replay_rows(tokenizer: Any, name: str, seed: int) -> Iterator[Row]:
    """A toy corpus as rows, whole sequences as labels."""
    return ((ids, 0) for ids in encode_stream(tokenizer, toytext.corpus(name, seed)))


def loss_of(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross entropy over the labelled tokens of a batch (scalar). Logits only where there is a label."""
    inputs, labels = batch
    wanted = labels[:, 1:].reshape(-1)
    hidden = model.model(input_ids=inputs).last_hidden_state[:, :-1].reshape(wanted.numel(), -1)
    keep = wanted != IGNORE
    return functional.cross_entropy(model.lm_head(hidden[keep]), wanted[keep])


def freeze_embeddings(model: Any) -> None:
    """Keep every word where it is: experts that move the shared embedding pull each other's words away."""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight.requires_grad_(False)


def train(
    attempt: Attempt, model: Any, batches: Iterator[Batch], *, steps: int, learning_rate: float, first_step: int = 0,
    total: int | None = None, floor: float = 0.05,
) -> float:  # fmt: skip
    """AdamW with a short warm-up and a cosine to ``floor`` of the peak; returns the mean loss of the last 20 steps.

    Stops at the next step when asked to. ``first_step`` and ``total`` place these steps in a longer run's progress.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    warmup, total = max(1, round(0.05 * steps)), total or steps
    recent: list[float] = []
    model.train()
    for step in range(1, steps + 1):
        attempt.check()
        batch = next(batches, None)
        if batch is None:
            break
        rate = learning_rate * min(1.0, step / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(float(loss.detach()))
        now = first_step + step
        if step <= 5 or step % 5 == 0 or step == steps:
            attempt.events.metric(now, "loss", recent[-1])
            attempt.events.progress("training", now, total)
        if step == 1 or step % 25 == 0 or step == steps:
            attempt.events.metric(now, "learning_rate", rate)
            attempt.events.metric(now, "grad_norm", float(norm))
    model.eval()
    tail = recent[-20:]
    return sum(tail) / len(tail)
