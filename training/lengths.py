"""How long the pairs of a snapshot are for a model: counted once, since neither of the two ever changes."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import fmean

from annotation import snapshot_rows
from annotation.models import Snapshot, Split
from modelhub import tokens
from modelhub.models import ModelVersion

# Pairs whose tokens are counted: seconds for long notes, once; the engine counts all of them before it trains.
COUNTED = 2000


@dataclass(frozen=True)
class Lengths:
    """Tokens of the pairs of a train split, in its order, at most COUNTED: of prompt, chosen and rejected."""

    pairs_of: tuple[tuple[int, int, int], ...]
    estimated: bool

    @property
    def pairs(self) -> int:
        return len(self.pairs_of)

    @cached_property
    def _longest(self) -> tuple[int, int]:
        return max(((prompt + max(chosen, rejected), prompt) for prompt, chosen, rejected in self.pairs_of), default=(0, 0))

    @property
    def longest(self) -> int:
        """Tokens of the longest pair's longer side, prompt included."""
        return self._longest[0]

    @property
    def prompt(self) -> int:
        """Tokens of that pair's prompt."""
        return self._longest[1]

    @cached_property
    def mean(self) -> float:
        """Tokens a pair, its prompt counted on both sides."""
        return fmean(2 * prompt + chosen + rejected for prompt, chosen, rejected in self.pairs_of) if self.pairs_of else 0.0

    @cached_property
    def chosen_longer(self) -> float:
        """Share of pairs whose chosen answer is the longer one, equal ones counted half."""
        if not self.pairs_of:
            return 0.5
        return fmean(1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0 for _, chosen, rejected in self.pairs_of)

    def over(self, limit: int) -> int:
        """Pairs with a side above `limit` tokens."""
        return sum(prompt + max(chosen, rejected) > limit for prompt, chosen, rejected in self.pairs_of)


def of(snapshot: Snapshot, policy: ModelVersion) -> Lengths:
    """By the model's own tokenizer; where the package is not installed, about three characters a token, and `estimated`."""
    return _of(snapshot.pk, snapshot.digest, policy.artifact.digest, tokens.file_of(policy))


@lru_cache(maxsize=32)
def _of(snapshot: int, rows_digest: str, model_digest: str, tokenizer: str) -> Lengths:
    counter = tokens.counter(tokenizer)
    found = []
    for row in snapshot_rows.training_rows(Snapshot.objects.get(pk=snapshot), Split.TRAIN):
        prompt, chosen, rejected = (
            sum(counter.count(turn["content"]) + tokens.A_TURN for turn in row[part]) for part in ("prompt", "chosen", "rejected")
        )
        found.append((prompt, chosen, rejected))
        if len(found) == COUNTED:
            break
    return Lengths(tuple(found), estimated=counter.estimated)
