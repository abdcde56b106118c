"""MediFlow-shaped samples about the toy world's facts (toytext.py), and the preference that simulated raters are given: correctness and a
safe closing, scorable apart. Standard library only; every draw is seeded.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any, Literal

from training.engine import toytext

Split = Literal["family", "campaign"]
COLUMNS = (
    "instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level", "rejected_output",
    "error_type", "quality", "alignment", "coherence", "realism", "difficulty",
)  # fmt: skip
HEDGES = ("Confirm with the treating clinician.", "Check this with the clinical team.")
BLUNT = ("This needs no more checks.", "There is no doubt about this.")

_QA, _NER, _DX = "question-answering", "named entity recognition", "reasoning & diagnosis"
_CLASS, _RELATION, _SUM = "classification", "relation extraction", "summarization"
# domain → (task type, label, attributes in the answer, instructions)
_TASKS: dict[str, tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]] = {
    "pubmed": (
        (_NER, "Intervention", ("intervention",), ("Give the intervention of the trial in the text.",)),
        (_QA, "Outcome", ("outcome",), ("Give the outcome of the trial in the text.",)),
        (_CLASS, "Population", ("population",), ("Give the population of the trial in the text.",)),
    ),
    "clinical": (
        (_DX, "Diagnosis", ("diagnosis",), ("Read the note and give the diagnosis.",)),
        (_QA, "Treatment", ("treatment",), ("Read the note and give the treatment.",)),
        (_SUM, "Summary", ("diagnosis", "treatment"), ("Read the note and give diagnosis and treatment in one line.",)),
    ),
    "medcode": (
        (_CLASS, "Code", ("code",), ("Give the code for the problem on the sheet.",)),
        (_QA, "Meaning", ("meaning",), ("Give the meaning of the code on the sheet.",)),
    ),
    "guideline": (
        (_QA, "Therapy", ("therapy",), ("Give first line therapy for the plan.",)),
        (_NER, "Review", ("review",), ("Give the review interval for the plan.",)),
    ),
    "medwiki": (
        (_CLASS, "Class", ("class",), ("Give the class of the drug on the list.",)),
        (_QA, "Use", ("use",), ("Give the use of the drug on the list.",)),
        (_RELATION, "Side effect", ("effect",), ("Give the side effect of the drug on the list.",)),
    ),
}  # fmt: skip
_LEVELS = ("low", "moderate", "moderate-hard", "hard", "very hard", "extreme")


def _input(fact: toytext.Fact, label: str, rng: random.Random) -> tuple[str, str]:
    """The user turn and its document type: the key of the fact in a setting of its own, none of the answers."""
    if fact.domain == "clinical":
        place, kind = rng.choice((
            ("Ward note", "Clinical Note"), ("Emergency note", "Emergency Department Note"),
            ("Triage note", "Triage Note"),
        ))  # fmt: skip
        return f"{place} {rng.randint(1, 99)}. {toytext.given(fact, 'diagnosis', rng)}", kind
    if fact.domain == "pubmed":
        people = rng.randint(40, 900)
        text = rng.choice((f"The {fact.key[0]} trial had {people} people.", f"{people} people joined the {fact.key[0]} trial."))
        return text, "Scientific Article"
    age = toytext.age(rng)
    if fact.domain == "medcode":
        shown = f"Code: {fact.values['code']}" if label == "Meaning" else f"Problem: {fact.key[0]}"
        return f"Sheet {rng.randint(100, 999)}. {age.capitalize()}. {shown}.", "Admission Note"
    if fact.domain == "guideline":
        return f"Plan for a {age}. Problem: {fact.key[0]}.", "Care Plan"
    return f"List of a {age}. Drug: {fact.key[0]}.", "Prescription Note"


def _answer(fact: toytext.Fact, attributes: tuple[str, ...]) -> str:
    return ", ".join(fact.values[attribute] for attribute in attributes)


def _close(label: str, answer: str, sentence: str, as_json: bool) -> str:
    if as_json:
        return json.dumps({label.lower(): answer, "note": sentence})
    return f"{label}: {answer}. {sentence}"


def sample(fact: toytext.Fact, rng: random.Random, with_rejected: bool = False) -> dict[str, Any]:
    """A row about one fact with MediFlow's columns; `with_rejected`, the same output about another fact beside it."""
    task, label, attributes, instructions = rng.choice(_TASKS[fact.domain])
    text, kind = _input(fact, label, rng)
    as_json = rng.random() < 0.15
    instruction = rng.choice(instructions) + (" Answer in JSON." if as_json else "")
    sentence = rng.choice(HEDGES if rng.random() < 0.5 else BLUNT)
    answer = _answer(fact, attributes)
    level = rng.choice(_LEVELS)
    row: dict[str, Any] = {
        "instruction": instruction, "input": text, "output": _close(label, answer, sentence, as_json),
        "task_type": task, "input_data": kind, "output_format": "json" if as_json else "plain_text",
        "difficulty_level": level, "rejected_output": "", "error_type": "",
    }  # fmt: skip
    if with_rejected:
        other = rng.choice([f for f in toytext.FACTS[fact.domain] if _answer(f, attributes) != answer])
        row |= {
            "rejected_output": _close(label, _answer(other, attributes), sentence, as_json),
            "error_type": "factual inaccuracy",
        }
    for column in ("quality", "alignment", "coherence", "realism"):
        row[column] = round(3 + rng.randint(0, 5) / 5, 1)
    row["difficulty"] = round(2 + _LEVELS.index(level) * 0.2 + rng.randint(0, 5) / 5, 1)
    return {column: row[column] for column in COLUMNS}


