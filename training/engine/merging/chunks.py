"""The methods a chunk at a time, for tensors of which one does not want to hold even one: a look over all inputs where a method needs to
know something of the whole tensor (angles, thresholds, norms), then any chunk by itself.

What it computes is what training.engine.merging.operators defines, rounding for rounding wherever entries are chosen; tests hold the two
against each other. A method without a form here is combined whole, by the operator itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.engine.merging.masks import Band
from training.engine.merging.operators import TINY, Survey, slerp_shares
from training.engine.merging.randomness import Stream
from training.engine.merging.ranks import Wish, sample_spans, thin
from training.engine.merging.sources import Reader
from training.engine.recipes import Resolved

# Entries at a time, a multiple of randomness.BLOCK. Larger ones leave the cache, smaller ones cost more calls than arithmetic.
CHUNK = 1 << 17
# Less than any sum of weights one would give.
FLOOR = 1e-30

Combined = Callable[[int, int], torch.Tensor]
"""(start, stop) to the merged entries, float32; the tensor belongs to the callee, which may overwrite it at the next call."""


@dataclass
class Parts:
    """Readers of one tensor of ``n`` entries: its base where there is one, its experts in the recipe's order, and what identifies each."""

    name: str
    n: int
    base: Reader | None
    experts: Sequence[Reader]
    keys: Sequence[str]
    seed: int = 0
    survey: Survey | None = None

    def spans(self) -> Iterator[tuple[int, int]]:
        return ((start, min(start + CHUNK, self.n)) for start in range(0, self.n, CHUNK))

    def base_at(self, start: int, stop: int) -> torch.Tensor:
        assert self.base is not None
        return self.base.read(start, stop)


def combined(resolved: Resolved, parts: Parts) -> Combined | None:
    """How to compute any chunk of the merged tensor, after whatever has to be looked at first; None where only the operator can."""
    method, shared = resolved.method, resolved.shared
    weights = [values.get("weight", 1.0) for values in resolved.inputs]
    if method == "linear":
        return _linear(parts, weights, normalize=bool(shared["normalize"]))
    if method == "slerp":
        return _slerp(parts, shared["t"])
    if method == "model_stock":
        return None if shared["filter_wise"] else _model_stock(parts)
    thinning = _thinning(resolved, parts)
    if thinning is None:
        return None
    vote = method in ("ties", "dare_ties", "breadcrumbs_ties")
    return (_vote if vote else _sum)(parts, weights, thinning, normalize=bool(shared["normalize"]), scale=shared["lambda"])


def _linear(parts: Parts, weights: Sequence[float], *, normalize: bool) -> Combined:
    mixed = torch.empty(CHUNK)
    total = sum(weights)

    def at(start: int, stop: int) -> torch.Tensor:
        out = mixed[: stop - start].zero_()
        for reader, weight in zip(parts.experts, weights, strict=True):
            out.add_(reader.read(start, stop), alpha=weight)
        return out.div_(total) if normalize else out

    return at


def _slerp(parts: Parts, t: float) -> Combined:
    aa = bb = ab = 0.0
    for start, stop in parts.spans():
        a, b = parts.base_at(start, stop), parts.experts[0].read(start, stop)
        aa, bb, ab = aa + dot(a, a), bb + dot(b, b), ab + dot(a, b)
    lengths = [math.sqrt(square) if math.sqrt(square) > TINY else 1.0 for square in (aa, bb)]
    left, right = slerp_shares(t, ab / (lengths[0] * lengths[1]))

    def at(start: int, stop: int) -> torch.Tensor:
        return parts.base_at(start, stop).mul_(left).add_(parts.experts[0].read(start, stop), alpha=right)

    return at


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two chunks. A sum adds in pairs and a library's dot product one by one, which costs half its digits near a right answer of 1."""
    return float((a * b).sum())


