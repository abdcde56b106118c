"""UMLS-F1 over a house's own UMLS: which concepts an answer names, against which the gold names. Standard library only.

A concept is named where the words of one of its English terms stand in a text, the longest term first. CLUE finds spans with scispaCy's
model and links each to the concept whose name is nearest by character trigrams; that forgives spelling and inflection, and ours does not
(docs/evaluation.md). No text is kept: what is read of MRCONSO.RRF are the terms that stand in the texts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from training.engine.clue.scorers import f1
from training.engine.errors import InputError

NAMES = ("umls_precision", "umls_recall", "umls_f1")
# Terms of more words than this are definitions and product descriptions.
MOST_WORDS = 8
# Columns of MRCONSO.RRF (UMLS Reference Manual, 3.3.4): concept, language, the term itself, whether it is suppressed.
CUI, LANGUAGE, STRING, SUPPRESSED, COLUMNS = 0, 1, 14, 16, 18
WHERE = (
    "UMLS is given out by the US National Library of Medicine, free of charge, after a licence: https://www.nlm.nih.gov/research/umls/ "
    "(MRCONSO.RRF of a full or subset release)"
)
# English words that UMLS has as terms of something (IN for Indiana, WAS for Wiskott-Aldrich), and that hardly ever mean it.
_WORDS = (
    "am an as at be by do go he if in is it me my no of on or so to up us we "
    "about after all also and any are because been before being both but can could did does doing during each few for from had has have "
    "having her here him his how into its just more most nor not now off once only other our out over own same she should some such than "
    "that the their them then there these they this those through too under until very was were what when where which while who whom why "
    "will with would you your"
)
WORDS = frozenset(_WORDS.split())
CHECKED_EVERY = 100_000


class BadUmls(InputError):
    """The file is not there, or is no MRCONSO.RRF."""

    code = "bad_umls"


def check(path: Path) -> None:
    """Whether a file begins as MRCONSO.RRF does. Raises ``BadUmls``."""
    try:
        with path.open("rb") as stream:
            first = stream.readline()
    except OSError as problem:
        raise BadUmls(f"the UMLS file cannot be read ({type(problem).__name__}). {WHERE}") from None
    if first.count(b"|") < COLUMNS:
        raise BadUmls(f"the UMLS file does not begin with a row of {COLUMNS} columns, each followed by a bar. {WHERE}")


def words(text: str) -> tuple[str, ...]:
    """A text's words: compatibility forms unfolded, case and all between letters and digits left out."""
    return tuple(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))


def is_term(said: Sequence[str]) -> bool:
    """Whether words can stand for a concept: a single one needs two characters, a letter among them, and must not be a mere word."""
    if len(said) > 1:
        return len(said) <= MOST_WORDS and any(not one.isdigit() for one in said)
    return bool(said) and len(said[0]) > 1 and not said[0].isdigit() and said[0] not in WORDS


class Concepts:
    """Concepts by the words of their terms, of those terms that stand in ``texts``.

    A term of several concepts is the one that most rows give it to, the lowest number of those: it is the meaning most vocabularies have.
    Raises ``BadUmls``.
    """

    def __init__(self, path: Path, texts: Iterable[str], *, going: Callable[[], None] = lambda: None) -> None:
        check(path)
        wanted = {one for text in texts for one in _runs(words(text))}
        counted: dict[tuple[str, ...], Counter[str]] = {}
        whole, number = hashlib.sha256(), 0
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if number % CHECKED_EVERY == 0:
                    going()
                whole.update(line)
                if b"|ENG|" not in line:
                    continue
                fields = line.decode("utf-8", errors="replace").split("|")
                if len(fields) <= COLUMNS:
                    raise BadUmls(f"line {number} of the UMLS file has fewer than {COLUMNS} columns")
                if fields[LANGUAGE] == "ENG" and fields[SUPPRESSED] == "N" and (said := words(fields[STRING])) in wanted:
                    counted.setdefault(said, Counter())[fields[CUI]] += 1
        self.by_term: Mapping[tuple[str, ...], str] = {
            said: min(cuis, key=lambda cui, cuis=cuis: (-cuis[cui], cui)) for said, cuis in counted.items()  # type: ignore[misc]
        }  # fmt: skip
        self.settings = {"sha256": whole.hexdigest(), "rows": number, "matching": "longest term, whole words"}

    def named(self, text: str) -> set[str]:
        """The concepts a text names: from its first word on the longest term, then from the word after it."""
        said, place, found = words(text), 0, set()
        while place < len(said):
            length = next((n for n in range(min(MOST_WORDS, len(said) - place), 0, -1) if said[place : place + n] in self.by_term), 0)
            if length:
                found.add(self.by_term[said[place : place + length]])
            place += length or 1
        return found

    def scores(self, answer: str, gold: str) -> tuple[float, float, float]:
        """(precision, recall, F1) of two texts' concepts; 0 where one of them names none, as CLUE counts it."""
        found, wanted = self.named(answer), self.named(gold)
        if not found or not wanted:
            return 0.0, 0.0, 0.0
        shared = len(found & wanted)
        return shared / len(found), shared / len(wanted), f1(found, wanted)


def _runs(said: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Every run of words that may be a term."""
    for start in range(len(said)):
        for length in range(1, min(MOST_WORDS, len(said) - start) + 1):
            if is_term(run := said[start : start + length]):
                yield run