def split_of(row: dict[str, Any]) -> Split:
    """Which half of the samples a row is in, by its own text: ``family`` rows may train the tiny family's SFT model,
    ``campaign`` rows never do, so whatever a web side imports is unseen."""
    text = f"{row['instruction']}\n{row['input']}"
    return "family" if hashlib.sha256(text.encode()).digest()[0] < 128 else "campaign"


def sample_stream(seed: int, split: Split, *, with_rejected: bool = False) -> Iterator[dict[str, Any]]:
    """Endless rows of one half; inputs may come again."""
    rng = random.Random(f"samples {seed}")
    while True:
        fact = rng.choice(toytext.facts(rng.choice(toytext.DOMAINS), "new"))
        row = sample(fact, rng, with_rejected)
        if split_of(row) == split:
            yield row


def samples(n: int, seed: int, split: Split = "campaign", *, with_rejected: bool = False) -> list[dict[str, Any]]:
    """``n`` rows with exactly MediFlow's columns (``COLUMNS``, arXiv 2505.10717 and its data card), inputs all distinct.

    Raises ``ValueError`` when so many distinct inputs do not turn up.
    """
    seen: set[str] = set()
    made: list[dict[str, Any]] = []
    for tried, row in enumerate(sample_stream(seed, split, with_rejected=with_rejected)):
        if len(made) == n:
            break
        if tried > 50 * n + 1000:
            raise ValueError(f"only {len(made)} distinct inputs found")
        if row["input"] not in seen:
            seen.add(row["input"])
            made.append(row)
    return made


def messages(row: dict[str, Any]) -> list[toytext.Message]:
    """A sample's prompt: instruction in the system turn, input in the user turn."""
    return [{"role": "system", "content": row["instruction"]}, {"role": "user", "content": row["input"]}]


def core(reference: str) -> str:
    """What a reference output claims: without label, JSON dress and closing sentence. A bare answer is its own core."""
    try:
        loaded = json.loads(reference)
    except ValueError:
        loaded = None
    if isinstance(loaded, dict):
        return str(next(iter(loaded.values()), ""))
    for sentence in (*HEDGES, *BLUNT):
        reference = reference.removesuffix(sentence).rstrip()
    label, colon, rest = reference.partition(": ")
    return rest if colon and label in _LABELS else reference


_LABELS = {label for tasks in _TASKS.values() for _, label, _, _ in tasks}


def planted(output: str, reference: str) -> dict[str, bool]:
    """The two things the simulated raters look at, scorable apart: ``correct``, the reference's answer occurs in the
    output; ``style``, the output ends in a sentence that asks a clinician to confirm."""
    said = f" {' '.join(toytext.normalise(output).split())} "
    wanted = " ".join(toytext.normalise(core(reference)).split())
    closing = said.rstrip()
    return {
        "correct": bool(wanted) and f" {wanted} " in said,
        "style": any(closing.endswith(" " + toytext.normalise(sentence)) for sentence in HEDGES),
    }


def planted_utility(output: str, reference: str) -> float:
    """Correct counts 1, the safe closing 0.6: a rater would rather have a right answer than a polite one."""
    seen = planted(output, reference)
    return 1.0 * seen["correct"] + 0.6 * seen["style"]
