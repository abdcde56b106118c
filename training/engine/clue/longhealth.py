"""LongHealth as CLUE asks it (arXiv 2404.04067): three tasks of 2,000 prompts about 20 patients' letters, each packed to a context.

Task 1 mixes the letters that answer with others of the same patient; task 2 with letters of other patients; task 3 leaves the answering
ones out, and the right answer is that it cannot be told.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from training.engine.clue import prompts

FIRST_TASK_TOKENS = 8_140
SHUFFLES, DISTRACTORS = 5, 10
UNKNOWN = "Question cannot be answered with provided documents"


class Ruler(Protocol):
    """How long texts are for the model that is asked. ``context`` is the most tokens a prompt may have."""

    context: int

    def count(self, text: str) -> int: ...

    def cut(self, text: str, most: int) -> str:
        """Its first ``most`` tokens."""


class Measured:
    """Texts in a model's own tokens; a prompt leaves room for the layout around it and for its answer."""

    ROOM = 128

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer, self.context = tokenizer, context - self.ROOM

    def count(self, text: str) -> int:
        return len(self._ids(text))

    def cut(self, text: str, most: int) -> str:
        return str(self.tokenizer.decode(self._ids(text)[:most]))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def rows(patients: Mapping[str, Any], ruler: Ruler) -> list[dict[str, Any]]:
    draw = random.Random(1)
    made: list[dict[str, Any]] = []
    for name, patient in patients.items():
        for number, question in enumerate(patient["questions"]):
            telling = [patient["texts"][one] for one in question["answer_location"]]
            own = [text for one, text in patient["texts"].items() if one not in question["answer_location"]]
            for turn in range(SHUFFLES):
                made.append(
                    _row(
                        f"task1-{name}-{number}-{turn}", telling, own, question, "ABCDE", min(FIRST_TASK_TOKENS, ruler.context), ruler, draw
                    )
                )
            for turn in range(2 * SHUFFLES):
                others = _others(name, patients, draw)
                task, documents = (2, telling) if turn % 2 else (3, [])
                made.append(_row(f"task{task}-{name}-{number}-{turn}", documents, others, question, "ABCDEF", ruler.context, ruler, draw))
    return made


def _others(name: str, patients: Mapping[str, Any], draw: random.Random) -> list[str]:
    pool = [text for other, patient in patients.items() if other != name for text in patient["texts"].values()]
    return draw.sample(pool, min(DISTRACTORS, len(pool)))


def _row(
    name: str, telling: Sequence[str], others: Sequence[str], question: Mapping[str, Any], letters: str, most: int, ruler: Ruler,
    draw: random.Random,
) -> dict[str, Any]:  # fmt: skip
    options = [question[f"answer_{letter.lower()}"] if letter != "F" else UNKNOWN for letter in letters]
    right = letters[_place(question["correct"], options)] if telling else "F"
    left = most - ruler.count(prompts.SYSTEM["LongHealth"]) - ruler.count(prompts.documents([], question["question"], options, letters))
    texts = pack([*telling, *others], left, ruler)
    draw.shuffle(texts)
    user = prompts.documents(texts, question["question"], options, letters)
    return {"id": name, "user": user, "target": "", "gold": json.dumps(right), "choices": [], "answer": 0}


def _place(correct: str, options: Sequence[str]) -> int:
    """Of the right one among the options: the one that says the same, else the first that holds it, as CLUE looks for it. Raises ValueError
    where none does."""
    same = [place for place, option in enumerate(options) if option == correct]
    holding = [place for place, option in enumerate(options) if correct in option]
    if not same and not holding:
        raise ValueError("the answer is none of the options")
    return (same or holding)[0]


def pack(texts: Sequence[str], room: int, ruler: Ruler) -> list[str]:
    """Whole texts while they fit, then the beginning of the first that does not."""
    between = ruler.count("\n\n-------------- NEW DOCUMENT --------------\n\n")
    kept: list[str] = []
    for text in texts:
        size = ruler.count(text)
        if size > room:
            if room > 0:
                kept.append(ruler.cut(text, room))
            break
        kept.append(text)
        room -= size + between
    return kept
