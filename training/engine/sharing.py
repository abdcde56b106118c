"""A prompt encoded once for both of its answers: one row [prompt | chosen | rejected] in which neither answer sees the other.

Exact, not an approximation: attention, positions and loss of every token are those of the two separate rows, so 2P + C + R tokens become
P + C + R + 1 (arXiv 2410.20305). The one more: each answer has a copy of the prompt's last token for itself, from which its first token
is predicted, so that TRL's fused LM head, which scores one label a position, needs no change.

On a GPU the mask is FlexAttention's block mask, which skips what is masked; elsewhere a dense one for PyTorch's attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

# Which part of a row a token is in.
PADDING, PROMPT, CHOSEN, REJECTED = -1, 0, 1, 2
IGNORE = -100
FIELDS = ("shared_ids", "shared_positions", "shared_labels", "shared_parts", "shared_places")


def lay_out(examples: Sequence[Mapping[str, Any]], *, pad: int, width: int) -> dict[str, torch.Tensor]:
    """Tensors of a batch of n pairs, rows of T tokens each; ``width`` W is that of TRL's own rows for the same pairs.

    ``shared_ids``, ``shared_positions``, ``shared_labels`` (the next token, IGNORE where nothing is learnt) and ``shared_parts``: (n, T).
    ``shared_places`` (2n, W − 1): for each position of TRL's rows, chosen ones first, where in the row its answer's figures are, or −1.
    """
    n = len(examples)
    longest = max(len(row["prompt_ids"]) - 1 + len(row["chosen_ids"]) + len(row["rejected_ids"]) + 2 for row in examples)
    ids = torch.full((n, longest), pad)
    positions, labels = torch.zeros((n, longest), dtype=torch.long), torch.full((n, longest), IGNORE)
    parts, places = torch.full((n, longest), PADDING), torch.full((2 * n, width - 1), -1)
    for index, row in enumerate(examples):
        prompt = row["prompt_ids"]
        shared, at = len(prompt) - 1, len(prompt) - 1
        assert shared >= 0, "a prompt has at least one token"
        ids[index, :shared] = torch.tensor(prompt[:-1])
        positions[index, :shared] = torch.arange(shared)
        parts[index, :shared] = PROMPT
        for part, answer in ((CHOSEN, row["chosen_ids"]), (REJECTED, row["rejected_ids"])):
            size = len(answer) + 1
            ids[index, at : at + size] = torch.tensor([prompt[-1], *answer])
            positions[index, at : at + size] = torch.arange(shared, shared + size)
            labels[index, at : at + size - 1] = torch.tensor(answer)
            parts[index, at : at + size] = part
            row_of = index + (n if part == REJECTED else 0)
            places[row_of, shared : shared + size - 1] = torch.arange(at, at + size - 1)
            at += size
    return dict(zip(FIELDS, (ids, positions, labels, parts, places), strict=True))


def dense_mask(parts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(n, 1, T, T) to be added to attention scores: 0 where a token may look, the least number of ``dtype`` where not.

    A token sees what comes before it in the prompt and in its own part. Padding sees itself, for a row of nothing has no softmax.
    """
    size = parts.shape[1]
    query, key = parts[:, :, None], parts[:, None, :]
    order = torch.arange(size, device=parts.device)
    allowed = ((key == PROMPT) | (key == query)) & (order[None, :] <= order[:, None]) & (key != PADDING)
    allowed |= torch.eye(size, dtype=torch.bool, device=parts.device)
    return torch.zeros(allowed.shape, dtype=dtype, device=parts.device).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def rule(parts: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The same rule for FlexAttention: whether a query position may look at a key position of the same row."""

    def allowed(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        inside = (parts[batch, key] == PROMPT) | (parts[batch, key] == parts[batch, query])
        return (inside & (key <= query) & (parts[batch, key] != PADDING)) | (key == query)

    return allowed


def block_mask(parts: torch.Tensor) -> Any:
    """FlexAttention's mask, which skips whole blocks, for models that were loaded with ``flex_attention``."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(rule(parts), parts.shape[0], None, parts.shape[1], parts.shape[1], device=str(parts.device))


def mask(parts: torch.Tensor, *, implementation: str | None, dtype: torch.dtype) -> Any:
    """What the model's attention takes as ``attention_mask``."""
    return block_mask(parts) if implementation == "flex_attention" else dense_mask(parts, dtype)


@dataclass
class Shared:
    """The model as TRL calls it for its own rows, answering from shared ones: same shapes, same figures to rounding.

    ``fields`` are those of ``lay_out``; figures at positions that are no answer are 0, as TRL's are.
    """

    model: Callable[..., Any]
    fields: Mapping[str, torch.Tensor]
    implementation: str | None
    dtype: torch.dtype

    def __call__(self, *, fused_lm_head: bool, **ignored: Any) -> Any:
        assert fused_lm_head
        ids, positions, labels, parts, places = (self.fields[name] for name in FIELDS)
        outputs = self.model(
            input_ids=ids, position_ids=positions, attention_mask=mask(parts, implementation=self.implementation, dtype=self.dtype),
            shift_labels=labels, use_cache=False, fused_lm_head=True,
        )  # fmt: skip
        found = {
            name: _placed(values, places)
            for name in ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")
            if (values := getattr(outputs, name)) is not None
        }
        return SimpleNamespace(**found, aux_loss=None)


def _placed(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Figures (n, T) of shared rows at the positions (2n, W − 1) of separate ones."""
    n = values.shape[0]
    rows = torch.arange(2 * n, device=values.device).remainder(n)[:, None]
    return values[rows, places.clamp(min=0)].masked_fill(places < 0, 0)
