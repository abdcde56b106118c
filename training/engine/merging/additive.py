"""The operators that add experts up: means, sums of what is left of their changes, TIES' vote and SCE.

Notation: θ₀ base, θᵢ expert, τᵢ = θᵢ − θ₀ its task vector, τ̂ᵢ what is left of it, wᵢ weight, N the tensor's entries.

A change's product with its weight is rounded before it is added, expert by expert: what cancels has to be 0 exactly, for 0 votes for +.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from training.engine.merging import ranks
from training.engine.merging.masks import Band, thin
from training.engine.merging.ranks import Wish
from training.engine.merging.work import Combined, Scratch, Work, by_rows

TINY = 1e-8
# Less than any sum of weights one would give.
FLOOR = 1e-30

Thinning = Callable[[int, torch.Tensor, int], None]
"""(expert, a chunk of its τ, the chunk's start): sets to 0 what is dropped and scales what stays, in place."""


def linear(work: Work) -> Combined:
    """Σ wᵢθᵢ, with ``normalize`` divided by Σ wᵢ (Wortsman et al. 2022)."""
    weights, scratch = work.own("weight"), Scratch()
    factors = torch.tensor(weights).unbind()
    divisor = total(weights) if work.shared("normalize") else 1.0

    def at(start: int, stop: int) -> torch.Tensor:
        out, experts = scratch(stop - start)[0], work.experts(start, stop)
        torch.mul(next(experts), factors[0], out=out)
        for expert, factor in zip(experts, factors[1:], strict=True):
            out.addcmul_(expert, factor)
        return out if divisor == 1.0 else out.div_(divisor)

    return at


def total(weights: Sequence[float]) -> float:
    """Their sum as float32 adds it up."""
    return float(torch.tensor(weights).sum())


def summed(work: Work, thinning: Thinning) -> Combined:
    """θ₀ + λ Σ wᵢτ̂ᵢ, with ``normalize`` divided by Σ wᵢ unless that is 0 (Ilharco et al. 2023 for the plain sum)."""
    weights, scale, scratch = work.own("weight"), work.shared("lambda"), Scratch()
    divisor = total(weights) if work.shared("normalize") and abs(total(weights)) >= TINY else 1.0

    def at(start: int, stop: int) -> torch.Tensor:
        base, mixed = work.base(start, stop), scratch(stop - start)[0]
        for index, (weight, expert) in enumerate(zip(weights, work.experts(start, stop), strict=True)):
            delta = expert.sub_(base)
            thinning(index, delta, start)
            if index == 0:
                torch.mul(delta, weight, out=mixed)
            else:
                mixed.add_(delta if weight == 1.0 else delta.mul_(weight))
        if divisor != 1.0:
            mixed.div_(divisor)
        return base.add_(mixed if scale == 1.0 else mixed.mul_(scale))

    return at


def voted(work: Work, thinning: Thinning) -> Combined:
    """TIES (Yadav et al. 2023): entry by entry the sign of Σ wᵢτ̂ᵢ, 0 as +; then the sum of those that have it, with ``normalize``
    divided by the sum of their weights unless that is 0; θ₀ + λ times that. A change of 0 has no sign and never agrees."""
    weights, scale, normalize, scratch = work.own("weight"), work.shared("lambda"), bool(work.shared("normalize")), Scratch(5)
    positive = all(weight > FLOOR for weight in weights)

    def at(start: int, stop: int) -> torch.Tensor:
        score, sign, own, mixed, divisor = scratch(stop - start)
        base, weighted = work.base(start, stop), []
        score.zero_()
        for index, (weight, expert) in enumerate(zip(weights, work.experts(start, stop), strict=True)):
            delta = expert.sub_(base)
            thinning(index, delta, start)
            weighted.append(delta if weight == 1.0 else delta.mul_(weight))
            score.add_(weighted[-1])
        elect(score, sign)
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


_ONE = torch.ones(())


def elect(score: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """1 where ``score`` is at least 0, else −1, into ``sign``. A sum that begins with +0 is never −0."""
    return torch.copysign(_ONE.expand_as(score), score, out=sign)


def whole(work: Work) -> Thinning:
    """All of every change."""
    return lambda index, delta, start: None


def banded(bands: Sequence[Band]) -> Thinning:
    scratch = Scratch()

    def apply(index: int, delta: torch.Tensor, start: int) -> None:
        thin(delta, bands[index], start, scratch(delta.numel())[0])

    return apply


def trimmed(work: Work) -> Thinning:
    """TIES: each expert's max(1, int(density N)) largest changes, of the tensor or of the whole model."""
    densities = work.own("density")
    if work.resolved.variants["trim"] == "vector":
        assert work.survey is not None, "the whole vector's largest changes are known from a survey"
        return banded([work.survey.band(work.parts.name, index) for index in range(work.count)])
    n = work.n
    wishes = [Wish(n, largest=n if density >= 1 else max(1, int(density * n))) for density in densities]
    return banded(ranks.bands(wishes, work.parts.magnitudes, work.spans))


def crumbs(work: Work) -> Thinning:
    """Without the int(gamma N) largest changes and the smallest below them, so that int(density N) stay (Davari and Belilovsky 2023,
    counted over the whole tensor as in mergekit). Where both do not fit, fewer of the largest go. Density 1 keeps all."""
    wishes, n = [], work.n
    for values in work.resolved.inputs:
        keep = n if values["density"] >= 1 else int(values["density"] * n)
        top = min(int(values["gamma"] * n), n - keep)
        wishes.append(Wish(n, bottom=n - keep - top, top=top))
    return banded(ranks.bands(wishes, work.parts.magnitudes, work.spans))


Chance = Callable[[int, torch.Tensor], float | torch.Tensor]
"""(expert, a chunk of its τ) to the probability with which its entries stay."""


def drawn(work: Work, chance: Chance, *, by_chance: bool, width: int = 1) -> Thinning:
    """Each change stays with its chance. With ``rescale`` divided by that (the papers: right on average over masks), or scaled to the
    sum of magnitudes there was (mergekit: right for this mask). ``chance`` wants whole rows of ``width``."""
    densities, rescale = work.own("density"), bool(work.shared("rescale"))
    ratios = _l1_ratios(work, chance, width) if rescale and not by_chance else [1.0] * work.count

    def apply(index: int, delta: torch.Tensor, start: int) -> None:
        if densities[index] >= 1:
            return
        probability = chance(index, delta)
        delta.mul_(work.stream(index).keep(probability, start, delta.numel()))
        if rescale and by_chance:
            delta.div_(probability)
        elif ratios[index] != 1.0:
            delta.mul_(ratios[index])

    return apply


def _l1_ratios(work: Work, chance: Chance, width: int) -> list[float]:
    """Σ|τ| over Σ|m⊙τ| of every expert; 1 where either is all but nothing."""
    before, after = [0.0] * work.count, [0.0] * work.count
    thinned = [index for index, density in enumerate(work.own("density")) if density < 1]
    for start, stop in work.spans(width=width) if thinned else ():
        for index, delta in work.parts.changes(start, stop, thinned):
            kept = work.stream(index).keep(chance(index, delta), start, stop - start)
            before[index] += float(delta.abs_().sum(dtype=torch.float64))
            after[index] += float(delta.mul_(kept).sum(dtype=torch.float64))
    return [one / other if one >= 1e-7 and other >= 1e-7 else 1.0 for one, other in zip(before, after, strict=True)]


def dare(work: Work) -> Thinning:
    """DARE (Yu et al. 2024): every entry's chance is density."""
    densities = work.own("density")
    return drawn(work, lambda index, delta: densities[index], by_chance=work.resolved.variants["dare_rescale"] == "density")


def della(work: Work, add: Callable[[Work, Thinning], Combined]) -> Combined:
    """DELLA's MAGPRUNE (Deep et al. 2024), then ``add``: within a row the chance rises evenly with the rank of the magnitude, from
    density − epsilon to density + epsilon; of equal ones the earlier ranks lower, and a row of one entry has density itself."""

    def chance(index: int, delta: torch.Tensor) -> torch.Tensor:
        values = work.resolved.inputs[index]
        if work.width < 2:
            return torch.full_like(delta, values["density"])
        order = delta.abs().view(-1, work.width).sort(dim=1, stable=True).indices
        places = torch.arange(work.width, dtype=torch.float32).expand_as(order)
        ranked = torch.empty(order.shape).scatter_(1, order, places)
        return ((values["density"] - values["epsilon"]) + ranked.div_(work.width - 1) * 2 * values["epsilon"]).view(-1)

    by_chance = work.resolved.variants["della_rescale"] == "chance"
    return by_rows(add(work, drawn(work, chance, by_chance=by_chance, width=work.width)), work.width)


def sce(work: Work) -> Combined:
    """SCE (Wan et al. 2024): of the entries in which the experts' changes vary at all the ``select_topk`` share that varies most; each
    expert weighted by its mean square change there; the sign of the plain sum elected, and the weighted mean of those that have it."""
    share, band = work.shared("select_topk"), Band()
    if share < 1:

        def variances(start: int, stop: int, those: Iterable[int] = (0,)) -> Iterator[tuple[int, np.ndarray]]:
            return ((one, _variance(list(work.changes(start, stop))).numpy()) for one in those)

        varying = sum(int(np.count_nonzero(chunk)) for start, stop in work.spans() for _, chunk in variances(start, stop))
        (band,) = ranks.bands([Wish(work.n, largest=int(varying * share))], variances, work.spans)
    squares = [0.0] * work.count
    for start, stop in work.spans():
        for index, delta in enumerate(_selected(work, band, start, stop)):
            squares[index] += float(delta.double().square_().sum())
    squares = [square / max(1, work.n) for square in squares]
    whole = sum(squares)
    # mergekit takes equal weights below this, which changes of 1e-3 already are: our default is the paper's weights.
    least = 1e-6 if work.resolved.variants["sce_weights"] == "floor" else 0.0
    weights = [square / whole for square in squares] if whole > least else [1 / work.count] * work.count
    scratch = Scratch(4)

    def at(start: int, stop: int) -> torch.Tensor:
        score, sign, mixed, divisor = scratch(stop - start)
        deltas = _selected(work, band, start, stop)
        score.zero_()
        for delta in deltas:
            score.add_(delta)
        elect(score, sign)
        mixed.zero_()
        divisor.zero_()
        for delta, weight in zip(deltas, weights, strict=True):
            # As in a vote: what agrees is above 0 in the elected direction.
            agreeing = delta.mul_(sign).clamp_min_(0.0)
            mixed.add_(agreeing, alpha=weight)
            divisor.add_(agreeing.sign_(), alpha=weight)
        return work.base(start, stop).add_(mixed.mul_(sign).div_(divisor.clamp_(min=1e-6)))

    return at


def _selected(work: Work, band: Band, start: int, stop: int) -> list[torch.Tensor]:
    deltas = list(work.changes(start, stop))
    if band != Band():
        variance = _variance(deltas)
        thin(variance, band, start, torch.empty_like(variance))
        for delta in deltas:
            delta.mul_(variance != 0)
    return deltas


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
