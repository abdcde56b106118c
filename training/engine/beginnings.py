"""What many prompts begin with is read once: a task's instruction and shots, from whose keys and values every batch then starts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

# Fewer tokens than this are read again sooner than copied.
WORTH = 16


def shared(rows: Sequence[Sequence[int]]) -> list[int]:
    """The beginning which, read once for all rows that have it, saves the most reading. Every row keeps a token of its own behind it.

    Empty where it saves nothing to speak of. Rows that lost their own beginning do no harm: those that still have it are found.

    >>> shared([[7] * 16 + [1], [7] * 16 + [2], [5]]) == [7] * 16
    True
    """
    ordered = sorted(tuple(row) for row in rows)
    # In order, the rows with a beginning stand together: it is the shortest of what neighbours among them share.
    common = [_alike(one, other) for one, other in pairwise(ordered)]
    best, place, most = 0, 0, 0
    open_runs: list[tuple[int, int]] = []  # (length, where the run of rows that share it starts), longer and longer
    for index, length in enumerate([*common, 0]):
        start = index
        while open_runs and open_runs[-1][0] >= length:
            held, start = open_runs.pop()
            if held >= WORTH and held * (index - start) > best:
                best, place, most = held * (index - start), start, held
        open_runs.append((length, start))
    return list(ordered[place][:most]) if most else []


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens both begin with, one less than the shorter has at the most."""
    low, high = 0, min(len(one), len(other)) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return max(low, 0)


class Roomy(DynamicLayer):
    """Keys and values of one layer with room for all that will come, so that no step copies what is there: [rows, heads, room, size]."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.width = room, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.held = [one.new_empty(*one.shape[:2], self.room, one.shape[-1]) for one in (key_states, value_states)]
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.width = self.width, self.width + key_states.shape[-2]
        for held, new in zip(self.held, (key_states, value_states), strict=True):
            held[:, :, start : self.width] = new
        self.keys, self.values = (held[:, :, : self.width] for held in self.held)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.held = [held[indices] for held in self.held]

    def spread(self, rows: int, room: int) -> Roomy:
        """One row's keys and values at the start of each of ``rows``."""
        made = Roomy(room)
        made.update(*(held[:, :, : self.width].expand(rows, -1, -1, -1) for held in self.held))
        return made


def roomy(room: int) -> Cache:
    return Cache(layer_class_to_replicate=partial(Roomy, room))


class Beginning:
    """``tokens`` as the model has read them, for rows on the short side of LongRoPE: on the other side every key would be another."""

    def __init__(self, model: Any, tokens: Sequence[int]) -> None:
        self.tokens, self._read = list(tokens), roomy(len(tokens))
        if tokens:
            model(input_ids=torch.tensor([self.tokens], device=model.device), past_key_values=self._read, use_cache=True, logits_to_keep=1)

    def __len__(self) -> int:
        return len(self.tokens)

    def starts(self, row: Sequence[int]) -> bool:
        """Whether a row goes on from it, by a token at least."""
        return len(row) > len(self.tokens) and list(row[: len(self.tokens)]) == self.tokens

    def cache(self, rows: int, room: int) -> Cache:
        """For ``rows`` rows of at most ``room`` tokens, this beginning among them."""
        return Cache(layers=[layer.spread(rows, room) for layer in self._read.layers]) if self.tokens else roomy(room)
