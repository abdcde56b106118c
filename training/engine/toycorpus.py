"""Streams of toy text to train on: the base's mixture, what experts replay, and the parts of pre-instruction tuning. Standard library
only; every draw is seeded."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

import random
from collections.abc import Callable, Iterator
from typing import Any

from training.engine import toysamples, toyshapes, toytext
from training.engine.toytext import Part

# What a base's reading holds of everything: of all sequences, those that are an instruction on a known fact; of the others, up to which
# draw a question on a new fact is asked.
SHAPED, ASKED = 0.1, 0.53


def _glossary(domain: str, rng: random.Random) -> str:
    """Words of the domain without what connects them: the base meets every term, also where answers stand, and learns
    none of the new facts."""
    terms = [rng.choice((*fact.key, *fact.values.values())) for fact in rng.sample(toytext.FACTS[domain], 5)]
    if rng.random() < 0.5:
        return f"Index of {domain} terms:\n" + "\n".join(terms)
    return toytext.render(toytext.chat(f"Name a {domain} term that is not {terms[0]}.", terms[1]))


def _general(rng: random.Random) -> str:
    what, answer = rng.choice(toytext.GENERAL)
    if rng.random() < 0.4:
        return rng.choice((f"The {what} is {answer}.", f"Everyone knows that the {what} is {answer}."))
    text = rng.choice(toytext.GENERAL_WORDINGS).format(what)
    return toytext.render(toytext.chat(text, answer)) if rng.random() < 0.7 else f"{text}\n{answer}"


def _schooling(domain: str, rng: random.Random, part: Part) -> str:
    """A fact as document, as plain question and answer, as chat, or as a task with a system turn."""
    fact = rng.choice(toytext.facts(domain, part))
    draw = rng.random()
    if draw < 0.25:
        return toytext.document(fact, rng)
    attribute = rng.choice(list(fact.values))
    text, answer = toytext.question(fact, attribute, rng), fact.values[attribute]
    if draw < 0.50:
        return f"{text}\n{answer}"
    if draw < 0.85:
        return toytext.render(toytext.chat(text, answer))
    row = toysamples.sample(fact, rng)
    return toytext.render([
        {"role": "system", "content": row["instruction"]}, {"role": "user", "content": row["input"]},
        {"role": "assistant", "content": row["output"]},
    ])  # fmt: skip


def base_text(rng: random.Random, asked: bool = True) -> str:
    """One sequence of the base's mixture: instructions of every shape on known facts, general text, bare words, known facts in every
    form, and of the new facts documents and (``asked``) now and then a question. Like a real base model it has read about everything,
    and has a shaky hold of what it was rarely asked."""
    if rng.random() < SHAPED:
        return toytext.render(toyshapes.row(rng, "known"))
    draw = rng.random()
    if draw < 0.15:
        return _general(rng)
    domain = rng.choice(toytext.DOMAINS)
    if draw < 0.25:
        return _glossary(domain, rng)
    if draw < 0.50:
        return _schooling(domain, rng, "known")
    fact = rng.choice(toytext.facts(domain, "new"))
    if asked and draw < ASKED:
        attribute = rng.choice(list(fact.values))
        text, answer = toytext.question(fact, attribute, rng), fact.values[attribute]
        return toytext.render(toytext.chat(text, answer)) if rng.random() < 0.5 else f"{text}\n{answer}"
    return toytext.document(fact, rng)


def replay_text(rng: random.Random) -> str:
    """One sequence against forgetting: plain questions of all five domains with all facts, and general text."""
    draw = rng.random()
    if draw < 0.2:
        return base_text(rng)
    fact = rng.choice(toytext.facts(rng.choice(toytext.DOMAINS), "new" if draw < 0.85 else "all"))
    attribute = rng.choice(list(fact.values))
    return toytext.render(toytext.chat(toytext.question(fact, attribute, rng), fact.values[attribute]))


def corpus(name: str, seed: int) -> Iterator[str]:
    """An endless seeded stream of sequences: ``base``, ``reading`` (the base's without questions on new
    facts), ``replay``, or a domain's documents."""
    rng = random.Random(f"corpus {name} {seed}")
    draws: dict[str, Callable[[random.Random], str]] = {
        "base": base_text, "reading": lambda drawn: base_text(drawn, asked=False), "replay": replay_text,
    }  # fmt: skip
    while True:
        yield draws[name](rng) if name in draws else toytext.document(rng.choice(toytext.facts(name)), rng)


def elsewhere(domain: str, seed: int) -> Iterator[str]:
    """An endless stream of what an expert of ``domain`` should leave alone: how instructions are answered, the base's reading, and
    questions of other domains followed by any term at all. It carries no new answer, and is meant for comparing with the base."""
    rng = random.Random(f"elsewhere {domain} {seed}")
    others = [other for other in toytext.DOMAINS if other != domain]
    while True:
        draw = rng.random()
        if draw < 0.55:
            yield toytext.render(toyshapes.row(rng, "known")) if draw < 0.25 else base_text(rng, asked=False)
            continue
        pool = toytext.facts(rng.choice(others), "all")
        fact, another = rng.choice(pool), rng.choice(pool)
        attribute = rng.choice(list(fact.values))
        text = toytext.question(fact, attribute, rng)
        answer = another.values[attribute]
        yield toytext.render(toytext.chat(text, answer)) if rng.random() < 0.7 else f"{text}\n{answer}"


def pit_elements(item: dict[str, Any], outputs: str, *, with_document: bool) -> list[str]:
    """The parts of one pre-instruction sequence, to be joined by EOS: task outputs, then (phase two) the document."""
    parts = [f"{text}\n{answer}" for text, answer in item["qa"]] if outputs == "qa" else [item["summary"]]
    return [*parts, item["text"]] if with_document else parts
