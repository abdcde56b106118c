"""Next-token learning: rows of token ids, batches of them, and the loss. The loop around it is ``training.engine.loop``."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from training.engine import models
from training.engine.errors import BadModel
from training.engine.packing import Piece, best_fit, pieces
from training.engine.tokens import encode_markup

IGNORE = -100
Row = tuple[list[int], int]  # token ids, and from which position on they are labels


@dataclass(frozen=True)
class Batch:
    """All tensors are (B, T) of whole numbers.

    ``labels`` is IGNORE where nothing is learnt. ``positions`` counts from 0 within each sequence of a packed row; transformers takes
    a count that starts anew for a boundary that attention does not cross. None: one sequence a row. ``sizes`` is the length of the
    sequence that each token belongs to.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    sizes: torch.Tensor
    positions: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens that are predicted: labels with something before them."""
        return int((self.labels[:, 1:] != IGNORE).sum())

    def to(self, device: Any) -> Batch:
        moved = None if self.positions is None else self.positions.to(device)
        return Batch(self.inputs.to(device), self.labels.to(device), self.sizes.to(device), moved)


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


def stream(sequences: Iterable[list[int]], batch_size: int, block: int) -> Iterator[Batch]:
    """Sequences end to end in blocks of ``block`` tokens; every token is a label. For the toy base's first schooling."""
    buffer: list[int] = []
    for ids in sequences:
        buffer += ids
        if len(buffer) >= batch_size * block:
            made = torch.tensor(buffer[: batch_size * block]).view(batch_size, block)
            buffer = buffer[batch_size * block :]
            yield Batch(made, made, torch.full_like(made, block))


def padded(rows: Sequence[Row], pad: int) -> Batch:
    """Rows of their own, padded on the right: with causal attention no row sees another, nor the padding."""
    width = max(len(ids) for ids, _ in rows)
    inputs = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORE)
    sizes = torch.ones((len(rows), width), dtype=torch.long)
    for index, (ids, start) in enumerate(rows):
        inputs[index, : len(ids)] = torch.tensor(ids)
        labels[index, start : len(ids)] = torch.tensor(ids[start:])
        sizes[index, : len(ids)] = len(ids)
    return Batch(inputs, labels, sizes)


def packed(lines: Sequence[Sequence[Row]], pad: int) -> Batch:
    """Lines of several rows each, side by side, padded on the right to the longest line. A row's first token is nobody's label."""
    width = max(sum(len(ids) for ids, _ in line) for line in lines)
    inputs, labels = torch.full((len(lines), width), pad), torch.full((len(lines), width), IGNORE)
    sizes = torch.ones((len(lines), width), dtype=torch.long)
    positions = torch.zeros((len(lines), width), dtype=torch.long)  # padding: sequences of one token each
    for index, line in enumerate(lines):
        at = 0
        for ids, start in line:
            end, first = at + len(ids), max(start, 1)
            inputs[index, at:end] = torch.tensor(ids)
            labels[index, at + first : end] = torch.tensor(ids[first:], dtype=torch.long)
            sizes[index, at:end] = len(ids)
            positions[index, at:end] = torch.arange(len(ids))
            at = end
    return Batch(inputs, labels, sizes, positions)


def lines_of(rows: Sequence[Row], limit: int) -> list[list[Row]]:
    """Rows best-fit into lines of at most ``limit`` tokens; only a longer row is cut, into rows of their own."""
    return [[_part(rows, piece) for piece in line] for line in best_fit([len(ids) for ids, _ in rows], limit)]


def cut(rows: Sequence[Row], limit: int) -> list[Row]:
    """The rows as they are, but one longer than ``limit`` in as many rows as it takes; a rest of one token predicts nothing and goes."""
    return [_part(rows, piece) for piece in pieces([len(ids) for ids, _ in rows], limit) if len(piece) > 1]


def _part(rows: Sequence[Row], piece: Piece) -> Row:
    ids, start = rows[piece.index]
    return ids[piece.start : piece.end], min(max(0, start - piece.start), len(piece))


def in_batches(lines: Sequence[Sequence[Row]], batch_size: int, pad: int) -> list[Batch]:
    """Every line once, in order: for validation."""
    return [packed(lines[start : start + batch_size], pad) for start in range(0, len(lines), batch_size)]


