"""The mini-suite: twelve tasks of the shapes that CLUE+ has (arXiv 2505.10717, 6.1), about the toy world, so that a toy model can be asked.

Facts are the toy world's, which models may have been taught; texts and wordings are the suite's own, which no training uses
(tests/training/test_mini.py looks). Which items there are is part of every figure and frozen there by digest. Standard library only.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.engine import toytext
from training.engine.toytext import Fact

EACH = 40
SEED = 20250517
TRIES = 1000
# Rises with every change of what an answer is worth.
SCORING = 1
Metric = Literal["exact", "letter", "unigram_f1", "set_f1"]
# What a task's question and right answer are made of; the system prompt and metric stand in TASKS.
Maker = Callable[[random.Random, int], tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Item:
    id: str
    task: str
    system: str
    user: str
    answer: str
    metric: Metric


def items(each: int = EACH, seed: int = SEED) -> list[Item]:
    """``each`` different items of every task, in the suite's fixed order. Raises ValueError where a task has not that many."""
    made = []
    for task, (system, metric, make) in TASKS.items():
        rng = random.Random(f"mini-suite {task} {seed}")
        seen: set[str] = set()
        for number in range(each):
            user, answer = next((drawn for drawn in (make(rng, number) for _ in range(TRIES)) if drawn[0] not in seen), ("", ""))
            if not user:
                raise ValueError(f"{task} has not {each} different items")
            seen.add(user)
            made.append(Item(id=f"{task}-{number:03}", task=task, system=system, user=user, answer=answer, metric=metric))
    return made


def digest(asked: Collection[Item]) -> str:
    """SHA-256 of the items in their order."""
    return hashlib.sha256(json.dumps([asdict(item) for item in asked], ensure_ascii=True).encode()).hexdigest()


def messages(item: Item) -> list[dict[str, str]]:
    """The item as a conversation that waits for its answer."""
    return [{"role": "system", "content": item.system}, {"role": "user", "content": item.user}]


def settings(*, items: Collection[Item], max_new_tokens: int, template: str, arithmetic: str) -> dict[str, Any]:
    """All that decides a score besides the model's weights; results whose settings differ are not compared."""
    return {
        "mode": "greedy", "decoding": {"temperature": 0.0}, "max_new_tokens": max_new_tokens, "items_sha256": digest(items),
        "system": {name: system for name, (system, _, _) in TASKS.items()}, "scoring": SCORING,
        "template_sha256": hashlib.sha256(template.encode()).hexdigest(), "arithmetic": arithmetic,
    }  # fmt: skip


def score(item: Item, output: str) -> float:
    """What an answer is worth, 0 to 1. ``exact``: the right words up to case and punctuation. ``letter``: its only letter, A to D.
    ``unigram_f1``: F1 of words, which is ROUGE-1 without stemming. ``set_f1``: F1 of the parts between commas."""
    if item.metric == "exact":
        return float(toytext.exact(output, item.answer))
    if item.metric == "letter":
        return float(set(re.findall(r"\b[A-D]\b", output)) == {item.answer})
    cut: Callable[[str], list[str]] = _parts if item.metric == "set_f1" else _words
    return _f1(Counter(cut(output)), Counter(cut(item.answer)))


def _words(text: str) -> list[str]:
    return toytext.normalise(text).split()


def _parts(text: str) -> list[str]:
    return sorted({" ".join(_words(part)) for part in re.split(r"[,;\n]", text)} - {""})


def _f1(found: Counter[str], gold: Counter[str]) -> float:
    """2 · shared / (found + gold): the harmonic mean of precision and recall."""
    total = found.total() + gold.total()
    return 2 * (found & gold).total() / total if total else 0.0


def _fact(number: int, domain: str) -> Fact:
    """Facts in turn, so that each is asked about as often as the others."""
    pool = toytext.FACTS[domain]
    return pool[number % len(pool)]


def _other(rng: random.Random, fact: Fact, attribute: str) -> str:
    return rng.choice([one.values[attribute] for one in toytext.FACTS[fact.domain] if one.values[attribute] != fact.values[attribute]])


def _letters(rng: random.Random, right: str, wrong: list[str]) -> tuple[str, str]:
    options = [right, *wrong]
    rng.shuffle(options)
    return "\n".join(f"{letter}) {text}" for letter, text in zip("ABCD", options, strict=True)), "ABCD"[options.index(right)]


def _wrong(rng: random.Random, fact: Fact, attribute: str) -> list[str]:
    others = {one.values[attribute] for one in toytext.FACTS[fact.domain]} - {fact.values[attribute]}
    return rng.sample(sorted(others), 3)