def _model_stock(parts: Parts) -> Combined:
    count = len(parts.experts)
    squares, pairs = [0.0] * count, {(i, j): 0.0 for i in range(count) for j in range(i + 1, count)}
    for start, stop in parts.spans():
        base = parts.base_at(start, stop)
        deltas = [reader.read(start, stop).sub_(base) for reader in parts.experts]
        for index, delta in enumerate(deltas):
            squares[index] += dot(delta, delta)
        for i, j in pairs:
            pairs[i, j] += dot(deltas[i], deltas[j])
    norms = [math.sqrt(square) for square in squares]
    cosine = sum(max(-1.0, min(1.0, dot / (norms[i] * norms[j] or 1.0))) for (i, j), dot in pairs.items()) / len(pairs)
    below = 1 + (count - 1) * cosine
    share = count * cosine / below if abs(below) >= 1e-6 else 0.0

    def at(start: int, stop: int) -> torch.Tensor:
        out = parts.base_at(start, stop).mul_(1 - share)
        for reader in parts.experts:
            out.add_(reader.read(start, stop), alpha=share / count)
        return out

    return at


# --- sums and votes of thinned changes ---------------------------------------------------------------------------------------------

Thinning = Callable[[int, torch.Tensor, int], None]
"""(expert, a chunk of its change, the chunk's start): sets to 0 what is dropped and scales what stays, in place."""


def _sum(parts: Parts, weights: Sequence[float], thinning: Thinning, *, normalize: bool, scale: float) -> Combined:
    buffer = torch.empty(CHUNK)
    total = sum(weights)
    by = 1.0 if not normalize or abs(total) < TINY else total

    def at(start: int, stop: int) -> torch.Tensor:
        base, mixed = parts.base_at(start, stop), buffer[: stop - start].zero_()
        for index, (reader, weight) in enumerate(zip(parts.experts, weights, strict=True)):
            delta = reader.read(start, stop).sub_(base)
            thinning(index, delta, start)
            mixed.add_(delta, alpha=weight)
        if by != 1.0:
            mixed.div_(by)
        return base.add_(mixed, alpha=scale)

    return at


def _vote(parts: Parts, weights: Sequence[float], thinning: Thinning, *, normalize: bool, scale: float) -> Combined:
    buffers = torch.empty(5, CHUNK)
    positive = all(weight > FLOOR for weight in weights)

    def at(start: int, stop: int) -> torch.Tensor:
        total, sign, own, mixed, divisor = buffers[:, : stop - start]
        base = parts.base_at(start, stop)
        total.zero_()
        weighted = []
        for index, (reader, weight) in enumerate(zip(parts.experts, weights, strict=True)):
            delta = reader.read(start, stop).sub_(base)
            thinning(index, delta, start)
            # Multiplied first and then added, each rounded: what cancels has to be 0 exactly, for 0 votes for +.
            total.add_(delta if weight == 1.0 else delta.mul_(weight))
            weighted.append(delta)
        # A sum that begins with +0 is never −0.
        torch.copysign(_ones(stop - start), total, out=sign)
        mixed.zero_()
        divisor.zero_()
        for delta, weight in zip(weighted, weights, strict=True):
            # In the elected direction what agrees is above 0.
            torch.mul(delta, sign, out=own).clamp_min_(0.0)
            mixed.add_(own)
            if normalize:
                divisor.add_(own.sign_(), alpha=weight)
        mixed.mul_(sign)
        if normalize:
            # Where nobody agrees the sum is 0: a divisor that is all but 0 leaves it so, at a tenth of the cost of choosing entries.
            mixed.div_(divisor.clamp_min_(FLOOR) if positive else divisor.masked_fill_(divisor == 0, 1.0))
        return base.add_(mixed if scale == 1.0 else mixed.mul_(scale))

    return at


_ONES = torch.ones(CHUNK)


def _ones(count: int) -> torch.Tensor:
    return _ONES[:count]


