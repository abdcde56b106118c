"""What a task is: its options, wordings, rules and schema, and the text that an example is made of. Standard library only."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.grammar import documents, facts
from training.engine.grammar.aspects import ASPECTS, Sentence, capital
from training.engine.grammar.facts import Case
from training.engine.grammar.grid import DIFFICULTIES, Cell

Options = dict[str, Any]
Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
# Aspects that name the illness: left out where it is to be found.
TELLING = (
    *(name for name, aspect in ASPECTS.items() if any("{condition}" in said for said in (*aspect.says, *aspect.talks))),
    "procedure", "advice", "consent", "dispensing", "effect",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A text for one example, with what it says."""

    case: Case
    said: list[Sentence]
    text: str


class Task(ABC):
    name: str

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {}

    @abstractmethod
    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        """Wordings of what is to be done."""

    @abstractmethod
    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        """Constraints that every answer keeps."""

    @abstractmethod
    def schema(self, options: Options) -> Schema: ...

    @abstractmethod
    def shape(self, options: Options) -> str:
        """The JSON answer described in words."""

    @abstractmethod
    def plainly(self, options: Options) -> str:
        """The plain answer described in words."""

    @abstractmethod
    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        """(input, answer as a JSON value)."""

    @abstractmethod
    def say(self, value: Any, options: Options) -> str:
        """The answer in plain text."""

    def source(self, cell: Cell, seed: str, chance: random.Random, *, without: tuple[str, ...] = (), needs: tuple[str, ...] = ()) -> Source:
        """A text of the cell's kind; aspects in `needs` are said in any case."""
        case = facts.case(seed)
        said = documents.sentences(case, document=cell.document, part=cell.part, difficulty=cell.difficulty, chance=chance, without=without)
        talk = cell.document in documents.TALKS
        for name in needs:
            if not any(one.aspect.name == name for one in said):
                said.insert(chance.randrange(len(said) + 1), documents.say(case, name, 0, talk=talk, chance=chance))
        return Source(case, said, documents.joined(said, document=cell.document, part=cell.part, chance=chance))


def object_of(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def list_of(entry: Schema) -> Schema:
    return {"type": "array", "items": entry}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def level(cell: Cell) -> int:
    """0…5."""
    return DIFFICULTIES.index(cell.difficulty)


def as_written(text: str, value: str) -> str:
    """The value as it stands in the text: a sentence may begin with it."""
    if value in text:
        return value
    return capital(value) if capital(value) in text else value


def entities(source: Source) -> list[tuple[str, str]]:
    """(span, type) in the text's order, each once."""
    found = dict.fromkeys((as_written(source.text, span), kind) for one in source.said for span, kind in one.entities())
    return sorted(found, key=lambda pair: source.text.index(pair[0]))


def questions(source: Source) -> list[tuple[Sentence, str, str, str]]:
    """(sentence, slot, question, answer) for questions that the text answers in one way only."""
    every = [(one, *asked) for one in source.said for asked in one.questions()]
    answers: dict[str, set[str]] = {}
    for _, _, question, answer in every:
        answers.setdefault(question, set()).add(answer)
    return [entry for entry in every if len(answers[entry[2]]) == 1]


def others(sentence: Sentence, slot: str, chance: random.Random, *, count: int) -> list[str]:
    """Other values the slot could have had, in other cases."""
    found: dict[str, None] = {}
    for attempt in range(60):
        case = facts.case(f"another {chance.random()}")
        value = sentence.aspect.draw(case, chance, attempt % 3).get(slot, "")
        if value and value.casefold() != sentence.slots[slot].casefold():
            found[value] = None
        if len(found) == count:
            break
    return list(found)
