"""Merging one tensor: ``combine`` is the way in, for every method of training.engine.methods.

    resolved = recipes.resolve(recipe, name, layers)            # the numbers for this tensor
    survey = operators.survey(recipe, layers)                   # null unless the method has to see all tensors first
    while survey is not None and survey.open:                   # then: every tensor, in any order, once a pass
        for name in names: survey.look(name, parts_of(name))
        survey.turn()
    merged = operators.combine(resolved, parts, seed=seed, survey=survey)   # float32, rounded by nobody yet

Tensors come in any float dtype and shape and are taken to float32 a chunk at a time, so what is held besides the inputs and the result
is one expert's magnitudes, where its ranks are needed, and a few chunks. The result depends on no thread count and no chunk size in the
masks, and sums run over experts in the recipe's order. Formulas: arXiv 2505.10717 section 3.1.3 and each method's own source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.engine.merging import masks
from training.engine.merging.masks import Band
from training.engine.merging.randomness import Stream
from training.engine.recipes import Recipe, Resolved

COLINEAR = 0.9995
TINY = 1e-8
# Entries at a time: a few such float32 chunks fit a core's cache. A multiple of randomness.BLOCK.
CHUNK = 1 << 18


@dataclass(frozen=True)
class Parts:
    """One tensor of every model: ``experts`` in the order of the recipe's inputs, ``keys`` what identifies each one's weights (their
    digest; only random methods read them). All of one shape; ``base`` null where the method has none."""

    name: str
    base: torch.Tensor | None
    experts: Sequence[torch.Tensor]
    keys: Sequence[str] = ()


class Survey:
    """Sees every tensor before any is merged; ``open`` while it wants another pass. TIES over the whole vector needs it."""

    open: bool

    def look(self, name: str, parts: Parts) -> None:
        raise NotImplementedError

    def turn(self) -> None:
        raise NotImplementedError

    def band(self, name: str, expert: int) -> Band:
        raise NotImplementedError


def survey(recipe: Recipe, layers: int) -> Survey | None:
    """What has to see all tensors before ``combine`` can, if anything. Call again to begin anew."""
    return None


def combine(resolved: Resolved, parts: Parts, *, seed: int = 0, survey: Survey | None = None) -> torch.Tensor:
    """The merged tensor, float32, in the parts' shape and not yet rounded to any other dtype. Inputs are not changed."""
    assert len(parts.experts) == len(resolved.inputs)
    first = parts.experts[0]
    assert all(part.shape == first.shape for part in (*parts.experts, *([parts.base] if parts.base is not None else [])))
    work = _Work(resolved, parts, seed, survey)
    return OPERATORS[resolved.method](work).view(first.shape)


class _Work:
    """One tensor's parts, flat, and how to read them."""

    def __init__(self, resolved: Resolved, parts: Parts, seed: int, survey: Survey | None) -> None:
        self.resolved, self.parts, self.seed, self.survey = resolved, parts, seed, survey
        self.shape = parts.experts[0].shape
        self.n = parts.experts[0].numel()
        self._experts = [expert.reshape(-1) for expert in parts.experts]
        self._base = None if parts.base is None else parts.base.reshape(-1)

    def shared(self, name: str) -> float:
        return self.resolved.shared[name]

    def own(self, name: str) -> list[float]:
        return [values[name] for values in self.resolved.inputs]

    def base(self, piece: slice = slice(None)) -> torch.Tensor:
        assert self._base is not None, f"{self.resolved.method} needs a base"
        return self._base[piece].float()

    def expert(self, index: int, piece: slice = slice(None)) -> torch.Tensor:
        return self._experts[index][piece].float()

    def delta(self, index: int, piece: slice = slice(None)) -> torch.Tensor:
        return self.expert(index, piece) - self.base(piece)

    def pieces(self) -> Iterator[slice]:
        return (slice(start, min(start + CHUNK, self.n)) for start in range(0, self.n, CHUNK))

    def magnitudes(self, index: int) -> torch.Tensor:
        made = torch.empty(self.n)
        for piece in self.pieces():
            torch.abs(self.delta(index, piece), out=made[piece])
        return made

    def stream(self, index: int) -> Stream:
        return Stream(self.seed, self.parts.keys[index], self.parts.name)


Thinning = Callable[[int, torch.Tensor, int], torch.Tensor]
"""(expert, a chunk of its delta, the chunk's start) to the chunk with what is dropped set to 0."""


