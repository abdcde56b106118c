"""Passages that texts share: against every run compared with every other, in any batches, and in little memory."""

import random
import re
import tracemalloc
from collections.abc import Iterator

import pytest

from training.synthesis import passages


def runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[at : at + 13]) for at in range(len(words) - 12)}


def by_hand(texts: list[str], others: list[str], share: float) -> set[int]:
    found = set()
    for place, text in enumerate(texts):
        for other in others:
            mine, theirs = runs(text), runs(other)
            if min(len(mine), len(theirs)) > 0 and len(mine & theirs) >= max(1.0, share * min(len(mine), len(theirs))):
                found.add(place)
    return found


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("at_once", [1, 400, 1_000_000])
def test_it_finds_what_comparing_all_with_all_finds(share: float, at_once: int) -> None:
    chance = random.Random(share)
    vocabulary = [f"w{number}" for number in range(400)]
    others = [" ".join(chance.choices(vocabulary, k=chance.randrange(5, 120))) for _ in range(40)]
    texts = []
    for other in others:
        words = other.split()
        kept = words[: round(len(words) * chance.random())]
        around = chance.choices(vocabulary, k=chance.randrange(60))
        texts.append(" ".join([*around, *kept, *around]))
    found = passages.holders(texts, others, share=share, at_once=at_once)
    assert found == by_hand(texts, others, share)
    assert 5 < len(found) < 40


def test_punctuation_case_and_wrapping_hide_no_passage() -> None:
    text = "The patient, a man of 61, has had a cough for 3 weeks; no fever was measured at home."
    asked = [f'{{"note": "{text.upper()}"}}', text.replace(",", " ,").replace(" ", "  "), "The patient, a man of 61, has had a cough."]
    assert passages.holders(asked, [text]) == {0, 1}
    assert passages.holders([], [text]) == passages.holders([text], []) == passages.holders(["", "a b"], ["", "a b"]) == set()


def test_held_out_texts_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three hundred thousand words that go by, no more is held than of one stretch: all of their runs would take 2.4 MB and more."""
    monkeypatch.setattr(passages, "STRETCH", 2_000)
    vocabulary = [f"w{number}" for number in range(300)]

    class Others:
        def __iter__(self) -> Iterator[str]:
            chance = random.Random(1)
            for _ in range(300):
                yield " ".join(chance.choices(vocabulary, k=1000))

    texts = [" ".join(text.split()[500:560]) for text in Others()]
    tracemalloc.start()
    found = passages.holders(texts, Others())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == set(range(300))
    assert peak < 1_200_000
