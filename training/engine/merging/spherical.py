"""The operators that look at angles. What they need of whole tensors are dot products, taken in float64 a chunk at a time; everything
else is arithmetic on a few numbers, and one more pass that mixes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from training.engine.merging.work import CHUNK, Work

COLINEAR = 0.9995
# As good as 1 in float64.
PARALLEL = 1 - 1e-15
TINY = 1e-8

Reading = Callable[[int, slice], torch.Tensor]


def gram(read: Reading, count: int, pieces: Sequence[slice]) -> list[list[float]]:
    """⟨vᵢ, vⱼ⟩ of ``count`` flat vectors, (count, count), in float64."""
    products = torch.zeros(count, count, dtype=torch.float64)
    for piece in pieces:
        block = torch.stack([read(index, piece).double() for index in range(count)])
        products += block @ block.T
    return products.tolist()


def mix(work: Work, read: Reading, shares: Sequence[float]) -> torch.Tensor:
    """Σ shareᵢ vᵢ, (n,) float32."""
    made = torch.empty(work.n)
    for piece in work.pieces():
        out = made[piece]
        torch.mul(read(0, piece), shares[0], out=out)
        for index, share in enumerate(shares[1:], start=1):
            out += read(index, piece) * share
    return made


def slerp(work: Work) -> torch.Tensor:
    """sin((1−t)Ω)/sinΩ·θ₀ + sin(tΩ)/sinΩ·θ₁: Ω from the normalised vectors, the mixture of the vectors as they are; where
    |cosΩ| > 0.9995, usual for an expert and its base, (1−t)θ₀ + tθ₁. A whole tensor is one vector."""

    def read(index: int, piece: slice) -> torch.Tensor:
        return work.expert(0, piece) if index else work.base(piece)

    (aa, ab), (_, bb) = gram(read, 2, list(work.pieces()))
    return mix(work, read, slerp_shares(work.shared("t"), ab / (_norm(aa) * _norm(bb))))


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


def nuslerp(work: Work) -> torch.Tensor:
    """SLERP of two experts with t = w₂/(w₁ + w₂), one half where the weights add up to 0; with a base, of their changes.

    Linear only where they are parallel to rounding. ``nuslerp_flatten`` false takes every row by itself, or with ``nuslerp_row_wise``
    every column.
    """
    first, second = work.own("weight")
    t = 0.5 if abs(first + second) < 1e-6 else second / (first + second)
    read = work.delta if work.has_base else work.expert
    if work.shared("nuslerp_flatten"):
        (aa, ab), (_, bb) = gram(read, 2, list(work.pieces()))
        cosine = ab / (max(math.sqrt(aa), 1e-7) * max(math.sqrt(bb), 1e-7))
        mixed = mix(work, read, slerp_shares(t, cosine, colinear=PARALLEL))
    else:
        mixed = _by_lines(work, read, t, columns=bool(work.shared("nuslerp_row_wise")))
    if work.has_base:
        for piece in work.pieces():
            mixed[piece] += work.base(piece)
    return mixed


def _by_lines(work: Work, read: Reading, t: float, *, columns: bool) -> torch.Tensor:
    """Rows (the last dimension) one by one, or the lines along the first dimension."""
    made = torch.empty(work.n)
    if columns and len(work.shape) > 1:
        width = work.n // work.shape[0]
        a, b = read(0, slice(0, work.n)).view(-1, width), read(1, slice(0, work.n)).view(-1, width)
        return _slerped(a, b, t, dim=0).reshape(-1)
    for piece in work.pieces(rows=True):
        a, b = read(0, piece).view(-1, work.width), read(1, piece).view(-1, work.width)
        made[piece] = _slerped(a, b, t, dim=1).view(-1)
    return made


def _slerped(a: torch.Tensor, b: torch.Tensor, t: float, dim: int) -> torch.Tensor:
    def dot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.double() * y.double()).sum(dim, keepdim=True)

    cosine = (dot(a, b) / (dot(a, a).sqrt().clamp(min=1e-7) * dot(b, b).sqrt().clamp(min=1e-7))).clamp(-1, 1)
    linear = cosine.abs() > PARALLEL
    angle = torch.acos(torch.where(linear, 0.0, cosine))
    left = torch.where(linear, 1 - t, torch.sin((1 - t) * angle) / torch.sin(angle)).float()
    right = torch.where(linear, t, torch.sin(t * angle) / torch.sin(angle)).float()
    return left * a + right * b


def karcher(work: Work) -> torch.Tensor:
    """The Karcher mean of the inputs' directions on the sphere, all of one weight, times their mean length.

    The mean lies in the span of the inputs, so after one pass for their dot products the iteration runs on as many numbers as there
    are inputs. Vectors no longer than ``tol`` have no direction and count for the length only.
    """
    count, tol = work.count, work.shared("tol")
    if count == 1:
        return mix(work, work.expert, [1.0])
    products = torch.tensor(gram(work.expert, count, list(work.pieces())), dtype=torch.float64)
    norms = products.diagonal().sqrt()
    used = [index for index in range(count) if float(norms[index]) > tol]
    if not used:
        return torch.zeros(work.n)
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
    return mix(work, work.expert, shares)


def model_stock(work: Work) -> torch.Tensor:
    """t·mean(θᵢ) + (1−t)θ₀ with t = N c/(1 + (N−1)c), c the mean cosine of two experts' changes (Jang et al. 2024).

    Where the denominator is 0 the base stays; a change of nothing has cosine 0 to all. ``filter_wise`` gives every row its own t.
    """
    count = work.count
    if not work.shared("filter_wise"):
        products = torch.tensor(gram(work.delta, count, list(work.pieces())), dtype=torch.float64).unsqueeze(-1)
        return _stock(work, [(piece, _stock_share(products, count)) for piece in work.pieces()])
    shares = []
    for piece in work.pieces(rows=True):
        deltas = [work.delta(index, piece).view(-1, work.width) for index in range(count)]
        products = torch.stack([torch.stack([_rows_dot(a, b) for b in deltas]) for a in deltas])
        shares.append((piece, _stock_share(products, count)))
    return _stock(work, shares)


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


def _stock(work: Work, shares: Sequence[tuple[slice, torch.Tensor]]) -> torch.Tensor:
    made = torch.empty(work.n)
    for piece, share in shares:
        mean = work.expert(0, piece).clone()
        for index in range(1, work.count):
            mean += work.expert(index, piece)
        mean /= work.count
        base = work.base(piece)
        # From the base and not t·mean + (1 − t)θ₀: a large t would take two large numbers from each other.
        made[piece] = base + (mean.sub_(base).view(len(share), -1) * share).view(-1)
    return made


def _rows_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(rows, width) twice to (rows,), in float64, a chunk of columns at a time."""
    total = torch.zeros(a.shape[0], dtype=torch.float64)
    for start in range(0, a.shape[1], CHUNK):
        piece = slice(start, start + CHUNK)
        total += (a[:, piece].double() * b[:, piece].double()).sum(1)
    return total
