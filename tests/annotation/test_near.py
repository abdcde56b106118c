"""Near-duplicates: what is found, what is missed, and what it costs in memory."""

import random
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from annotation import near

TALK = """patient reports severe mild chest abdominal pain cough fever for days weeks denies nausea vomiting history of diabetes asthma
hypertension takes metformin lisinopril aspirin daily blood pressure pulse regular clear lungs soft abdomen plan review discharge follow
up clinic ward nurse noted wound dry dressing changed oxygen saturation stable improved worsened overnight slept eating drinking well
family informed consent given risk explained imaging showed fracture opacity nodule effusion consistent with pneumonia infection
treated antibiotics allergy penicillin rash resolved weight loss gain ankle oedema reduced furosemide potassium sodium creatinine"""
WORDS = TALK.split()


def note(chance: random.Random, words: int = 50) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def changed(chance: random.Random, text: str, words: int) -> str:
    """The text with so many of its words replaced by others."""
    cut = text.split()
    for place in chance.sample(range(len(cut)), words):
        cut[place] = chance.choice(WORDS)
    return " ".join(cut)


def test_it_finds_a_copy_with_another_figure_and_leaves_another_patient_alone() -> None:
    one = "Mrs A, 71, was seen on the ward after a new hip. She walks with a frame, and her wound is dry. "
    one += "Metformin 500 mg stays, and amlodipine is stopped. Review in two weeks."
    texts = {
        "first": one,
        "another dose": one.replace("500", "850"),
        "shouted": one.upper().replace(" ", "\n "),
        "another patient": "Mr B, 44, was seen in clinic after his knee was scoped. He walks without help, and his wound weeps.",
    }
    assert near.groups(list(texts), list(texts.values())) == [["first", "another dose", "shouted"]]


def test_it_measures_what_is_found_and_what_is_joined_wrongly() -> None:
    """Recall of pairs at least 0.9 alike is above 0.99, and no joined pair is below: against every pair compared exactly."""
    chance = random.Random(1)
    texts: list[str] = []
    for _ in range(50):
        text = note(chance)
        texts += [text, *(changed(chance, text, words) for words in (1, 2, 3, 4))]
    runs = [near._runs(near.plain(text)) for text in texts]
    truth = {pair for pair in combinations(range(len(texts)), 2) if near._alike(runs[pair[0]], runs[pair[1]]) >= 0.9}
    assert 50 < len(truth) < 250
    found = near.groups(range(len(texts)), texts)
    joined = {pair for members in found for pair in combinations(members, 2)}
    assert len(truth & joined) / len(truth) > 0.99
    # A group is a chain: its ends may be less alike, but every member has a neighbour in it.
    assert all(any((min(a, b), max(a, b)) in truth for b in members if b != a) for members in found for a in members)

    # A stream's index estimates: right but for pairs within its standard error of the threshold.
    index: near.Index[int] = near.Index()
    index.add_many(range(len(texts)), texts)
    told = {(min(a, b), max(a, b)) for a, text in enumerate(texts) for b, _ in index.ask(text) if a != b}
    assert len(told & truth) / len(truth) > 0.8
    assert all(near._alike(runs[a], runs[b]) > 0.8 for a, b in told)


def test_signatures_tell_how_alike_texts_are() -> None:
    chance = random.Random(2)
    errors = []
    for _ in range(200):
        text = note(chance, 60)
        other = changed(chance, text, chance.randrange(0, 30))
        one, two = near.signatures([text, other])
        errors.append(float(near.likeness(one, two)) - near.jaccard(text, other))
    assert abs(float(np.mean(errors))) < 0.01
    assert float(np.std(errors)) < 0.045


def test_a_text_has_the_same_signature_everywhere_and_in_any_company() -> None:
    texts = ["", "a", "Fever.", "Überweisung wegen Fieber 発熱", note(random.Random(3))]
    together = near.signatures(texts)
    assert all((near.signatures([text])[0] == signed).all() for text, signed in zip(texts, together, strict=True))
    assert together[:, 0].tolist() == [2708304529, 1476537188, 3537903742, 1653677439, 133334549]


def test_short_and_empty_texts_are_compared_like_others() -> None:
    assert near.groups("abcdef", ["", "No.", " no. ", "Yes.", "", "発熱"]) == [["a", "e"], ["b", "c"]]
    assert near.jaccard("", " ") == 1
    assert near.groups([], []) == []
    assert near.signatures([]).shape == (0, 128)


def test_a_stream_admits_what_is_new_and_names_what_it_resembles() -> None:
    chance = random.Random(4)
    index: near.Index[str] = near.Index(threshold=0.8)
    text = note(chance, 80)
    assert index.admit("first", text) is None
    assert index.admit("second", note(chance, 80)) is None
    assert index.admit("copy", changed(chance, text, 1)) == "first"
    assert len(index) == 2


def test_an_index_answers_the_same_loose_and_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    texts = [note(chance, 12) for _ in range(300)]
    loose: near.Index[int] = near.Index()
    loose.add_many(range(300), texts)
    monkeypatch.setattr(near, "LOOSE", 16)
    settled: near.Index[int] = near.Index()
    settled.add_many(range(300), texts)
    assert settled._sorted
    assert not loose._sorted
    asked = [changed(chance, text, chance.randrange(2)) for text in texts]
    assert settled.ask_many(asked) == loose.ask_many(asked)
    assert all(settled.ask(text)[0] == (number, 1.0) for number, text in enumerate(texts))


def test_thousands_of_copies_are_one_group_without_comparing_all_with_all() -> None:
    chance = random.Random(6)
    text = note(chance)
    texts = [f"{text} Bed {number}." for number in range(500)]
    assert [len(members) for members in near.groups(range(500), texts)] == [500]


def test_memory_stays_within_what_the_module_says(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    monkeypatch.setattr(near, "STRETCH", 50_000)
    monkeypatch.setattr(near, "LOOSE", 512)
    texts = [note(chance, 40) for _ in range(1024)]
    tracemalloc.start()
    signed = near.signatures(texts)
    assert tracemalloc.get_traced_memory()[1] < signed.nbytes + 100 * near.STRETCH
    tracemalloc.reset_peak()
    index: near.Index[int] = near.Index()
    before = tracemalloc.get_traced_memory()[0]
    index.add_many(range(1024), texts)
    # 512 bytes of signature, half of it again for growing, 16 bands of 12 bytes, and the name.
    assert tracemalloc.get_traced_memory()[0] - before < 1024 * 1100
    tracemalloc.stop()


def test_a_threshold_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="between"):
        near.groups([1], ["a"], threshold=0.2)
    with pytest.raises(ValueError, match="2 texts"):
        near.groups([1], ["a", "b"])
