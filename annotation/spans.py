"""Places in a text: where a typed quotation stands."""

import re


def find(text: str, quote: str) -> tuple[int, int] | None:
    """Where a quotation first stands in `text`, white space aside, as (start, end) in code points; None when it stands nowhere."""
    words = quote.split()
    if not words:
        return None
    found = re.search(r"\s+".join(map(re.escape, words)), text)
    return None if found is None else (found.start(), found.end())