def _thinning(resolved: Resolved, parts: Parts) -> Thinning | None:
    inputs, n = resolved.inputs, parts.n
    if resolved.method == "task_arithmetic":
        return lambda index, delta, start: None
    if resolved.method == "ties":
        if parts.survey is not None:
            return _banded([parts.survey.band(parts.name, index) for index in range(len(inputs))])
        wishes = [Wish(n, largest=n if values["density"] >= 1 else max(1, int(values["density"] * n))) for values in inputs]
        return _banded(bands(parts, wishes))
    if resolved.method in ("breadcrumbs", "breadcrumbs_ties"):
        wishes = []
        for values in inputs:
            if values["density"] >= 1:
                wishes.append(Wish(n))
                continue
            keep = int(values["density"] * n)
            top = min(int(values["gamma"] * n), n - keep)
            wishes.append(Wish(n, bottom=n - keep - top, top=top))
        return _banded(bands(parts, wishes))
    if resolved.method in ("dare_linear", "dare_ties"):
        return _dropped(resolved, parts)
    return None


def _banded(found: Sequence[Band]) -> Thinning:
    spare = torch.empty(CHUNK)

    def apply(index: int, delta: torch.Tensor, start: int) -> None:
        thin(delta, found[index], start, spare[: delta.numel()])

    return apply


def bands(parts: Parts, wishes: Sequence[Wish]) -> list[Band]:
    """What of each expert's change stays: one pass over base and experts for all of them together, and seldom another."""
    open_ones = [index for index, wish in enumerate(wishes) if wish.known is None]
    if open_ones:
        spans = sample_spans(parts.n)
        samples: dict[int, list[np.ndarray]] = {index: [] for index in open_ones}
        for start, stop in spans:
            base = parts.base_at(start, stop)
            for index in open_ones:
                samples[index].append(_magnitudes(parts.experts[index], base, start, stop).copy())
        for index in open_ones:
            wishes[index].begin(np.concatenate(samples[index]))
        for start, stop in parts.spans():
            base = parts.base_at(start, stop)
            for index in open_ones:
                wishes[index].feed(start, _magnitudes(parts.experts[index], base, start, stop))
    return [wish.known or wish.band(*_again(parts, index)) for index, wish in enumerate(wishes)]


def _magnitudes(expert: Reader, base: torch.Tensor, start: int, stop: int) -> np.ndarray:
    return expert.read(start, stop).sub_(base).abs_().numpy()


def _again(parts: Parts, index: int) -> tuple[Callable[[], Iterator[tuple[int, np.ndarray]]], Callable[[int], np.ndarray]]:
    def between(start: int) -> np.ndarray:
        stop = min(start + CHUNK, parts.n)
        return _magnitudes(parts.experts[index], parts.base_at(start, stop), start, stop)

    return lambda: ((start, between(start)) for start, _ in parts.spans()), between


def _dropped(resolved: Resolved, parts: Parts) -> Thinning:
    densities = [values["density"] for values in resolved.inputs]
    streams = [Stream(parts.seed, key, parts.name) for key in parts.keys]
    scales = [1.0] * len(densities)
    if resolved.shared["rescale"]:
        if resolved.variants["dare_rescale"] == "density":
            scales = [1 / density for density in densities]
        else:
            scales = _l1_ratios(parts, densities, streams)

    def apply(index: int, delta: torch.Tensor, start: int) -> None:
        if densities[index] < 1:
            delta.mul_(streams[index].keep(densities[index], start, delta.numel())).mul_(scales[index])

    return apply


def _l1_ratios(parts: Parts, densities: Sequence[float], streams: Sequence[Stream]) -> list[float]:
    before, after = [0.0] * len(densities), [0.0] * len(densities)
    for start, stop in parts.spans():
        base = parts.base_at(start, stop)
        for index, density in enumerate(densities):
            if density < 1:
                magnitudes = parts.experts[index].read(start, stop).sub_(base).abs_()
                before[index] += float(magnitudes.sum(dtype=torch.float64))
                kept = magnitudes.mul_(streams[index].keep(density, start, stop - start))
                after[index] += float(kept.sum(dtype=torch.float64))
    return [one / other if one >= 1e-7 and other >= 1e-7 else 1.0 for one, other in zip(before, after, strict=True)]
