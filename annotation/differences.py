"""Word differences: two texts side by side, and an edit as tracked changes. Values in, values out.

Words are compared without the white space after them, so that a new line end is no difference; every text can be put together again from
its segments, to the character. Junk heuristics are off: what difflib takes for junk in a long text may be the one word that matters.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeAlias

SAME, REMOVED, ADDED = "same", "removed", "added"
# Beyond this many words a side, lines are compared first, and words only within lines that differ.
MAX_WORDS = 4_000
# Equal words of both sides that the matcher may have to look at. Texts of one word over and over pass it and are compared coarsely.
MAX_WORK = 400_000

# A word with its inner stops ("1.5", "co-amoxiclav", "130/80"), a character of a script without spaces, or a punctuation mark; and the
# white space after it. White space at the very beginning belongs to the first.
_WORD = re.compile(r"(?:\A\s+)?(?:[\u3040-\u30ff\u3400-\u9fff]|\w+(?:[.,:/’'-]\w+)*|[^\w\s])\s*")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

# (equal, i1, i2, j1, j2): words i1…i2 of the first text stand against words j1…j2 of the second.
Block: TypeAlias = tuple[bool, int, int, int, int]


@dataclass(frozen=True)
class Segment:
    """A run of text with one `mark`: "same", "removed" (only in the first text) or "added" (only in the second)."""

    text: str
    mark: str

    @property
    def words(self) -> str:
        """The run without the white space after it, which no page need mark."""
        return self.text.rstrip()

    @property
    def gap(self) -> str:
        return self.text[len(self.words) :]


@dataclass(frozen=True)
class Difference:
    """Two texts marked where they differ. `left` and `right` put together are the texts; `share` of the words, 0…1, is the same."""

    left: tuple[Segment, ...]
    right: tuple[Segment, ...]
    share: float
    coarse: bool


@dataclass(frozen=True)
class Changes:
    """An edit as tracked changes: one sequence of segments; words and punctuation marks taken out and put in."""

    segments: tuple[Segment, ...]
    removed: int
    added: int

    @property
    def words(self) -> int:
        return self.removed + self.added


def difference(a: str, b: str) -> Difference:
    """How two texts differ, word by word."""
    words_a, words_b = words(a), words(b)
    blocks = list(_blocks(words_a, words_b))
    same = sum(i2 - i1 for equal, i1, i2, _, _ in blocks if equal)
    left = _joined((words_a[i1:i2], SAME if equal else REMOVED) for equal, i1, i2, _, _ in blocks)
    right = _joined((words_b[j1:j2], SAME if equal else ADDED) for equal, _, _, j1, j2 in blocks)
    most = max(len(words_a), len(words_b))
    return Difference(left, right, same / most if most else 1.0, _is_long(words_a, words_b))


def changes(before: str, after: str) -> Changes:
    """What an edit of `before` to `after` took out and put in."""
    old, new = words(before), words(after)
    parts: list[tuple[Sequence[str], str]] = []
    removed = added = 0
    for equal, i1, i2, j1, j2 in _blocks(old, new):
        if equal:
            parts.append((new[j1:j2], SAME))
            continue
        removed, added = removed + i2 - i1, added + j2 - j1
        parts += [(old[i1:i2], REMOVED), (new[j1:j2], ADDED)]
    return Changes(_joined(parts), removed, added)


def words(text: str) -> list[str]:
    """The text cut into words, each with the white space after it; joined they are the text."""
    found = _WORD.findall(text)
    return found if found or not text else [text]


def _joined(parts: Iterator[tuple[Sequence[str], str]] | Sequence[tuple[Sequence[str], str]]) -> tuple[Segment, ...]:
    return tuple(Segment("".join(run), mark) for run, mark in parts if run)


def _is_long(a: Sequence[str], b: Sequence[str]) -> bool:
    return max(len(a), len(b)) > MAX_WORDS or not _is_cheap(_keys(a), _keys(b))


def _keys(run: Sequence[str]) -> list[str]:
    return [word.strip() for word in run]


def _is_cheap(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether every equal pair of words of both sides can be looked at."""
    counted = Counter(b)
    return sum(count * counted[key] for key, count in Counter(a).items()) <= MAX_WORK


def _blocks(a: Sequence[str], b: Sequence[str]) -> Iterator[Block]:
    """Blocks in order that cover both sides: equal runs, and what stands between them."""
    keys_a, keys_b = _keys(a), _keys(b)
    if not _is_long(a, b):
        yield from _matched(keys_a, keys_b, 0, 0)
        return
    lines_a, lines_b = _lines(a), _lines(b)
    whole_a, whole_b = (["".join(keys[start:end]) for start, end in lines] for keys, lines in ((keys_a, lines_a), (keys_b, lines_b)))
    if not _is_cheap(whole_a, whole_b):
        # The same line over and over: nothing is gained by finding which of them are equal.
        yield from _ends_only(keys_a, keys_b)
        return
    for equal, i1, i2, j1, j2 in _matched(whole_a, whole_b, 0, 0):
        at_a, at_b = _extent(lines_a, i1, i2, len(a)), _extent(lines_b, j1, j2, len(b))
        part_a, part_b = keys_a[slice(*at_a)], keys_b[slice(*at_b)]
        if not equal and part_a and part_b and max(len(part_a), len(part_b)) <= MAX_WORDS and _is_cheap(part_a, part_b):
            yield from _matched(part_a, part_b, at_a[0], at_b[0])
        else:
            yield (equal, *at_a, *at_b)


def _matched(a: Sequence[str], b: Sequence[str], from_a: int, from_b: int) -> Iterator[Block]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield tag == "equal", from_a + i1, from_a + i2, from_b + j1, from_b + j2


def _ends_only(a: Sequence[str], b: Sequence[str]) -> Iterator[Block]:
    """What both begin and end with is equal; all between is not."""
    most = min(len(a), len(b))
    head = next((n for n in range(most) if a[n] != b[n]), most)
    tail = next((n for n in range(most - head) if a[-1 - n] != b[-1 - n]), most - head)
    yield True, 0, head, 0, head
    yield False, head, len(a) - tail, head, len(b) - tail
    yield True, len(a) - tail, len(a), len(b) - tail, len(b)


def _lines(run: Sequence[str]) -> list[tuple[int, int]]:
    """Words start…end of each line: a line ends with the word after which a line end stands."""
    ends = [number for number, word in enumerate(run, start=1) if "\n" in word]
    if not ends or ends[-1] != len(run):
        ends.append(len(run))
    return list(zip([0, *ends], ends, strict=False))


def _extent(lines: Sequence[tuple[int, int]], first: int, last: int, size: int) -> tuple[int, int]:
    """The words of lines first…last."""
    if first == last:
        at = lines[first][0] if first < len(lines) else size
        return at, at
    return lines[first][0], lines[last - 1][1]
