"""The operators that look at angles. What they need of whole tensors are dot products, taken in float64 a chunk at a time; everything
else is arithmetic on a few numbers, and mixing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from training.engine.merging.work import Combined, Scratch, Work, by_rows

COLINEAR = 0.9995
# As good as 1 in float64.
PARALLEL = 1 - 1e-15
TINY = 1e-8
# Entries of which float64 copies stay in the cache.
BLOCK = 1 << 15

Vectors = Callable[[int, int], Iterator[torch.Tensor]]
"""(start, stop) to a chunk of each of several vectors in turn, each in a buffer of its own."""


def gram(work: Work, vectors: Vectors, count: int) -> torch.Tensor:
    """⟨vᵢ, vⱼ⟩ of ``count`` flat vectors, (count, count), in float64."""
    products, block = torch.zeros(count, count, dtype=torch.float64), torch.empty(count, BLOCK, dtype=torch.float64)
    for start, stop in work.spans():
        chunk = list(vectors(start, stop))
        for first in range(0, stop - start, BLOCK):
            wide = block[:, : min(BLOCK, stop - start - first)]
            for row, vector in zip(wide, chunk, strict=True):
                row.copy_(vector[first : first + BLOCK])
            products.addmm_(wide, wide.T)
    return products


def mix(work: Work, vectors: Vectors, shares: Sequence[float]) -> Combined:
    """Σ shareᵢ vᵢ."""
    scratch = Scratch()

    def at(start: int, stop: int) -> torch.Tensor:
        out = scratch(stop - start)[0].zero_()
        for vector, share in zip(vectors(start, stop), shares, strict=True):
            out.add_(vector, alpha=share)
        return out

    return at


def slerp(work: Work) -> Combined:
    """sin((1−t)Ω)/sinΩ·θ₀ + sin(tΩ)/sinΩ·θ₁: Ω from the normalised vectors, the mixture of the vectors as they are; where
    |cosΩ| > 0.9995, usual for an expert and its base, (1−t)θ₀ + tθ₁. A whole tensor is one vector."""

    def both(start: int, stop: int) -> Iterator[torch.Tensor]:
        yield work.base(start, stop)
        yield work.expert(0, start, stop)

    (aa, ab), (_, bb) = gram(work, both, 2).tolist()
    return mix(work, both, slerp_shares(work.shared("t"), ab / (_norm(aa) * _norm(bb))))


def _norm(square: float) -> float:
    """What a vector is divided by before angles: nothing for one as good as zero."""
    norm = math.sqrt(square)
    return norm if norm > TINY else 1.0


def slerp_shares(t: float, cosine: float, colinear: float = COLINEAR) -> tuple[float, float]:
    """How much of the first and of the second vector goes in, for the cosine between them."""
    if abs(cosine) > colinear:
        return 1 - t, t
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def nuslerp(work: Work) -> Combined:
    """SLERP of two experts with t = w₂/(w₁ + w₂), one half where the weights add up to 0; with a base, of their changes.

    Linear only where they are parallel to rounding. ``nuslerp_flatten`` false takes every row by itself, or with ``nuslerp_row_wise``
    every column.
    """
    first, second = work.own("weight")
    t = 0.5 if abs(first + second) < 1e-6 else second / (first + second)
    vectors = work.changes if work.has_base else work.experts
    if work.shared("nuslerp_flatten"):
        (aa, ab), (_, bb) = gram(work, vectors, 2).tolist()
        cosine = ab / (max(math.sqrt(aa), 1e-7) * max(math.sqrt(bb), 1e-7))
        mixed = mix(work, vectors, slerp_shares(t, cosine, colinear=PARALLEL))
    elif work.shared("nuslerp_row_wise") and len(work.shape) > 1:
        mixed = _by_columns(work, vectors, t)
    else:
        mixed = _by_rows(work, vectors, t)
    if not work.has_base:
        return mixed
    return lambda start, stop: mixed(start, stop).add_(work.base(start, stop))


def _by_rows(work: Work, vectors: Vectors, t: float) -> Combined:
    """Every line along the last dimension by itself."""
    width = max(1, work.width)

    def at(start: int, stop: int) -> torch.Tensor:
        a, b = (vector.view(-1, width) for vector in vectors(start, stop))
        left, right = _lines(_dot(a, a, 1), _dot(a, b, 1), _dot(b, b, 1), t)
        return (left * a + right * b).view(-1)

    return by_rows(at, width)


def _by_columns(work: Work, vectors: Vectors, t: float) -> Combined:
    """Every line along the first dimension by itself: their products need a look at all rows first."""
    width = max(1, work.n // max(1, work.shape[0]))
    aa, ab, bb = torch.zeros(3, 1, width, dtype=torch.float64)
    for start, stop in work.spans(width=width):
        a, b = (vector.view(-1, width) for vector in vectors(start, stop))
        aa, ab, bb = aa + _dot(a, a, 0), ab + _dot(a, b, 0), bb + _dot(b, b, 0)
    left, right = _lines(aa, ab, bb, t)

    def at(start: int, stop: int) -> torch.Tensor:
        a, b = (vector.view(-1, width) for vector in vectors(start, stop))
        return (left * a + right * b).view(-1)

    return by_rows(at, width)


def _dot(a: torch.Tensor, b: torch.Tensor, dim: int) -> torch.Tensor:
    return (a.double() * b.double()).sum(dim, keepdim=True)


def _lines(aa: torch.Tensor, ab: torch.Tensor, bb: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``slerp_shares`` of many pairs by their products, float64 to float32."""
    cosine = (ab / (aa.sqrt().clamp(min=1e-7) * bb.sqrt().clamp(min=1e-7))).clamp(-1, 1)
    linear = cosine.abs() > PARALLEL
    angle = torch.acos(torch.where(linear, 0.0, cosine))
    left = torch.where(linear, 1 - t, torch.sin((1 - t) * angle) / torch.sin(angle))
    right = torch.where(linear, t, torch.sin(t * angle) / torch.sin(angle))
    return left.float(), right.float()


