"""The mini-suite: twelve frozen tasks that no training text holds, on which a right answer is worth 1 and one answer to all never is."""

import itertools
import random
from collections import Counter

import pytest

from training.engine import toycorpus, toyshapes, toytext
from training.suite import mini, published

ASKED = mini.items()
FROZEN = "242acf3135f569725c9eeeba2df1525a91303b4285cc4b530b3a547c7ffdc08b"


def test_it_has_twelve_tasks_of_the_shapes_of_clue_plus() -> None:
    assert tuple(mini.TASKS) == published.DATASETS
    assert Counter(item.task for item in ASKED) == dict.fromkeys(published.DATASETS, 40)


def test_the_items_are_those_that_were_frozen_before_anything_was_tuned() -> None:
    assert mini.digest(ASKED) == FROZEN
    assert mini.digest(mini.items(seed=1)) != FROZEN


def test_no_item_is_asked_twice() -> None:
    assert len({(item.task, item.user) for item in ASKED}) == len(ASKED) == 480
    with pytest.raises(ValueError, match="has not 1000 different items"):
        mini.items(each=1000)


@pytest.mark.parametrize("task", published.DATASETS)
def test_the_right_answer_is_worth_one_and_no_single_answer_is_right_throughout(task: str) -> None:
    asked = [item for item in ASKED if item.task == task]
    assert [mini.score(item, item.answer) for item in asked] == [1.0] * len(asked)
    constant = max(sum(mini.score(item, other.answer) for item in asked) / len(asked) for other in asked)
    assert constant <= 0.6
    assert not any(mini.score(item, "") for item in asked)


@pytest.mark.parametrize(
    ("metric", "answer", "output", "worth"),
    [
        ("letter", "B", "B) I10", 1.0),
        ("letter", "B", "A or B", 0.0),
        ("exact", "none", "None.", 1.0),
        ("set_f1", "J00, I10", "I10", 2 / 3),
        ("set_f1", "J00, I10", "I10, J00", 1.0),
        ("unigram_f1", "dry cough", "cough", 2 / 3),
    ],
)  # fmt: skip
def test_what_an_answer_is_worth(metric: mini.Metric, answer: str, output: str, worth: float) -> None:
    item = mini.Item(id="x", task="x", system="", user="", answer=answer, metric=metric)
    assert mini.score(item, output) == pytest.approx(worth)


def runs(text: str, length: int = 5) -> set[tuple[str, ...]]:
    words = toytext.normalise(text).split()
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def test_no_item_is_in_a_training_text_nor_nearly() -> None:
    """A near copy shares most runs of five words. Training texts: every stream, as many instructions of the same shapes as fine-tuning
    sees, and every way of asking or telling of every fact."""
    streams = ["base", "reading", "replay", *toytext.DOMAINS]
    texts = [text for name in streams for text in itertools.islice(toycorpus.corpus(name, 0), 400)]
    texts += [turns[1]["content"] for turns in itertools.islice(toyshapes.rows(0, "all"), 2000)]
    rng = random.Random(0)
    for fact in itertools.chain.from_iterable(toytext.FACTS.values()):
        texts += [toytext.document(fact, rng) for _ in range(12)] + [toytext.summary(fact)]
        texts += [
            toytext.question(fact, attribute, rng, wording) for attribute in fact.values for wording in ("train", "validation", "held_out")
        ]
    trained = set().union(*map(runs, texts))
    whole = {toytext.normalise(text) for text in texts}
    for item in ASKED:
        assert toytext.normalise(item.user) not in whole
        own = runs(item.user)
        assert len(own & trained) <= 0.3 * max(len(own), 1), item.id


def test_no_task_is_asked_in_the_words_it_is_taught_in() -> None:
    taught = {toytext.normalise(text) for systems, _ in toyshapes.SHAPES.values() for text in systems}
    assert not taught & {toytext.normalise(system) for system, _, _ in mini.TASKS.values()}
    assert tuple(toyshapes.SHAPES) == tuple(mini.TASKS)
