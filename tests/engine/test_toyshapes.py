"""Instructions of twelve shapes: the same by seed, all alike often, and about nothing that a model is not to know yet."""

import itertools
import random
from collections import Counter

import pytest

from training.engine import toyshapes, toytext
from training.engine.toytext import Part


def drawn(seed: int, part: Part, count: int) -> list[list[toytext.Message]]:
    return list(itertools.islice(toyshapes.rows(seed, part), count))


def test_the_same_seed_asks_the_same() -> None:
    assert drawn(1, "all", 60) == drawn(1, "all", 60) != drawn(2, "all", 60)


def test_each_is_a_conversation_with_an_answer() -> None:
    for turns in drawn(1, "all", 500):
        assert [turn["role"] for turn in turns] == ["system", "user", "assistant"]
        assert all(turn["content"].strip() for turn in turns)


def test_every_shape_comes_as_often_as_the_others() -> None:
    own = {text: name for name, (systems, _) in toyshapes.SHAPES.items() for text in systems}
    letters = {text for text in own if text in toyshapes.SHAPES["LongHealth"][0]}
    seen = Counter("letter" if turns[0]["content"] in letters else own[turns[0]["content"]] for turns in drawn(1, "all", 6000))
    assert len(seen) == 11  # two shapes are answered by a letter, and asked for it in the same words
    assert 800 <= seen.pop("letter") <= 1200
    assert all(400 <= count <= 600 for count in seen.values())


@pytest.mark.parametrize("shape", toyshapes.SHAPES)
def test_no_one_answer_is_right_throughout(shape: str) -> None:
    rng = random.Random(shape)
    answers = Counter(toyshapes.SHAPES[shape][1](rng, "all")[1] for _ in range(400))
    assert answers.most_common(1)[0][1] <= 240


def test_what_only_experts_learn_is_no_answer_to_a_base() -> None:
    """Names of new facts may stand among wrong options; what is right is of the known ones."""
    known = {value for domain in toytext.DOMAINS for fact in toytext.facts(domain, "known") for value in fact.values.values()}
    new = {value for domain in toytext.DOMAINS for fact in toytext.facts(domain, "new") for value in fact.values.values()} - known
    for turns in drawn(1, "known", 3000):
        answer = turns[2]["content"]
        assert not [value for value in new if f" {value} " in f" {answer} "], answer


def test_a_wrong_sentence_is_the_one_named() -> None:
    treated = {fact.values["diagnosis"].lower(): fact.values["treatment"] for fact in toytext.FACTS["clinical"]}
    for turns in drawn(1, "all", 3000):
        user, answer = turns[1]["content"], turns[2]["content"]
        lines = user.split("\n")
        if turns[0]["content"] not in toyshapes.SHAPES["MEDEC"][0]:
            continue
        (at, told) = next(
            (at, line) for at, line in enumerate(lines, 1) if any(word in line for word in ("treated with", " give ", "gave "))
        )
        name = next(name for name in sorted(treated, key=len, reverse=True) if name in told.lower())
        assert (answer == "none") == (treated[name] in told)
        assert answer in ("none", str(at))
