"""What a merge did to each tensor: lengths of the experts' changes, where they pull against each other, how far the merge follows each.

One JSON object a tensor, in the metrics of a merge's result under ``merge_report``:

    {"name", "layer": int or null, "module", "numel", "looked_at", "base_norm", "delta_norm": {expert: …}, "cosine": {expert: …},
     "pairwise_cosine", "sign_conflict", "merged_norm", "kept"}

``cosine`` is of an expert's change and the merge's; ``pairwise_cosine`` the mean over pairs of experts; ``sign_conflict`` the share of
entries that some experts raise and others lower; ``kept`` the share of entries in which the merge differs from the base. Null where a
length is 0. Large tensors are judged by ``STRETCHES`` or more stretches spread evenly over them (``looked_at`` entries), lengths scaled
up to the whole; small ones by all of theirs. Without a base, changes are from the experts' mean of each entry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from training.engine.merging.work import CHUNK, Parts
from training.engine.recipes import LAYER, layer_of

# Of a tensor of many chunks so many, or up to twice that, are looked at, and of each its first STRETCH entries: a quarter of a million or
# more, by which a cosine is known to about two thousandths. Four times as many cost a linear merge a quarter of its processor time.
STRETCHES, STRETCH = 8, 1 << 15

__all__ = ["Notes", "layer_of"]


class Notes:
    """Of one tensor, taken chunk by chunk while it is merged: ``models`` name the experts that ``parts`` read."""

    def __init__(self, models: Sequence[str], parts: Parts) -> None:
        self._models, self._parts = list(models), parts
        self._every = max(1, -(-parts.n // CHUNK) // STRETCHES)
        # What is not looked at whole is looked at in stretches; a tensor of few chunks is.
        self._stretch = STRETCH if parts.n > STRETCHES * STRETCH else CHUNK
        count = len(self._models)
        self._seen = self._conflicts = self._changed = 0
        self._base_square = 0.0
        # Products of the experts' changes and, last, the merge's.
        self._products = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        self._merged_square = 0.0

    def look(self, start: int, stop: int, merged: torch.Tensor) -> None:
        """Entries ``start`` to ``stop`` of the result, float32. The parts are read again, so that it must no longer be needed."""
        if start // CHUNK % self._every:
            return
        stop = min(stop, start + self._stretch)
        # A copy: the merge may lie in a buffer that the next reading fills.
        change = merged[: stop - start].clone()
        self._merged_square += float(change.dot(change))
        parts = [reader.read(start, stop) for reader in self._parts.experts]
        base = self._parts.base.read(start, stop) if self._parts.base is not None else _mean(parts)
        self._seen += stop - start
        self._base_square += float(base.dot(base))
        deltas = [part.sub_(base) for part in parts]
        rows = torch.stack([*deltas, change.sub_(base)])
        self._products += rows @ rows.T
        self._changed += int(np.count_nonzero(change.numpy()))
        if len(deltas) > 1:
            some_raise, some_lower = deltas[0].numpy() > 0, deltas[0].numpy() < 0
            for delta in deltas[1:]:
                some_raise |= delta.numpy() > 0
                some_lower |= delta.numpy() < 0
            self._conflicts += int(np.count_nonzero(some_raise & some_lower))

    def told(self) -> dict[str, Any]:
        models, name, products = self._models, self._parts.name, self._products.tolist()
        scale = math.sqrt(self._parts.n / self._seen) if self._seen else 1.0
        *norms, change = [math.sqrt(products[index][index]) for index in range(len(products))]
        pairs = [_cosine(products[i][j], norms[i], norms[j]) for i in range(len(norms)) for j in range(i + 1, len(norms))]
        known = [value for value in pairs if value is not None]
        return {
            "name": name, "layer": layer_of(name), "module": module_of(name), "numel": self._parts.n,
            "looked_at": self._seen,
            "base_norm": _short(math.sqrt(self._base_square) * scale), "merged_norm": _short(math.sqrt(self._merged_square) * scale),
            "delta_norm": {model: _short(norm * scale) for model, norm in zip(models, norms, strict=True)},
            "cosine": {model: _cosine(dot, norm, change) for model, dot, norm in zip(models, products[-1], norms, strict=False)},
            "pairwise_cosine": _short(sum(known) / len(known)) if known else None,
            "sign_conflict": _short(self._conflicts / self._seen) if self._seen else None,
            "kept": _short(self._changed / self._seen) if self._seen else None,
        }  # fmt: skip


def _mean(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    mean = parts[0].clone()
    for part in parts[1:]:
        mean.add_(part)
    return mean.div_(len(parts))


def _cosine(dot: float, one: float, other: float) -> float | None:
    return _short(max(-1.0, min(1.0, dot / (one * other)))) if one and other else None


def _short(value: float) -> float:
    """Six digits: a report of two hundred tensors is read by people."""
    return float(f"{value:.6g}")


def module_of(name: str) -> str:
    """A tensor's place within its layer: ``self_attn.qkv_proj``, ``mlp.down_proj``; outside the layers its name without the ending."""
    found = LAYER.search(name)
    return (name[found.end() :] if found else name.removeprefix("model.")).removesuffix(".weight")
