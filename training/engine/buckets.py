"""Which rows make a batch, and in what order: a pure function of the lengths, the seed and the epoch. Standard library only.

LongRoPE models (Phi-3.5) choose short or long position factors once per forward pass, from its longest row. A row's log-probability
would then hang on its neighbours, so rows on the two sides of the switch never share a batch (training.md, finding 3).
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
from collections.abc import Sequence

SHORT, LONG = "short", "long"


def side(length: int, switch: int | None) -> str:
    """Which position factors a sequence of ``length`` tokens gets from a model that changes them above ``switch`` tokens."""
    return LONG if switch is not None and length > switch else SHORT


def by_length(lengths: Sequence[int], *, batch_size: int, switch: int | None = None) -> list[list[int]]:
    """Batches of row numbers for a pass without training: shortest first, one side of the switch at a time.

    >>> by_length([5, 90, 3, 4], batch_size=2, switch=64)
    [[2, 3], [0], [1]]
    """
    batches = []
    for wanted in (SHORT, LONG):
        rows = sorted((row for row, length in enumerate(lengths) if side(length, switch) == wanted), key=lambda row: (lengths[row], row))
        batches += _cut(rows, batch_size)
    return batches


def epoch(
    lengths: Sequence[int], *, batch_size: int, seed: int, number: int, switch: int | None = None, window: int = 1, extra: int = 0,
    extra_rows: int = 0,
) -> list[list[int]]:  # fmt: skip
    """One epoch's batches of row numbers, each row once, in an order drawn from ``(seed, number)``.

    Within ``window`` batches' worth of shuffled rows, rows of like length share a batch; 1 leaves the order to chance alone.
    The last ``extra_rows`` rows are a replay pool, of which ``extra`` are drawn for this epoch, going round the pool epoch by epoch.
    """
    draw = random.Random(f"epoch {seed} {number}")
    own = len(lengths) - extra_rows
    rows = list(range(own)) + _replayed(own, extra_rows, extra, seed, number)
    draw.shuffle(rows)
    batches = []
    for wanted in (SHORT, LONG):
        chosen = [row for row in rows if side(lengths[row], switch) == wanted]
        reach = max(1, window) * batch_size
        for start in range(0, len(chosen), reach):
            part = chosen[start : start + reach]
            batches += _cut(sorted(part, key=lambda row: (lengths[row], row)) if window > 1 else part, batch_size)
    if window > 1 or any(side(length, switch) == LONG for length in lengths):
        draw.shuffle(batches)
    return batches


def plan(
    lengths: Sequence[int], *, batch_size: int, seed: int, epochs: float, batches: int | None = None, switch: int | None = None,
    window: int = 1, replay: float = 0.0, replay_rows: int = 0,
) -> list[list[int]]:  # fmt: skip
    """All batches of a run: ``epochs`` rounds (the last may be a part of one), or exactly ``batches`` of them when given.

    ``replay`` is the share of an epoch's rows that come from the last ``replay_rows`` rows. A run that goes on from batch n
    needs no state but n.
    """
    own = len(lengths) - replay_rows
    extra = round(own * replay / (1 - replay)) if replay_rows else 0

    def one(number: int) -> list[list[int]]:
        return epoch(
            lengths, batch_size=batch_size, seed=seed, number=number, switch=switch, window=window, extra=extra, extra_rows=replay_rows
        )

    made: list[list[int]] = []
    number = 0
    if batches is not None:
        while len(made) < batches:
            made += one(number)
            number += 1
        return made[:batches]
    while number < math.floor(epochs):
        made += one(number)
        number += 1
    if rest := epochs - math.floor(epochs):
        last = one(number)
        made += last[: max(1, math.ceil(rest * len(last)))]
    return made


def _replayed(first: int, pool: int, count: int, seed: int, number: int) -> list[int]:
    """``count`` rows of the pool, each round of it in an order of its own, continuing where the epoch before stopped."""
    if not pool or not count:
        return []
    made: list[int] = []
    for place in range(number * count, (number + 1) * count):
        turn, within = divmod(place, pool)
        if not made or within == 0:
            order = list(range(pool))
            random.Random(f"replay {seed} {turn}").shuffle(order)
        made.append(first + order[within])
    return made


def _cut(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
