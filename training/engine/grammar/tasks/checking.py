"""Tasks that ask for errors and for points: a slip of the decimal point, how complete a note is."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks.base import Options, Schema, Task, level, list_of, object_of, one_of

# Slots whose first number may slip by two places, so that nobody can believe it.
_SLIPS = (
    "dose",
    "age",
    "pulse",
    "warmth",
    "saturation",
    "minutes",
    "loss",
    "size",
    "width",
    "weight",
    "energy",
    "amount",
    "people",
    "lost",
    "pocket",
    "hours",
)


class Errors(Task):
    name = "error detection & correction"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {
            "keys": chance.choice((("sentence", "correction"), ("line", "corrected"), ("number", "should_read"))),
            "none": chance.choice((-1, 0)),
        }

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        none = options["none"]
        return (
            f"At most one numbered sentence holds a figure that is a hundred times too large. Find it and correct it; {none} where all are sound.",
            f"Check the numbered sentences for a slip of the decimal point by two places. Give the number ({none} if there is none) and the mended sentence.",
            f"Somebody may have typed two noughts too many in one of the sentences. Say in which, or {none}, and write it as it should be.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Change nothing but the figure.", "Do not repeat the number within the corrected sentence.", "Leave the correction empty where nothing is wrong.",
            "Unusual is not impossible.", "Report one sentence at most.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        number, mended = options["keys"]
        return object_of(**{number: {"type": "integer"}, mended: {"type": "string"}})

    def shape(self, options: Options) -> str:
        number, mended = options["keys"]
        return f'an object with "{number}", a whole number, and "{mended}", a text'

    def plainly(self, options: Options) -> str:
        return f"the number, a colon and the corrected sentence; {options['none']} alone where nothing is wrong"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=("design",) if cell.document == "Scientific Article" else ("vitals", "medicine"))
        texts = [one.text for one in source.said]
        number, mended = options["keys"]
        value: dict[str, Any] = {number: options["none"], mended: ""}
        places = [
            (at, slot) for at, one in enumerate(source.said) for slot in one.said if slot in _SLIPS and re.match(r"\d", one.slots[slot])
        ]
        if places and chance.random() < 0.75:
            at, slot = chance.choice(places)
            one = source.said[at]
            wrong = re.sub(r"^[\d.]+", lambda found: f"{float(found[0]) * 100:.0f}", one.slots[slot])
            value = {number: at + 1, mended: " ".join(texts[at].split())}
            texts[at] = one.with_slot(slot, wrong).text
        return "\n".join(f"{at} {' '.join(text.split())}" for at, text in enumerate(texts, start=1)), value

    def say(self, value: Any, options: Options) -> str:
        number, mended = options["keys"]
        return f"{value[number]}: {value[mended]}" if value[mended] else str(value[number])


_ELEMENTS = {
    "a complaint with its duration": ("complaint",), "a medicine with its dose": ("medicine",), "an allergy": ("allergy",), "observations": ("vitals", "series"),
    "a laboratory value": ("lab",), "a plan for review": ("plan",), "an earlier illness": ("history",), "the diagnosis": ("diagnosis",),
    "the living situation": ("social",), "advice that was given": ("advice",), "a finding on examination": ("sign",),
}  # fmt: skip


class Scoring(Task):
    name = "note scoring"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        count = 4 + level(cell) // 2
        return {"elements": chance.sample(sorted(_ELEMENTS), count), "key": chance.choice(("score", "points", "total"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        said = "; ".join(options["elements"])
        return (
            f"Score how complete it is. One point each for: {said}.",
            f"Give one point for every element that is present ({said}), and name those that are missing.",
            f"Grade the record against this list, a point an entry: {said}.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            f"The score lies between 0 and {len(options['elements'])}.", "An element counts once.", "Name what is missing in the order of the list.",
            "Style earns nothing and costs nothing.", "Half points do not exist.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        most = len(options["elements"])
        return object_of(
            **{options["key"]: {"type": "integer", "minimum": 0, "maximum": most}, "missing": list_of(one_of(*options["elements"]))}
        )

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}", a whole number, and "missing", a list'

    def plainly(self, options: Options) -> str:
        return "the score, a slash, the highest possible, then, after a semicolon, what is missing separated by commas, or none"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance)
        told = {one.aspect.name for one in source.said}
        missing = [element for element in options["elements"] if not told & set(_ELEMENTS[element])]
        return source.text, {options["key"]: len(options["elements"]) - len(missing), "missing": missing}

    def say(self, value: Any, options: Options) -> str:
        return f"{value[options['key']]}/{len(options['elements'])}; {', '.join(value['missing']) or 'none'}"