def _entailment(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    label = ("entailment", "contradiction", "neutral")[number % 3]
    name, treatment = fact.values["diagnosis"], fact.values["treatment"]
    claim = {
        "entailment": f"This person receives {treatment}.",
        "contradiction": f"This person receives nothing for {name}.",
        "neutral": f"This person lives {rng.choice(('alone', 'with a sister', 'by the sea'))}.",
    }[label]
    return f"Premise: On ward {rng.randint(1, 20)}, {treatment} was begun because of {name}.\nHypothesis: {claim}", label


def _plain_summary(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "pubmed")
    value = fact.values
    text = (
        f"Researchers at {rng.randint(2, 30)} sites wished to learn about {value['outcome']}. Volunteers were {value['population']}. Half "
        f"of them got {value['intervention']}, the rest got none."
    )
    return text, f"{value['intervention']} was tried in {value['population']} for {value['outcome']}"


def _asked_short(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "medwiki")
    weeks, use = rng.randint(2, 40), fact.values["use"]
    text = (
        f"Hello, I am writing for my {rng.choice(('father', 'aunt', 'neighbour'))}. For {weeks} weeks now {use} has been a worry, and "
        f"somebody gave us {fact.key[0]}. We do not know if it suits. Thank you and sorry for the long letter."
    )
    return text, f"does {fact.key[0]} help with {use}"


def _long_record(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    others = rng.sample([one for one in toytext.FACTS["clinical"] if one is not fact], 3)
    beds = rng.sample(range(1, 40), 4)
    notes = [f"Bed {bed}: {one.values['diagnosis']}, on {one.values['treatment']}." for bed, one in zip(beds, [fact, *others], strict=True)]
    rng.shuffle(notes)
    options, answer = _letters(rng, fact.values["treatment"], [one.values["treatment"] for one in others])
    return " ".join(notes) + f"\nWhat does bed {beds[0]} get?\n{options}", answer


def _letter_asked(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    text = (
        f"Dear colleague, your patient went home after {rng.randint(2, 12)} nights. We found {fact.key[2]} and called it "
        f"{fact.values['diagnosis']}; {fact.values['treatment']} was given."
    )
    asks = ("treatment", "What was I given?") if number % 2 else ("diagnosis", "What did I have?")
    return f"{text}\n{asks[1]}", fact.values[asks[0]]


def _letter_coded(rng: random.Random, number: int) -> tuple[str, str]:
    chosen = rng.sample(toytext.FACTS["medcode"], 1 + number % 3)
    return "Problems on leaving: " + "; ".join(one.values["meaning"] for one in chosen), ", ".join(one.values["code"] for one in chosen)


def _report_asked(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    return (
        f"Report {rng.randint(1000, 9999)}. Seen: {fact.key[2]}. Impression: {fact.values['diagnosis']}.\nWhat does the report conclude?",
        fact.values["diagnosis"],
    )


def _drug_asked(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "medwiki")
    asks = (
        ("use", "Why would somebody take {0}?"),
        ("effect", "What may {0} do that one does not want?"),
        ("class", "What kind of drug is {0}?"),
    )
    attribute, text = asks[rng.randrange(3)]
    return text.format(fact.key[0]), fact.values[attribute]


def _error_found(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    name, treatment = fact.values["diagnosis"], fact.values["treatment"]
    wrong = number % 2 == 1
    said = [
        f"Came in on day {rng.randint(1, 28)}.",
        f"Complains of {fact.key[0]}.",
        f"We treat {name} with {_other(rng, fact, 'treatment') if wrong else treatment}.",
    ]
    rng.shuffle(said)
    place = next(index for index, sentence in enumerate(said, start=1) if sentence.startswith("We treat"))
    return "\n".join(f"{index} {sentence}" for index, sentence in enumerate(said, start=1)), str(place) if wrong else "none"


def _talk_noted(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "clinical")
    first, second, finding = fact.key
    text = (
        f"Doctor: What brings you here? Patient: It is {first}, for {rng.randint(2, 9)} days. Doctor: Anything else? Patient: Well, "
        f"{second}. Doctor: I see {finding}. This is {fact.values['diagnosis']}; let us try {fact.values['treatment']}."
    )
    return text, f"{first}, {second}. {finding}. {fact.values['diagnosis']}. {fact.values['treatment']}."


_SOCIAL = {
    "tobacco": ("smokes a pack a day", "chews tobacco"),
    "alcohol": ("has two beers every night", "drinks wine at lunch"),
    "drugs": ("uses cannabis at weekends", "used to inject"),
    "work": ("drives a bus", "lost the job at the mill"),
    "living": ("sleeps in a shelter", "shares a flat with a son"),
}


def _social_labelled(rng: random.Random, number: int) -> tuple[str, str]:
    labels = rng.sample(sorted(_SOCIAL), 1 + number % 3)
    return f"Aged {rng.randint(20, 90)}, " + ", ".join(rng.choice(_SOCIAL[label]) for label in labels) + ".", ", ".join(labels)


def _code_chosen(rng: random.Random, number: int) -> tuple[str, str]:
    fact = _fact(number, "medcode")
    options, answer = _letters(rng, fact.values["code"], _wrong(rng, fact, "code"))
    return f"Pick the ICD-10 code of {fact.values['meaning']} (sheet {rng.randint(1, 99)}).\n{options}", answer


# By name of the CLUE+ set whose shape a task has (training.suite.published.DATASETS): system prompt, metric, maker.
TASKS: dict[str, tuple[str, Metric, Maker]] = {
    "MedNLI": ("Does the hypothesis follow? Reply with entailment, contradiction or neutral.", "exact", _entailment),
    "PLS": ("Put the study in one plain sentence.", "unigram_f1", _plain_summary),
    "MeQSum": ("Shorten the letter to its question.", "unigram_f1", _asked_short),
    "LongHealth": ("Reply with the letter of the right option.", "letter", _long_record),
    "MeDiSumQA": ("Answer the patient from the letter.", "unigram_f1", _letter_asked),
    "MeDiSumCode": ("List the ICD-10 codes, with commas between.", "set_f1", _letter_coded),
    "RRS QA": ("Answer from the report.", "unigram_f1", _report_asked),
    "MedicationQA": ("Answer in few words.", "unigram_f1", _drug_asked),
    "MEDEC": ("Reply with the number of the sentence that is wrong, or none.", "exact", _error_found),
    "ACI-Bench": ("Write the note of this visit.", "unigram_f1", _talk_noted),
    "SDoH": ("List what the text tells of: tobacco, alcohol, drugs, work, living.", "set_f1", _social_labelled),
    "ICD10CM": ("Reply with the letter of the right option.", "letter", _code_chosen),
}
