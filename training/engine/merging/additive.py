"""The operators that add experts up: means, sums of what is left of their changes, TIES' vote and SCE.

Notation: θ₀ base, θᵢ expert, τᵢ = θᵢ − θ₀ its task vector, τ̂ᵢ what is left of it, wᵢ weight, N the tensor's entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from training.engine.merging import masks
from training.engine.merging.masks import Band
from training.engine.merging.work import Work

TINY = 1e-8

Thinning = Callable[[int, torch.Tensor, int], torch.Tensor]
"""(expert, a chunk of its τ, the chunk's start) to the chunk with what is dropped set to 0."""


def linear(work: Work) -> torch.Tensor:
    """Σ wᵢθᵢ, with ``normalize`` divided by Σ wᵢ (Wortsman et al. 2022)."""
    weights = work.own("weight")
    made = torch.empty(work.n)
    for piece in work.pieces():
        out = made[piece].zero_()
        for index, weight in enumerate(weights):
            out.addcmul_(work.expert(index, piece), torch.tensor(weight))
        if work.shared("normalize"):
            out.div_(total(weights))
    return made


def total(weights: Sequence[float]) -> float:
    """Their sum as float32 adds it up."""
    return float(torch.tensor(weights).sum())


def summed(work: Work, thin: Thinning, *, rows: bool = False) -> torch.Tensor:
    """θ₀ + λ Σ wᵢτ̂ᵢ, with ``normalize`` divided by Σ wᵢ unless that is 0 (Ilharco et al. 2023 for the plain sum)."""
    weights = work.own("weight")
    divisor = total(weights)
    made = torch.empty(work.n)
    for piece in work.pieces(rows=rows):
        mixed = torch.zeros(piece.stop - piece.start)
        for index, weight in enumerate(weights):
            mixed += thin(index, work.delta(index, piece), piece.start).mul_(weight)
        if work.shared("normalize") and abs(divisor) >= TINY:
            mixed.div_(divisor)
        torch.add(work.base(piece), mixed.mul_(work.shared("lambda")), out=made[piece])
    return made


def voted(work: Work, thin: Thinning, *, rows: bool = False) -> torch.Tensor:
    """TIES (Yadav et al. 2023): entry by entry the sign of Σ wᵢτ̂ᵢ, 0 as +; then the sum of those that have it, with ``normalize``
    divided by the sum of their weights unless that is 0; θ₀ + λ times that. A change of 0 has no sign and never agrees."""
    weights = work.own("weight")
    made = torch.empty(work.n)
    for piece in work.pieces(rows=rows):
        weighted = [thin(index, work.delta(index, piece), piece.start).mul_(weight) for index, weight in enumerate(weights)]
        elected = election(weighted)
        mixed, divisor = torch.zeros_like(elected), torch.zeros_like(elected)
        for delta, weight in zip(weighted, weights, strict=True):
            agrees = torch.sign(delta) == elected
            mixed += delta * agrees
            divisor.add_(agrees, alpha=weight)
        if work.shared("normalize"):
            mixed /= divisor.masked_fill_(divisor == 0, 1.0)
        torch.add(work.base(piece), mixed.mul_(work.shared("lambda")), out=made[piece])
    return made


def election(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """1 where the deltas' sum is at least 0, else −1. Added one by one: a stack's sum has an order that depends on its shape."""
    score = torch.zeros_like(deltas[0])
    for delta in deltas:
        score += delta
    return torch.where(score >= 0, 1.0, -1.0)


def whole(work: Work) -> Thinning:
    """All of every change."""
    return lambda index, delta, start: delta


def banded(bands: Sequence[Band]) -> Thinning:
    def thin(index: int, delta: torch.Tensor, start: int) -> torch.Tensor:
        # Times the mask and not where(mask): what is not a number stays so, and the merge is refused.
        return delta if bands[index] == Band() else delta * bands[index].mask(delta.abs(), start)

    return thin


def trimmed(work: Work) -> Thinning:
    """TIES: each expert's max(1, int(density N)) largest changes, of the tensor or of the whole model."""
    densities = work.own("density")
    if work.resolved.variants["trim"] == "vector":
        assert work.survey is not None, "the whole vector's largest changes are known from a survey"
        return banded([work.survey.band(work.parts.name, index) for index in range(len(densities))])
    return banded([
        Band() if density >= 1 else masks.largest(work.magnitudes(index), work.n, max(1, int(density * work.n)))
        for index, density in enumerate(densities)
    ])  # fmt: skip


def crumbs(work: Work) -> Thinning:
    """Without the int(gamma N) largest changes and the smallest below them, so that int(density N) stay (Davari and Belilovsky 2023,
    counted over the whole tensor as in mergekit). Where both do not fit, fewer of the largest go. Density 1 keeps all."""
    bands = []
    for index, values in enumerate(work.resolved.inputs):
        keep = int(values["density"] * work.n)
        top = min(int(values["gamma"] * work.n), work.n - keep)
        whole = values["density"] >= 1
        bands.append(Band() if whole else masks.middle(work.magnitudes(index), work.n, work.n - keep - top, top))
    return banded(bands)


Chance = Callable[[int, torch.Tensor], float | torch.Tensor]
"""(expert, a chunk of its τ) to the probability with which its entries stay."""


def drawn(work: Work, chance: Chance, *, by_chance: bool, rows: bool = False) -> Thinning:
    """Each change stays with its chance. With ``rescale`` divided by that (the papers: right on average over masks), or scaled to the
    sum of magnitudes there was (mergekit: right for this mask)."""
    densities = work.own("density")
    rescale = bool(work.shared("rescale"))
    ratios = [1.0] * work.count
    if rescale and not by_chance:
        ratios = [_l1_ratio(work, index, chance, rows=rows) if density < 1 else 1.0 for index, density in enumerate(densities)]

    def thin(index: int, delta: torch.Tensor, start: int) -> torch.Tensor:
        if densities[index] >= 1:
            return delta
        probability = chance(index, delta)
        kept = delta * work.stream(index).keep(probability, start, delta.numel())
        if rescale and by_chance:
            return kept.div_(probability)
        return kept.mul_(ratios[index])

    return thin


def _l1_ratio(work: Work, index: int, chance: Chance, *, rows: bool) -> float:
    """Σ|τ| over Σ|m⊙τ|; 1 where either is all but nothing."""
    before = after = 0.0
    for piece in work.pieces(rows=rows):
        delta = work.delta(index, piece)
        kept = work.stream(index).keep(chance(index, delta), piece.start, delta.numel())
        magnitudes = delta.abs_().double()
        before += float(magnitudes.sum())
        after += float((magnitudes * kept).sum())
    return before / after if before >= 1e-7 and after >= 1e-7 else 1.0


def dare(work: Work) -> Thinning:
    """DARE (Yu et al. 2024): every entry's chance is density."""
    densities = work.own("density")
    return drawn(work, lambda index, delta: densities[index], by_chance=work.resolved.variants["dare_rescale"] == "density")


def della(work: Work) -> Thinning:
    """DELLA's MAGPRUNE (Deep et al. 2024): within a row the chance rises evenly with the rank of the magnitude, from density − epsilon
    to density + epsilon; of equal ones the earlier ranks lower, and a row of one entry has density itself."""

    def chance(index: int, delta: torch.Tensor) -> torch.Tensor:
        values = work.resolved.inputs[index]
        if work.width < 2:
            return torch.full_like(delta, values["density"])
        order = delta.abs().view(-1, work.width).sort(dim=1, stable=True).indices
        places = torch.arange(work.width, dtype=torch.float32).expand_as(order)
        ranks = torch.empty(order.shape).scatter_(1, order, places)
        return ((values["density"] - values["epsilon"]) + ranks.div_(work.width - 1) * 2 * values["epsilon"]).view(-1)

    return drawn(work, chance, by_chance=work.resolved.variants["della_rescale"] == "chance", rows=True)


def sce(work: Work) -> torch.Tensor:
    """SCE (Wan et al. 2024): of the entries in which the experts' changes vary at all the ``select_topk`` share that varies most; each
    expert weighted by its mean square change there; the sign of the plain sum elected, and the weighted mean of those that have it."""
    share = work.shared("select_topk")
    band = Band()
    if share < 1:
        varying = sum(int(torch.count_nonzero(chunk)) for chunk in _variances(work))
        band = masks.largest(lambda: _variances(work), work.n, int(varying * share))
    squares = [0.0] * work.count
    for _, deltas in _selected(work, band):
        for index, delta in enumerate(deltas):
            squares[index] += float(delta.double().square_().sum())
    squares = [square / max(1, work.n) for square in squares]
    whole = sum(squares)
    # mergekit takes equal weights below this, which changes of 1e-3 already are: our default is the paper's weights.
    least = 1e-6 if work.resolved.variants["sce_weights"] == "floor" else 0.0
    weights = [square / whole for square in squares] if whole > least else [1 / work.count] * work.count
    made = torch.empty(work.n)
    for piece, deltas in _selected(work, band):
        elected = election(deltas)
        mixed, divisor = torch.zeros_like(elected), torch.zeros_like(elected)
        for delta, weight in zip(deltas, weights, strict=True):
            agrees = torch.sign(delta) == elected
            mixed += delta * (agrees * weight)
            divisor.add_(agrees, alpha=weight)
        torch.add(work.base(piece), mixed.div_(divisor.clamp_(min=1e-6)), out=made[piece])
    return made


def _variances(work: Work) -> Iterator[torch.Tensor]:
    for piece in work.pieces():
        yield _variance([work.delta(index, piece) for index in range(work.count)])


def _selected(work: Work, band: Band) -> Iterator[tuple[slice, list[torch.Tensor]]]:
    for piece in work.pieces():
        deltas = [work.delta(index, piece) for index in range(work.count)]
        if band != Band():
            mask = band.mask(_variance(deltas), piece.start)
            deltas = [delta.mul_(mask) for delta in deltas]
        yield piece, deltas


def _variance(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """Between experts, entry by entry. Step by step: torch's own is rounded in ways that depend on where in memory an entry lies, and a
    rank must not."""
    mean = torch.zeros_like(deltas[0])
    for delta in deltas:
        mean += delta
    mean /= len(deltas)
    variance = torch.zeros_like(mean)
    for delta in deltas:
        variance += (delta - mean).square_()
    return variance.div_(len(deltas))
