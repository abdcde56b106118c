"""Tagged sentences (CoNLL, IOB): a token and its tag on a line, parted by a tab; a blank line between sentences."""

from collections.abc import Iterator
from typing import IO, Any

from annotation.reading import jsonl
from annotation.reading.limits import LIMITS, Limits
from annotation.records import Problems, Row

MAX_TOKENS = 5_000


def rows(file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(line on which a sentence begins, {"text", "tokens", "tags", "entities", "labels"}): the text is the tokens parted by spaces."""
    tokens: list[str] = []
    tags: list[str] = []
    begins = 1
    for number, line in enumerate(jsonl.whole_lines(file, problems, digest, limits), start=1):
        bare = line.removesuffix("\n").removesuffix("\r")
        if not bare.strip(jsonl.WHITE):
            if tokens:
                yield begins, _sentence(tokens, tags)
            tokens, tags = [], []
            continue
        if not tokens:
            begins = number
        cells = bare.split("\t")
        tag = cells[-1]
        if len(cells) < 2 or not cells[0] or not (tag == "O" or tag[:2] in ("B-", "I-")):
            problems.add(number, "", "A token, a tab and a tag (O, B-…, I-…) are expected.", "import.iob")
            continue
        if len(tokens) == MAX_TOKENS:
            problems.add(number, "", f"The sentence has more than {MAX_TOKENS:,} tokens.", "import.iob")
            return
        tokens.append(cells[0])
        tags.append(tag)
    if tokens:
        yield begins, _sentence(tokens, tags)


def _sentence(tokens: list[str], tags: list[str]) -> Row:
    entities: list[str] = []
    labels: list[str] = []
    before = "O"
    for token, tag in zip(tokens, tags, strict=True):
        if tag != "O":
            if tag.startswith("I-") and before[2:] == tag[2:]:
                entities[-1] += f" {token}"
            else:
                entities.append(token)
                labels.append(tag[2:])
        before = tag
    return {"text": " ".join(tokens), "tokens": tokens, "tags": tags, "entities": entities, "labels": labels}
