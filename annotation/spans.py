"""Places in a text: sentences to walk through by key, and where a typed quotation stands."""

import re
from dataclasses import dataclass
from itertools import pairwise

from web.templatetags.rounds import visible

# A sentence ends at a line end, or at a stop that something new follows; not inside "1.5 mg", "e.g." or an initial.
_END = re.compile(r"\n+|(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[^\W\d_a-z]|\d|[-*•\"“(\[])|(?<=[。！？])")
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|vs|Dr|Mr|Mrs|Ms|Prof|St|No|approx|ca|resp|Fig|cf)|\b[A-Z])\.\s+\Z")
_MAX_SENTENCES = 2_000


@dataclass(frozen=True)
class Sentence:
    """Code points `start` ≤ i < `end` of a text. `shown` is what a page shows of them, `plain` whether that is the text itself."""

    start: int
    end: int
    shown: str
    plain: bool


def sentences(text: str) -> list[Sentence]:
    """The text cut into sentences that follow each other without a gap, line ends and spaces with the sentence before them.

    Beyond 2,000 sentences the rest is one: nobody walks that far.
    """
    cuts = [0]
    for found in _END.finditer(text):
        if found.end() == cuts[-1] or _ABBREVIATED.search(text, cuts[-1], found.end()):
            continue
        if len(cuts) == _MAX_SENTENCES:
            break
        cuts.append(found.end())
    if cuts[-1] != len(text) or not text:
        cuts.append(len(text))
    made = []
    for start, end in pairwise(cuts):
        part = text[start:end]
        shown = visible(part)
        made.append(Sentence(start, end, shown, shown == part))
    return made


def find(text: str, quote: str) -> tuple[int, int] | None:
    """Where a quotation first stands in `text`, white space aside, as (start, end) in code points; None when it stands nowhere."""
    words = quote.split()
    if not words:
        return None
    found = re.search(r"\s+".join(map(re.escape, words)), text)
    return None if found is None else (found.start(), found.end())