def _linear(work: _Work) -> torch.Tensor:
    """Σ wᵢθᵢ, with ``normalize`` divided by Σ wᵢ (Wortsman et al. 2022)."""
    weights = work.own("weight")
    total = sum(weights)
    made = torch.empty(work.n)
    for piece in work.pieces():
        out = made[piece].zero_()
        for index, weight in enumerate(weights):
            out.addcmul_(work.expert(index, piece), torch.tensor(weight))
        if work.shared("normalize"):
            out.div_(total)
    return made


def _slerp(work: _Work) -> torch.Tensor:
    """sin((1−t)Ω)/sinΩ·θ₀ + sin(tΩ)/sinΩ·θ₁: Ω from the normalised vectors, the mixture of the vectors as they are; where
    |cosΩ| > 0.9995, usual for an expert and its base, (1−t)θ₀ + tθ₁. Sums in float64."""
    t = work.shared("t")
    aa = bb = ab = 0.0
    for piece in work.pieces():
        a, b = work.base(piece).double(), work.expert(0, piece).double()
        aa, bb, ab = aa + float(a.dot(a)), bb + float(b.dot(b)), ab + float(a.dot(b))
    left, right = slerp_shares(t, ab / (_norm(aa) * _norm(bb)))
    made = torch.empty(work.n)
    for piece in work.pieces():
        torch.add(work.base(piece) * left, work.expert(0, piece) * right, out=made[piece])
    return made


def _norm(square: float) -> float:
    """What a vector is divided by before angles: nothing for one as good as zero."""
    norm = math.sqrt(square)
    return norm if norm > TINY else 1.0


def slerp_shares(t: float, cosine: float) -> tuple[float, float]:
    """How much of base and expert SLERP takes, for the cosine between them."""
    cosine = min(1.0, max(-1.0, cosine))
    if abs(cosine) > COLINEAR:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _sum(work: _Work, thin: Thinning) -> torch.Tensor:
    """θ₀ + λ Σ wᵢτ̂ᵢ, with ``normalize`` divided by Σ wᵢ unless that is 0."""
    weights = work.own("weight")
    total = sum(weights)
    made = torch.empty(work.n)
    for piece in work.pieces():
        mixed = torch.zeros(piece.stop - piece.start)
        for index, weight in enumerate(weights):
            mixed += thin(index, work.delta(index, piece), piece.start).mul_(weight)
        if work.shared("normalize") and abs(total) >= TINY:
            mixed.div_(total)
        torch.add(work.base(piece), mixed.mul_(work.shared("lambda")), out=made[piece])
    return made


def _vote(work: _Work, thin: Thinning) -> torch.Tensor:
    """TIES (Yadav et al. 2023): entry by entry the sign of Σ wᵢτ̂ᵢ, 0 as +; then the sum of those that have it, with ``normalize``
    divided by the sum of their weights unless that is 0; θ₀ + λ times that."""
    weights = work.own("weight")
    made = torch.empty(work.n)
    for piece in work.pieces():
        weighted = [thin(index, work.delta(index, piece), piece.start).mul_(weight) for index, weight in enumerate(weights)]
        # One by one and not by a tensor's sum, whose order depends on the shape.
        total = torch.zeros(piece.stop - piece.start)
        for delta in weighted:
            total += delta
        elected = torch.where(total >= 0, 1.0, -1.0)
        mixed, divisor = torch.zeros_like(total), torch.zeros_like(total)
        for delta, weight in zip(weighted, weights, strict=True):
            agrees = torch.sign(delta) == elected
            mixed += delta * agrees
            divisor.add_(agrees, alpha=weight)
        if work.shared("normalize"):
            mixed /= divisor.masked_fill_(divisor == 0, 1.0)
        torch.add(work.base(piece), mixed.mul_(work.shared("lambda")), out=made[piece])
    return made


def _all(work: _Work) -> Thinning:
    return lambda index, delta, start: delta


def _banded(bands: Sequence[Band]) -> Thinning:
    def thin(index: int, delta: torch.Tensor, start: int) -> torch.Tensor:
        # Times the mask and not where(mask): what is not a number stays so, and the merge is refused.
        return delta if bands[index] == Band() else delta * bands[index].mask(delta.abs(), start)

    return thin


def _trimmed(work: _Work) -> Thinning:
    """Each expert's max(1, int(density N)) largest changes."""
    densities = work.own("density")
    return _banded([
        Band() if density >= 1 else masks.largest(work.magnitudes(index), max(1, int(density * work.n)))
        for index, density in enumerate(densities)
    ])  # fmt: skip


