"""A plain next-token training loop in float32: pre-training, pre-instruction tuning and supervised fine-tuning."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from training.engine.attempt import Attempt
from training.engine.errors import BadModel
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


def replay_rows(tokenizer: Any, texts: Iterable[str]) -> Iterator[Row]:
    """A generated stream as rows, whole sequences as labels."""
    return ((ids, 0) for ids in encode_stream(tokenizer, texts))


def loss_of(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross entropy over the labelled tokens of a batch (scalar). Logits only where there is a label."""
    inputs, labels = batch
    wanted = labels[:, 1:].reshape(-1)
    hidden = model.model(input_ids=inputs).last_hidden_state[:, :-1].reshape(wanted.numel(), -1)
    keep = wanted != IGNORE
    return functional.cross_entropy(model.lm_head(hidden[keep]), wanted[keep])


def divergence(model: Any, base: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean KL(base || model) of the next-token distributions at labelled positions (scalar): nothing is learnt from the
    text itself, only that there the model should go on as the base does."""
    keep = (labels[:, 1:] != IGNORE).reshape(-1)
    with torch.no_grad():
        wanted = _log_probabilities(base, inputs, keep)
    return functional.kl_div(_log_probabilities(model, inputs, keep), wanted, reduction="batchmean", log_target=True)


def _log_probabilities(model: Any, inputs: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    hidden = model.model(input_ids=inputs).last_hidden_state[:, :-1].reshape(keep.numel(), -1)
    return torch.log_softmax(model.lm_head(hidden[keep]), dim=-1)


def only_neurons(model: Any, index: int, of: int) -> None:
    """Train nothing but one of ``of`` equal blocks of neurons in every feed-forward layer: the rows that read for them
    and the columns that write. Gradients of the rest are zeroed, so the optimizer must not decay weights either."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    found = 0
    for name, parameter in model.named_parameters():
        if not name.endswith(("gate_up_proj.weight", "gate_proj.weight", "up_proj.weight", "down_proj.weight")):
            continue
        writes = name.endswith("down_proj.weight")
        # Phi-3 stacks the gate's rows and the value's rows in one matrix.
        stacked = 2 if name.endswith("gate_up_proj.weight") else 1
        size = parameter.shape[1] if writes else parameter.shape[0] // stacked
        chosen = torch.zeros(size * stacked)
        for part in range(stacked):
            chosen[part * size + index * size // of : part * size + (index + 1) * size // of] = 1
        mask = chosen if writes else chosen[:, None]
        parameter.requires_grad_(True)
        parameter.register_hook(lambda gradient, mask=mask: gradient * mask)
        found += 1
    if not found:
        raise BadModel("the model has no feed-forward layers of a known kind")


def freeze_embeddings(model: Any) -> None:
    """Keep every word where it is: experts that move the shared embedding pull each other's words away."""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight.requires_grad_(False)


def train(
    attempt: Attempt, model: Any, batches: Iterator[Any], *, steps: int, learning_rate: float, first_step: int = 0,
    total: int | None = None, floor: float = 0.05, weight_decay: float = 0.01,
    loss_function: Callable[[Any, Any], torch.Tensor] = loss_of,
) -> float:  # fmt: skip
    """AdamW with a short warm-up and a cosine to ``floor`` of the peak; returns the mean loss of the last 20 steps.

    Stops at the next step when asked to. ``first_step`` and ``total`` place these steps in a longer run's progress.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
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
        loss = loss_function(model, batch)
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