def karcher(work: Work) -> Combined:
    """The Karcher mean of the inputs' directions on the sphere, all of one weight, times their mean length.

    The mean lies in the span of the inputs, so after one pass for their dot products the iteration runs on as many numbers as there
    are inputs. Vectors no longer than ``tol`` have no direction and count for the length only.
    """
    count, tol = work.count, work.shared("tol")
    if count == 1:
        return mix(work, work.experts, [1.0])
    products = gram(work, work.experts, count)
    norms = products.diagonal().sqrt()
    used = [index for index in range(count) if float(norms[index]) > tol]
    if not used:
        return mix(work, work.experts, [0.0] * count)
    # Coefficients of unit vectors; ⟨uᵢ, uⱼ⟩ between those in use.
    cosines = products[used][:, used] / norms[used].outer(norms[used])
    mean = torch.full((len(used),), 1 / len(used), dtype=torch.float64)
    length = math.sqrt(max(0.0, float(mean @ cosines @ mean)))
    mean = mean / length if length >= tol else torch.eye(len(used), dtype=torch.float64)[0]
    for _ in range(int(work.shared("max_iter"))):
        tangent = torch.zeros_like(mean)
        for index in range(len(used)):
            dot = min(1.0, max(-1.0, float(cosines[index] @ mean)))
            angle = math.acos(dot)
            if angle < tol:
                continue
            tangent += angle / math.sin(angle) / len(used) * (torch.eye(len(used), dtype=torch.float64)[index] - dot * mean)
        step = math.sqrt(max(0.0, float(tangent @ cosines @ tangent)))
        if step < tol:
            break
        mean = math.cos(step) * mean + math.sin(step) * tangent / step
        length = math.sqrt(max(0.0, float(mean @ cosines @ mean)))
        mean = mean / length if length > tol else mean
    shares = [0.0] * count
    for place, index in enumerate(used):
        shares[index] = float(norms.mean()) * float(mean[place]) / float(norms[index])
    return mix(work, work.experts, shares)


def model_stock(work: Work) -> Combined:
    """t·mean(θᵢ) + (1−t)θ₀ with t = N c/(1 + (N−1)c), c the mean cosine of two experts' changes (Jang et al. 2024).

    Where the denominator is 0 the base stays; a change of nothing has cosine 0 to all. ``filter_wise`` gives every row its own t.
    """
    count, scratch = work.count, Scratch()
    if work.shared("filter_wise"):
        return by_rows(_stock_by_rows(work), work.width)
    share = float(_stock_share(gram(work, work.changes, count).unsqueeze(-1), count))

    def at(start: int, stop: int) -> torch.Tensor:
        mean = scratch(stop - start)[0].zero_()
        for expert in work.experts(start, stop):
            mean.add_(expert)
        base = work.base(start, stop)
        # From the base and not t·mean + (1 − t)θ₀: a large t would take two large numbers from each other.
        return base.add_(mean.div_(count).sub_(base), alpha=share)

    return at


def _stock_by_rows(work: Work) -> Combined:
    count, width = work.count, max(1, work.width)

    def at(start: int, stop: int) -> torch.Tensor:
        deltas = [delta.view(-1, width) for delta in work.changes(start, stop)]
        products = torch.stack([torch.stack([_dot(a, b, 1).squeeze(1) for b in deltas]) for a in deltas])
        mean = torch.zeros_like(deltas[0])
        for delta in deltas:
            mean.add_(delta)
        return mean.div_(count).mul_(_stock_share(products, count)).view(-1).add_(work.base(start, stop))

    return at


def _stock_share(products: torch.Tensor, count: int) -> torch.Tensor:
    """(count, count, rows) dot products of changes to (rows, 1) t."""
    norms = products.diagonal().sqrt().T  # (count, rows)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    lengths = [norms[i] * norms[j] for i, j in pairs]
    cosines = [products[i, j] / torch.where(length > 0, length, 1.0) for (i, j), length in zip(pairs, lengths, strict=True)]
    cosine = torch.stack(cosines).clamp(-1, 1).mean(0)
    below = 1 + (count - 1) * cosine
    singular = below.abs() < 1e-6
    return torch.where(singular, 0.0, count * cosine / torch.where(singular, 1.0, below)).float().unsqueeze(1)