def _crumbs(work: _Work) -> Thinning:
    """Without the int(gamma N) largest changes and the smallest below them, so that int(density N) stay (Davari and Belilovsky 2023,
    counted over the whole tensor as in mergekit). Where both do not fit, fewer of the largest go. Density 1 keeps all."""
    bands = []
    for index, values in enumerate(work.resolved.inputs):
        keep, top = int(values["density"] * work.n), int(values["gamma"] * work.n)
        top = min(top, work.n - keep)
        whole = values["density"] >= 1
        bands.append(Band() if whole else masks.middle(work.magnitudes(index), work.n - keep - top, top))
    return _banded(bands)


def _dropped(work: _Work) -> Thinning:
    """DARE (Yu et al. 2024): each change stays with probability density. With ``rescale`` divided by density (the paper), or scaled
    to the sum of magnitudes there was (mergekit)."""
    densities = work.own("density")
    scales = [1.0] * len(densities)
    if work.shared("rescale"):
        if work.resolved.variants["dare_rescale"] == "density":
            scales = [1 / density for density in densities]
        else:
            scales = [_l1_ratio(work, index, density) if density < 1 else 1.0 for index, density in enumerate(densities)]

    def thin(index: int, delta: torch.Tensor, start: int) -> torch.Tensor:
        if densities[index] >= 1:
            return delta
        return (delta * work.stream(index).keep(densities[index], start, delta.numel())).mul_(scales[index])

    return thin


def _l1_ratio(work: _Work, index: int, density: float) -> float:
    """Σ|τ| over Σ|m⊙τ|; 1 where either is all but nothing."""
    before = after = 0.0
    for piece in work.pieces():
        magnitudes = work.delta(index, piece).abs().double()
        before += float(magnitudes.sum())
        after += float((magnitudes * work.stream(index).keep(density, piece.start, magnitudes.numel())).sum())
    return before / after if before >= 1e-7 and after >= 1e-7 else 1.0


def _model_stock(work: _Work) -> torch.Tensor:
    """t·mean(θᵢ) + (1−t)θ₀ with t = N c/(1 + (N−1)c), c the mean cosine of two experts' changes (Jang et al. 2024).

    Where the denominator is 0 the base stays. With ``filter_wise`` every row of a matrix has its own t."""
    count = len(work.parts.experts)
    width = work.shape[-1] if work.shared("filter_wise") and len(work.shape) else work.n
    rows = work.n // width if width else 0
    made = torch.empty(work.n)
    per = max(1, CHUNK // width) if width else 1
    for first in range(0, rows, per):
        block = slice(first * width, min(rows, first + per) * width)
        deltas = [work.delta(index, block).view(-1, width) for index in range(count)]
        squares = [_rows_dot(delta, delta).sqrt() for delta in deltas]
        cosines = [
            (_rows_dot(deltas[i], deltas[j]) / (squares[i] * squares[j]).clamp(min=1e-6)).clamp(-1, 1)
            for i in range(count) for j in range(i + 1, count)
        ]  # fmt: skip
        cosine = torch.stack(cosines).mean(0)
        below = 1 + (count - 1) * cosine
        share = torch.where(below.abs() < 1e-6, 0.0, count * cosine / below.masked_fill(below.abs() < 1e-6, 1.0)).float().unsqueeze(1)
        mean = sum((work.expert(index, block) for index in range(1, count)), start=work.expert(0, block)).view(-1, width) / count
        made[block] = (share * mean + (1 - share) * work.base(block).view(-1, width)).view(-1)
    return made


def _rows_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(rows, width) twice to (rows,), in float64, a chunk of columns at a time."""
    total = torch.zeros(a.shape[0], dtype=torch.float64)
    for start in range(0, a.shape[1], CHUNK):
        piece = slice(start, start + CHUNK)
        total += (a[:, piece].double() * b[:, piece].double()).sum(1)
    return total


OPERATORS: dict[str, Callable[[Any], torch.Tensor]] = {
    "linear": _linear,
    "slerp": _slerp,
    "task_arithmetic": lambda work: _sum(work, _all(work)),
    "ties": lambda work: _vote(work, _trimmed(work)),
    "dare_linear": lambda work: _sum(work, _dropped(work)),
    "dare_ties": lambda work: _vote(work, _dropped(work)),
    "breadcrumbs": lambda work: _sum(work, _crumbs(work)),
    "breadcrumbs_ties": lambda work: _vote(work, _crumbs(work)),
    "model_stock": _model_stock,
}
