"""Which entries of a task vector stay: those between two places in their order by magnitude, equal magnitudes told apart by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Edge:
    """A place in the order of all entries by magnitude. Entries of magnitude ``at`` lie below it up to index ``split`` and above it
    from there on (``early`` false), or the other way round (``early`` true)."""

    at: float
    split: int
    early: bool = False


@dataclass(frozen=True)
class Band:
    """Entries above ``low`` and not above ``high``; null is no bound."""

    low: Edge | None = None
    high: Edge | None = None


NOTHING = Band(high=Edge(0.0, 0))


def thin(delta: torch.Tensor, band: Band, start: int, spare: torch.Tensor) -> None:
    """Set to 0, in place, what lies outside ``band``: entries number ``start`` and on, (n,) float32. ``spare`` is scratch of that shape.

    By hard shrinkage, one vectorised pass a bound: x where |x| > λ. What is not a number stays so, and the merge is refused.
    """
    if band.high is not None:
        _shrink(delta, band.high, start, spare)
        # Above the upper bound spare is delta itself, elsewhere 0: exact.
        if band.low is not None:
            _shrink(delta, band.low, start, delta)
        delta.sub_(spare)
    elif band.low is not None:
        _shrink(delta, band.low, start, delta)


def _shrink(delta: torch.Tensor, edge: Edge, start: int, out: torch.Tensor) -> None:
    cut = min(max(edge.split - start, 0), delta.numel())
    # "At least the value" is "more than the float just below it"; for 0 both leave what is 0 at 0.
    below = max(0.0, float(np.nextafter(np.float32(edge.at), np.float32(-1.0))))
    before, after = (below, edge.at) if edge.early else (edge.at, below)
    for piece, bound in ((slice(0, cut), before), (slice(cut, None), after)):
        if delta[piece].numel():
            torch.hardshrink(delta[piece], bound, out=out[piece])
