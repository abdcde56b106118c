"""The operators, one tensor at a time. Formulas: arXiv 2505.10717 section 3.1.3 and the works it builds on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

COLINEAR = 0.9995
TINY = 1e-8


def slerp(t: float, base: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation of two tensors of any one shape, each taken as one vector; t = 0 is ``base``.

    The angle comes from the normalised vectors, the mixture is of the vectors as they are. Nearly colinear ones
    (|cos| > 0.9995, usual for an expert and its base) are mixed linearly. float32 in and out.
    """
    assert base.shape == expert.shape
    assert 0 <= t <= 1
    a, b = base.float().reshape(-1), expert.float().reshape(-1)
    cosine = float(torch.dot(_unit(a), _unit(b)).clamp(-1, 1))
    if abs(cosine) > COLINEAR:
        return ((1 - t) * a + t * b).view_as(base)
    angle = torch.acos(torch.tensor(cosine, dtype=torch.float32))
    mixed = torch.sin((1 - t) * angle) / torch.sin(angle) * a + torch.sin(t * angle) / torch.sin(angle) * b
    return mixed.view_as(base)


def _unit(vector: torch.Tensor) -> torch.Tensor:
    norm = vector.norm()
    return vector / norm if norm > TINY else vector


def breadcrumbs(delta: torch.Tensor, density: float, gamma: float) -> torch.Tensor:
    """Keep the middle of a task vector by magnitude: without the int(gamma N) largest and the smallest below them, so
    that int(density N) entries stay (Davari and Belilovsky 2023, counted over the whole tensor as mergekit does).

    When both shares do not fit, the large end gives way. Density 1 keeps all. Equal magnitudes: the earlier is smaller.
    """
    assert 0 < density <= 1
    assert gamma >= 0
    if density >= 1:
        return delta
    n = delta.numel()
    keep, top = int(density * n), int(gamma * n)
    bottom = n - keep - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    order = delta.abs().reshape(-1).float().sort(stable=True).indices
    mask = torch.zeros(n, dtype=delta.dtype)
    mask[order[bottom : n - top]] = 1  # n - top and not -top, which is empty for top = 0
    return delta * mask.view_as(delta)


def ties_vote(deltas: Sequence[torch.Tensor], weights: Sequence[float], *, normalize: bool) -> torch.Tensor:
    """Elect one sign an entry by the weighted sum (0 counts as positive) and add up only what agrees with it.

    ``normalize`` divides by the sum of agreeing weights (1 where nothing agrees). Yadav et al. 2023, weighted.
    """
    weighted = torch.stack([weight * delta.float() for weight, delta in zip(weights, deltas, strict=True)])
    sign = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agrees = torch.sign(weighted) == sign
    merged = (weighted * agrees).sum(0)
    if not normalize:
        return merged
    scale = torch.tensor(list(weights)).view(-1, *[1] * (weighted.dim() - 1))
    divisor = (scale * agrees).sum(0)
    return merged / torch.where(divisor.abs() < TINY, torch.ones_like(divisor), divisor)


def breadcrumbs_ties(
    base: torch.Tensor, experts: Sequence[torch.Tensor], weights: Sequence[float], *, density: float, gamma: float,
    normalize: bool = False, scale: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """base + scale * ties_vote(breadcrumbs(expert - base)), in float32. MediPhi's released merge uses this operator."""
    deltas = [breadcrumbs(expert.float() - base.float(), density, gamma) for expert in experts]
    return base.float() + scale * ties_vote(deltas, weights, normalize=normalize)
