"""What a merge did to each tensor: lengths of the experts' changes, where they pull against each other, how far the merge follows each.

One JSON object a tensor, in the metrics of a merge's result under ``merge_report``:

    {"name", "layer": int or null, "module", "numel", "looked_at", "base_norm", "delta_norm": {expert: …}, "cosine": {expert: …},
     "pairwise_cosine", "sign_conflict", "merged_norm", "kept"}

``cosine`` is of an expert's change and the merge's; ``pairwise_cosine`` the mean over pairs of experts; ``sign_conflict`` the share of
entries that some experts raise and others lower; ``kept`` the share of entries in which the merge differs from the base. Null where a
length is 0. Large tensors are judged by ``STRETCHES`` or more stretches spread evenly over them (``looked_at`` entries), lengths scaled
up to the whole; smaller ones by all of theirs. Without a base, changes are from the experts' mean of each entry.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from training.engine.merging.chunks import CHUNK
from training.engine.merging.plan import Entry
from training.engine.recipes import LAYER, layer_of

if TYPE_CHECKING:
    from training.engine.merging.stream import Node

# Stretches of one chunk: eight are a million entries, by which a cosine is known to about a thousandth. Twice as many cost a linear merge
# of tensors of 16 million entries 40 % more processor time.
STRETCHES = 8

__all__ = ["Notes", "layer_of"]


class Notes:
    """Of one tensor, taken chunk by chunk while it is merged."""

    def __init__(self, root: Node, name: str, entry: Entry) -> None:
        self._name, self._numel = name, entry.numel
        chunks = -(-entry.numel // CHUNK)
        self._every = max(1, chunks // STRETCHES)
        self._base = root.base.open(name) if root.base is not None else None
        self._experts = {model: source.open(name) for model, source in root.experts.items()}
        count = len(self._experts)
        self._seen = self._conflicts = self._changed = 0
        self._base_square = self._merged_square = self._change_square = 0.0
        self._squares, self._follows = [0.0] * count, [0.0] * count
        self._pairs = {(i, j): 0.0 for i in range(count) for j in range(i + 1, count)}

    def look(self, start: int, stop: int, merged: torch.Tensor) -> None:
        """Entries ``start`` to ``stop`` of the result, float32; left as they are."""
        if start // CHUNK % self._every:
            return
        parts = [reader.read(start, stop) for reader in self._experts.values()]
        base = self._base.read(start, stop) if self._base is not None else torch.stack(parts).mean(0)
        deltas, change = [part.sub_(base) for part in parts], merged - base
        self._seen += stop - start
        self._base_square += float(base.dot(base))
        self._merged_square += float(merged.dot(merged))
        self._change_square += float(change.dot(change))
        self._changed += int(torch.count_nonzero(change))
        for index, delta in enumerate(deltas):
            self._squares[index] += float(delta.dot(delta))
            self._follows[index] += float(delta.dot(change))
        for i, j in self._pairs:
            self._pairs[i, j] += float(deltas[i].dot(deltas[j]))
        if len(deltas) > 1:
            most, least = deltas[0].clone(), deltas[0].clone()
            for delta in deltas[1:]:
                torch.maximum(most, delta, out=most)
                torch.minimum(least, delta, out=least)
            self._conflicts += int(torch.count_nonzero(most.clamp_min_(0).sign_().mul_(least.clamp_max_(0).sign_())))

    def told(self) -> dict[str, Any]:
        models = list(self._experts)
        scale = math.sqrt(self._numel / self._seen) if self._seen else 1.0
        norms = [math.sqrt(square) for square in self._squares]
        change = math.sqrt(self._change_square)
        pairs = [_cosine(dot, norms[i], norms[j]) for (i, j), dot in self._pairs.items()]
        known = [value for value in pairs if value is not None]
        return {
            "name": self._name, "layer": layer_of(self._name), "module": module_of(self._name), "numel": self._numel,
            "looked_at": self._seen,
            "base_norm": _short(math.sqrt(self._base_square) * scale), "merged_norm": _short(math.sqrt(self._merged_square) * scale),
            "delta_norm": {model: _short(norm * scale) for model, norm in zip(models, norms, strict=True)},
            "cosine": {model: _cosine(dot, norm, change) for model, dot, norm in zip(models, self._follows, norms, strict=True)},
            "pairwise_cosine": _short(sum(known) / len(known)) if known else None,
            "sign_conflict": _short(self._conflicts / self._seen) if self._seen else None,
            "kept": _short(self._changed / self._seen) if self._seen else None,
        }  # fmt: skip


def _cosine(dot: float, one: float, other: float) -> float | None:
    return _short(max(-1.0, min(1.0, dot / (one * other)))) if one and other else None


def _short(value: float) -> float:
    """Six digits: a report of two hundred tensors is read by people."""
    return float(f"{value:.6g}")


def module_of(name: str) -> str:
    """A tensor's place within its layer: ``self_attn.qkv_proj``, ``mlp.down_proj``; outside the layers its name without the ending."""
    found = LAYER.search(name)
    return (name[found.end() :] if found else name.removeprefix("model.")).removesuffix(".weight")
