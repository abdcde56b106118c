"""Places in a text: where a typed quotation stands."""

import re
from bisect import bisect_right

_WORD = re.compile(r"\S+")


def find(text: str, quote: str) -> tuple[int, int] | None:
    """Where a quotation first stands in `text`, white space aside, as (start, end) in code points; None when it stands nowhere."""
    wanted = " ".join(_WORD.findall(quote))
    words = list(_WORD.finditer(text))
    # Both with single spaces: a plain search is fast on any text, which a pattern is not.
    plain = " ".join(word.group() for word in words)
    at = plain.find(wanted) if wanted else -1
    if at < 0:
        return None
    starts, reached = [], 0
    for word in words:
        starts.append(reached)
        reached += word.end() - word.start() + 1

    def place(index: int) -> int:
        number = bisect_right(starts, index) - 1
        return words[number].start() + index - starts[number]

    return place(at), place(at + len(wanted) - 1) + 1
