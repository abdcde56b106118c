"""Random masks that depend on seed, expert and tensor alone: not on order, threads or chunks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

# A Philox counter yields four 64-bit words, which are eight draws of 32 bits.
BLOCK = 8


@dataclass(frozen=True)
class Stream:
    """The draws of one expert's tensor: Philox4x64-10 (Salmon et al. 2011) with a key hashed from the three names.

    ``expert`` is what identifies its weights, such as their digest, and not its place among the inputs.
    """

    seed: int
    expert: str
    tensor: str

    def draws(self, start: int, count: int) -> torch.Tensor:
        """32-bit draws number ``start`` and on, as int64 from 0 to 2**32 − 1, shape (count,)."""
        # Each name with its length, so that no two triples read the same.
        parts = (str(self.seed).encode(), self.expert.encode(), self.tensor.encode())
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        key = np.frombuffer(hashlib.blake2b(text, digest_size=16, person=b"rounds merge").digest(), dtype="<u8")
        skip = start % BLOCK
        words = np.random.Philox(key=key, counter=start // BLOCK).random_raw(-(-(skip + count) // 2))
        return torch.from_numpy(words.astype("<u8", copy=False).view("<u4")[skip : skip + count].astype(np.int64))

    def keep(self, chance: float | torch.Tensor, start: int, count: int) -> torch.Tensor:
        """A mask, shape (count,), True with probability ``chance`` (one number, or one an entry) to within 2**-32."""
        limit = torch.as_tensor(chance, dtype=torch.float64).mul(2.0**32).round().to(torch.int64)
        return self.draws(start, count) < limit