def epochs(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Indices in batches, for ever: every epoch in an order of its own, its last batch as small as it comes."""
    for epoch in itertools.count():
        order = list(range(count))
        random.Random(f"epoch {seed} {epoch}").shuffle(order)
        for start in range(0, count, batch_size):
            yield order[start : start + batch_size]


def batches_of(rows: Sequence[Row], *, batch_size: int, pad: int, seed: int, pack_to: int | None) -> tuple[Iterator[Batch], int]:
    """Endless batches of ``batch_size`` rows, or of lines packed to ``pack_to`` tokens, and how many batches one epoch has."""
    if pack_to is None:
        return (padded([rows[index] for index in chunk], pad) for chunk in epochs(len(rows), batch_size, seed)), -(-len(rows) // batch_size)
    # A line with nothing to predict is a rest of one token that was cut from its document.
    lines = [line for line in lines_of(rows, pack_to) if any(len(ids) > max(1, start) for ids, start in line)]
    return (packed([lines[index] for index in chunk], pad) for chunk in epochs(len(lines), batch_size, seed)), -(-len(lines) // batch_size)


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
    wanted = batch.labels[:, 1:].reshape(-1)
    keep = wanted != IGNORE
    return functional.cross_entropy(_logits(model, batch, keep).float(), wanted[keep])


def divergence(model: Any, base: Any, batch: Batch) -> torch.Tensor:
    """Mean KL(base || model) of the next-token distributions at labelled positions (scalar): nothing is learnt from the
    text itself, only that there the model should go on as the base does."""
    keep = (batch.labels[:, 1:] != IGNORE).reshape(-1)
    with torch.no_grad():
        wanted = torch.log_softmax(_logits(base, batch, keep), dim=-1)
    return functional.kl_div(torch.log_softmax(_logits(model, batch, keep), dim=-1), wanted, reduction="batchmean", log_target=True)


def token_logps(model: Any, batch: Batch) -> torch.Tensor:
    """Log probability of every labelled token, in reading order (N,)."""
    return token_scores(model, batch)[0]


def token_scores(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(log probability of every labelled token, whether it is the likeliest one) in reading order, both (N,)."""
    wanted = batch.labels[:, 1:].reshape(-1)
    keep = wanted != IGNORE
    logps = torch.log_softmax(_logits(model, batch, keep).float(), dim=-1)
    return logps.gather(-1, wanted[keep][:, None])[:, 0], logps.argmax(-1) == wanted[keep]


def _logits(model: Any, batch: Batch, keep: torch.Tensor) -> torch.Tensor:
    """Next-token logits (N, vocabulary) at the ``keep`` of the B·(T − 1) positions that have a next token.

    use_cache off: with a cache transformers would not look for the boundaries in ``positions``.
    """
    given = {"input_ids": batch.inputs, "use_cache": False}
    if batch.positions is not None:
        given["position_ids"] = batch.positions
    if not models.has_plain_head(model):
        logits = model(**given).logits[:, :-1]
        return logits.reshape(keep.numel(), -1)[keep]
    hidden = models.body(model)(**given).last_hidden_state[:, :-1].reshape(keep.numel(), -1)
    return models.head(model)(hidden[keep])


def check_packing(model: Any, lines: Sequence[Sequence[Row]], pad: int) -> None:
    """Raises ``BadModel`` when a line's log-probabilities are not those of its rows by themselves: its attention would leak.

    An architecture of another kind (recurrent, or with a mask of its own) does not read boundaries out of the positions.
    """
    line = next((line for line in lines if len(line) > 1), None)
    if line is None:
        return
    training = model.training
    model.eval()
    with torch.no_grad():
        device = next(model.parameters()).device
        together = token_logps(model, packed([line], pad).to(device))
        alone = torch.cat([token_logps(model, packed([[row]], pad).to(device)) for row in line if len(row[0]) > max(1, row[1])])
    model.train(training)
    # bfloat16 has 8 bits of mantissa; a leak moves log-probabilities by far more than its rounding does on average.
    allowed = 1e-3 if together.dtype == next(model.parameters()).dtype else 0.05
    if float((together - alone).abs().mean()) > allowed:
        raise BadModel("sequences packed side by side see each other in this architecture; set packing to false")


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
