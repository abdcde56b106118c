"""Tasks that ask what stands in a text: entities, relations, keywords of one aspect."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from training.engine.grammar import documents
from training.engine.grammar.aspects import ASPECTS, TYPES
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks.base import TEXT, Options, Schema, Task, as_written, entities, level, list_of, object_of, one_of


class Entities(Task):
    name = "named entity recognition"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        kinds = sorted(set(TYPES.values()))
        own = sorted(types_of(cell))
        wanted = set(own) if level(cell) >= 2 else set(chance.sample(own, min(len(own), 3)))
        if level(cell) >= 3:
            wanted |= set(chance.sample(kinds, 4))
        return {
            "types": sorted(wanted),
            "keys": chance.choice((("text", "type"), ("span", "label"), ("mention", "category"), ("entity", "class"))),
        }

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        kinds = ", ".join(options["types"])
        return (
            f"Find every mention of these kinds: {kinds}.",
            f"Mark the spans of the following categories and no others: {kinds}.",
            f"Go through the text and list what belongs to one of: {kinds}.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Copy each mention letter by letter.", "Name them in the order in which they first appear.", "Name each mention once, however often it comes.",
            "Where no mention is found, say so as described below.", "Do not join two mentions into one.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        span, kind = options["keys"]
        return list_of(object_of(**{span: TEXT, kind: one_of(*options["types"])}))

    def shape(self, options: Options) -> str:
        span, kind = options["keys"]
        return f'a list of objects with "{span}" and "{kind}", an empty list where there is nothing'

    def plainly(self, options: Options) -> str:
        return "one mention a line, then a vertical bar and its kind; the word none where there is nothing"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance)
        span, kind = options["keys"]
        return source.text, [{span: text, kind: what} for text, what in entities(source) if what in options["types"]]

    def say(self, value: Any, options: Options) -> str:
        span, kind = options["keys"]
        return "\n".join(f"{one[span]} | {one[kind]}" for one in value) or "none"


def types_of(cell: Cell) -> set[str]:
    """Kinds of entities that the part's own aspects speak of."""
    slots = {
        slot for name in documents.PARTS[cell.document, cell.part] for said in ASPECTS[name].says for slot in re.findall(r"{(\w+)}", said)
    }
    return {TYPES[slot] for slot in slots if slot in TYPES} or {"Condition", "Medication"}


class Relations(Task):
    name = "relation extraction"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"keys": chance.choice((("subject", "relation", "object"), ("head", "relation", "tail"), ("from", "type", "to")))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        names = ", ".join(sorted({name for aspect in ASPECTS.values() for _, name, _ in aspect.relates}))
        return (
            f"List how the things in the text relate, as triples. The relations are {names}.",
            f"Extract all triples of subject, relation and object that are stated, with the relation one of {names}.",
            f"Turn the statements into triples. Of relations there are these: {names}.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Take both ends from the text word for word.",
            "Keep the order in which the statements come.", "Infer nothing that is not said.", "State each triple once.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return list_of(object_of(**dict.fromkeys(options["keys"], TEXT)))

    def shape(self, options: Options) -> str:
        return "a list of objects with " + ", ".join(f'"{key}"' for key in options["keys"])

    def plainly(self, options: Options) -> str:
        return "one triple a line, its three members separated by vertical bars"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=("effect",) if cell.document == "Scientific Article" else ("medicine",))
        found = dict.fromkeys(
            (as_written(source.text, a), name, as_written(source.text, b)) for one in source.said for a, name, b in one.relations()
        )
        return source.text, [dict(zip(options["keys"], triple, strict=True)) for triple in found]

    def say(self, value: Any, options: Options) -> str:
        return "\n".join(" | ".join(one[key] for key in options["keys"]) for one in value)


class Keywords(Task):
    name = "aspect oriented keyword extraction"
    _GROUPS = {
        "complaints and findings": ("Symptom", "Finding", "Condition", "Risk"), "medicines and what belongs to them": ("Medication", "Dose", "Frequency", "Vaccine"),
        "tests and measured values": ("Test", "Result", "Vital sign", "Gene", "Variant"), "times and places": ("Date", "Duration", "Place"),
        "illnesses": ("Condition",), "body and treatment": ("Body part", "Procedure", "Intervention", "Specimen"), "reactions": ("Allergen", "Reaction"),
    }  # fmt: skip

    def options(self, cell: Cell, chance: random.Random) -> Options:
        own = types_of(cell)
        fit = [name for name, kinds in self._GROUPS.items() if own & set(kinds)]
        return {"aspect": chance.choice(fit or ["illnesses"]), "key": chance.choice(("keywords", "terms", "phrases"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        aspect = options["aspect"]
        return (
            f"Seen from one side only, {aspect}: which key phrases does the text hold?",
            f"Collect the key phrases that have to do with {aspect}, and ignore all others.",
            f"Extract keywords under the heading of {aspect}.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Copy the phrases as they stand.", "Order them as they appear.", "Leave out what belongs to any other side of the matter.",
            "Name no phrase twice.", "Say so, as described below, when nothing fits.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return object_of(**{"aspect": one_of(options["aspect"]), options["key"]: list_of(TEXT)})

    def shape(self, options: Options) -> str:
        return f'an object with "aspect", repeated from above, and "{options["key"]}", a list'

    def plainly(self, options: Options) -> str:
        return "the phrases separated by semicolons; the word none where nothing fits"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance)
        wanted = self._GROUPS[options["aspect"]]
        return source.text, {"aspect": options["aspect"], options["key"]: [text for text, kind in entities(source) if kind in wanted]}

    def say(self, value: Any, options: Options) -> str:
        return "; ".join(value[options["key"]]) or "none"
