"""Which token comes next: drawn so that a prompt, a sample number and a seed give one text, whatever else is in the batch.

Two things could make a text depend on its batch. *The draw*: here every sample has a counter-based stream of its own (Philox,
Salmon et al. 2011), keyed by seed, prompt and sample number, of which the s-th token takes the s-th block. *The arithmetic*:
a row's logits differ by 1e-6 to 1e-5 with batch size and padding, because sums are taken in another order. Tokens are drawn as
the winner of an exponential race (the Gumbel trick), where logits that moved by d change the winner with probability 2 d at
most; and a race won by less than ``MARGIN``, or over who is allowed to run in it, is called undecided. Whoever draws runs an
undecided race again on logits computed for that row alone, which are the same in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

# In logits of float32. Batches were seen to differ by 1e-6, and by 1e-5 with weights three times as large (docs/generation.md).
MARGIN = 2e-4


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen. ``temperature`` 0 is greedy. ``top_k`` 0 and ``top_p`` 1 leave all tokens in; of both, the first
    is taken first. A token that ends an answer is forbidden before ``min_new_tokens``."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_new_tokens: int = 0


class Stream:
    """One sample's own random numbers: a block of ``size`` for each token, in order."""

    def __init__(self, *, seed: int, prompt: Sequence[int], number: int, size: int) -> None:
        key = blake2b(repr((seed, number)).encode() + np.asarray(prompt, dtype="<i8").tobytes(), digest_size=16).digest()
        self._philox = np.random.Philox(key=np.frombuffer(key, dtype="<u8"))
        self._size = size

    def block(self) -> np.ndarray[Any, Any]:
        """``size`` 64-bit numbers. ``random_raw`` is Philox itself, which no version of numpy may change."""
        return self._philox.random_raw(self._size)


def exponentials(raw: np.ndarray[Any, Any]) -> torch.Tensor:
    """64 random bits each → variates of the unit exponential distribution, float64, never 0 and never infinite."""
    return -torch.from_numpy(((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53).log()


def choose(
    logits: torch.Tensor, how: Sampling, noise: torch.Tensor | None = None, margin: float = MARGIN
) -> tuple[torch.Tensor, torch.Tensor]:
    """(token, decided) a row of ``logits`` [rows, vocabulary]; ``noise`` [rows, vocabulary] are exponentials, unless greedy.

    The winner of argmin(noise / p) is distributed as p. ``decided`` is False where logits that differ by ``margin`` / 2
    anywhere could choose another token.
    """
    scores, possible, certain = logits.double(), None, None
    if how.temperature > 0:
        assert noise is not None
        scores = scores / how.temperature
        margin = margin / how.temperature
        if how.top_k or how.top_p < 1:
            possible, certain = _allowed(scores, how, margin)
            scores = scores.masked_fill(~possible, -math.inf)
        scores = scores - noise.log()
    (best, second), (winner, _) = (part.unbind(-1) for part in scores.topk(2))
    decided = best - second >= margin
    if certain is not None:
        decided &= certain.gather(-1, winner[:, None])[:, 0]
    return winner, decided


def _allowed(scores: torch.Tensor, how: Sampling, margin: float, head: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """(possible, certain): tokens within top-k and top-p if scores may be off by ``margin`` / 2 in their favour, and against.

    Top-p keeps the likeliest tokens up to the one that brings their sum to ``top_p`` (Holtzman et al. 2020). Only the ``head``
    likeliest are looked at, unless they turn out not to be enough.
    """
    head = min(max(head, 2 * how.top_k), scores.shape[-1])
    ordered, index = scores.topk(head)
    # How many tokens, itself among them, might stand before or beside each; and how many surely stand before it.
    beside = torch.searchsorted(-ordered, -ordered + margin, right=True)
    before = torch.searchsorted(-ordered, -ordered - margin, right=False)
    possible, certain = torch.ones_like(before, dtype=torch.bool), torch.ones_like(before, dtype=torch.bool)
    total = scores.logsumexp(-1, keepdim=True)
    if how.top_k:
        possible, certain = before < how.top_k, beside <= how.top_k
        if how.top_p < 1:
            # A tie at the k-th place changes what the shares are shares of, and with it who is certain of a place.
            certain &= possible.sum(-1, keepdim=True) <= how.top_k
            total = ordered.masked_fill(~possible, -math.inf).logsumexp(-1, keepdim=True)
    if how.top_p < 1:
        shares = (ordered - total).exp()
        sums = torch.nn.functional.pad(shares.cumsum(-1), (1, 0))
        possible &= sums.gather(-1, before) < how.top_p + margin
        certain &= sums.gather(-1, beside) - shares < how.top_p - margin
    possible[:, 0] = True  # the likeliest token always runs
    if head < scores.shape[-1] and possible[:, -1].any():
        return _allowed(scores, how, margin, scores.shape[-1])
    nothing = torch.zeros_like(scores, dtype=torch.bool)
    return nothing.scatter(-1, index, possible), nothing.scatter(-1, index, certain)
