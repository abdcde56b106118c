"""An instruction for one cell of the grid with its examples, in the tags that a model is asked to answer in. Standard library only."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from training.engine.grammar import grid
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks import TASKS, Options, as_json, level

_ROLES = (
    "You work as a careful reader of medical records.", "You support a clinical team with its paperwork.", "You are an experienced medical documentation specialist.",
    "Take the part of a clinician who reads closely.", "You help an auditor of hospital notes.", "You prepare records for a research registry.",
    "You are the second pair of eyes on a busy unit.", "A medical coding office has handed you this work.",
)  # fmt: skip
_GIVEN = (
    "What you receive is {thing}.", "The material is {thing}.", "You will be shown {thing}.", "Each time, the input is {thing}.",
    "Your source is {thing}, as it was written.", "The text to work on is {thing}.",
)  # fmt: skip
_BEFORE = (
    "",
    "",
    "Read it to the end before you begin.",
    "It may hold more than you need.",
    "Expect short and incomplete sentences.",
    "Some statements have no bearing on the work.",
)
_RULED = ("Mind the following.", "These rules hold:", "Keep to this:", "Requirements:", "What matters:")
_PLAIN = (
    "Answer in plain text: {shape}.",
    "Write {shape}, without any markup.",
    "The result is plain text, {shape}.",
    "Return {shape} and nothing around it.",
)
_JSON = (
    "Answer with JSON only: {shape}.", "Return valid JSON, {shape}, without a code fence.", "The result has to be parsable JSON: {shape}.",
    "Give back {shape}, as one JSON value and no other text.",
)  # fmt: skip
_LONGER = (
    "Two people have to come to the same answer from your rules.", "If two statements disagree, the later one counts only where a rule says so.",
    "Treat conversation, tables and lists alike.", "Do not let the order of the sections mislead you.", "Work through the text once more before you answer.",
    "Names of illnesses in the family are not the illnesses of the person.", "Denied complaints are not complaints.",
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    instruction: str
    options: Options
    examples: list[tuple[str, Any]]  # (input, answer as a JSON value)

    def outputs(self, cell: Cell) -> list[str]:
        task = TASKS[cell.task]
        return [as_json(value) if cell.format == grid.JSON else task.say(value, self.options) for _, value in self.examples]

    def text(self, cell: Cell) -> str:
        """In the tag grammar."""
        pairs = zip(self.examples, self.outputs(cell), strict=True)
        made = "\n".join(f"<example>\n<input>{given}</input>\n<output>{output}</output>\n</example>" for (given, _), output in pairs)
        return f"<instruction>{self.instruction}</instruction>\n<examples>\n{made}\n</examples>"


def write(cell: Cell, seed: str) -> Written:
    """The same cell and seed, the same text to the byte."""
    chance = random.Random(f"write {seed}")  # noqa: S311 - reproducible, not secret
    task = TASKS[cell.task]
    options = task.options(cell, chance)
    instruction = _instruction(cell, options, chance)
    examples: list[tuple[str, Any]] = []
    for attempt in range(10 * cell.examples):
        given, value = task.example(options, cell, f"{seed} {attempt}", chance)
        if all(given != other for other, _ in examples):
            examples.append((given, value))
        if len(examples) == cell.examples:
            break
    return Written(instruction, options, examples)


def _instruction(cell: Cell, options: Options, chance: random.Random) -> str:
    task = TASKS[cell.task]
    thing = _thing(cell, chance)
    # A judge must be able to tell a thorough instruction from a hasty one: some are.
    wanted = min(len(task.rules(options, cell)), 1 + level(cell) // 2 + chance.randrange(0, 3))
    rules = chance.sample(list(task.rules(options, cell)), wanted)
    if options.get("evidence"):
        rules = list(dict.fromkeys([task.rules(options, cell)[0], *rules]))
    rules += chance.sample(_LONGER, max(0, level(cell) - 2 + chance.randrange(-1, 2)))
    shape = (task.shape if cell.format == grid.JSON else task.plainly)(options)
    asked = chance.choice(list(task.asks(options, cell)))
    opening = " ".join(filter(None, [chance.choice(("", *_ROLES)), chance.choice(_GIVEN).format(thing=thing), chance.choice(_BEFORE)]))
    closing = chance.choice(_JSON if cell.format == grid.JSON else _PLAIN).format(shape=shape)
    match chance.randrange(4):
        case 0:
            return " ".join([opening, asked, *rules, closing])
        case 1:
            return "\n".join([opening, asked, chance.choice(_RULED), *(f"- {rule}" for rule in rules), closing])
        case 2:
            return "\n\n".join([asked, opening, " ".join(rules), closing])
        case _:
            numbered = [f"{at}. {rule}" for at, rule in enumerate([asked, *rules, closing], start=1)]
            return "\n".join([opening, *numbered])


def _thing(cell: Cell, chance: random.Random) -> str:
    name = cell.document.lower()
    article = "an" if name[0] in "aeiou" else "a"
    whole = (f"{article} {name}", f"one {name}", f"the text of {article} {name}")
    if cell.part == grid.WHOLE:
        return chance.choice(whole)
    part = cell.part
    return chance.choice(
        (
            f"the section on {part} of {article} {name}",
            f"{article} {name}, of which you see only {part}",
            f"{part}, taken from {article} {name}",
        )
    )
