"""Which pairs are worth a clinician's time: reasons to leave one out before anybody reads it, and how many ties to expect of the rest.

Values in, values out (product.md 2.8 and 2.9): two texts that are nearly the same end in a tie, one that was cut off or is no JSON where
JSON was asked for is judged for that and nothing else, and one much longer than the other is judged for its length.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from annotation import near, structure

NEAR, CUT, INVALID, UNEVEN = "near_identical", "truncated", "invalid_json", "uneven_length"
REASONS = {
    NEAR: "nearly the same text twice",
    CUT: "a text that was cut off",
    INVALID: "no valid JSON where JSON was asked for",
    UNEVEN: "one text much longer than the other",
}
# Nine runs of five characters in ten in common: what is left to prefer is a word. The snapshots' filter and lint ask the same.
ALIKE = near.THRESHOLD
# The longer text over the shorter, in characters.
LENGTH_RATIO = 1.5

# How often raters call two texts equally good or bad, by how alike the texts are: (from this likeness on, share of ties). Assumed until a
# house has judged pairs of its own, and counted as that many judgements of each class afterwards.
ASSUMED_TIES = ((0.0, 0.20), (0.5, 0.35), (0.7, 0.50), (ALIKE, 0.75))
ASSUMED_WEIGHT = 20


class Text(NamedTuple):
    """A text, and why it ended: "length" where it was cut off."""

    text: str
    finish_reason: str = ""


def alike(one: str, other: str) -> bool:
    """Whether two texts are nearly the same (ALIKE)."""
    shorter, longer = sorted((len(one), len(other)))
    # The share of runs in common is at most the share of lengths, but for white space.
    return (longer == 0 or 2 * shorter >= longer) and near.jaccard(one, other) >= ALIKE


def reason(one: Text, other: Text, *, output_format: str, leaving: Collection[str]) -> str:
    """The first of `leaving` that speaks against the pair, the cheapest to see first; "" for a pair that is worth it."""
    if CUT in leaving and "length" in (one.finish_reason, other.finish_reason):
        return CUT
    if INVALID in leaving and "json" in output_format.casefold() and not (_is_json(one.text) and _is_json(other.text)):
        return INVALID
    if UNEVEN in leaving and _uneven(len(one.text), len(other.text)):
        return UNEVEN
    return NEAR if NEAR in leaving and alike(one.text, other.text) else ""


def _is_json(text: str) -> bool:
    return structure.check(text).valid


def _uneven(one: int, other: int) -> bool:
    shorter, longer = sorted((one, other))
    return longer > LENGTH_RATIO * shorter


def tie_rate(pairs: Sequence[tuple[str, str]], judged: Iterable[tuple[str, str, bool]] = ()) -> float:
    """The share of `pairs` (two texts each) that will be called a tie, from 0 to 1, by their likeness.

    `judged`: (text, text, whether it was a tie) of pairs that raters have judged; without them only what is assumed speaks.
    Raises ValueError for no pairs.
    """
    if not pairs:
        raise ValueError("no pairs")
    ties = [share * ASSUMED_WEIGHT for _, share in ASSUMED_TIES]
    seen = [float(ASSUMED_WEIGHT)] * len(ASSUMED_TIES)
    for one, other, tied in judged:
        place = _class(one, other)
        ties[place] += tied
        seen[place] += 1
    shares = [tie / count for tie, count in zip(ties, seen, strict=True)]
    return sum(shares[_class(one, other)] for one, other in pairs) / len(pairs)


def _class(one: str, other: str) -> int:
    likeness = near.jaccard(one, other)
    return max(place for place, (begins, _) in enumerate(ASSUMED_TIES) if likeness >= begins)
