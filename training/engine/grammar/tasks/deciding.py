"""Tasks that ask for a verdict: classes, a diagnosis with its evidence, whether a claim follows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from training.engine.grammar import documents, facts
from training.engine.grammar.aspects import capital
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks.base import TELLING, TEXT, Options, Schema, Task, level, list_of, object_of, one_of, others, questions

_TOPICS = {
    "medicines": ("medicine", "dispensing"), "allergies": ("allergy",), "results of tests": ("lab", "imaging", "microscopy", "gene", "screening"),
    "follow-up": ("plan",), "life at home": ("social", "support", "habits"), "family": ("family",), "observations": ("vitals", "series"),
    "complaints": ("complaint",), "earlier illnesses": ("history",),
}  # fmt: skip


class Classification(Task):
    name = "classification"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        how = chance.choice(("topics", "system", "tempo")) if cell.document != "Scientific Article" else "system"
        topics = sorted(chance.sample(sorted(_TOPICS), 4 + level(cell) // 2))
        return {"how": how, "topics": topics, "key": chance.choice(("label", "class", "category"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        match options["how"]:
            case "topics":
                said = ", ".join(options["topics"])
                return (f"Decide which of these topics the text touches: {said}.", f"Assign every topic that fits, out of: {said}.")
            case "system":
                said = ", ".join(_systems())
                return (
                    f"Name the organ system of the main illness: {said}.",
                    f"Sort the text by the system its main illness belongs to, one of {said}.",
                )
        return (
            "Classify the first complaint as acute (under 2 weeks), subacute (2 weeks to under 12 weeks) or chronic (12 weeks and more).",
            "By the duration of the first complaint, label the text acute (below 14 days), subacute (14 to 83 days) or chronic (from 84 days).",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        many = options["how"] == "topics"
        return (
            "Several labels may fit; keep the order of the list." if many else "Exactly one label fits.", "Use the labels as they are spelt above.",
            "Go by what is said, not by what is usual.", "Give no reasons.", "A month counts thirty days." if options["how"] == "tempo" else "Ignore headings.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        match options["how"]:
            case "topics":
                return object_of(**{options["key"]: list_of(one_of(*options["topics"]))})
            case "system":
                return object_of(**{options["key"]: one_of(*_systems())})
        return object_of(**{options["key"]: one_of("acute", "subacute", "chronic")})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}", ' + ("a list of labels" if options["how"] == "topics" else "the label")

    def plainly(self, options: Options) -> str:
        return "the labels separated by commas, or none" if options["how"] == "topics" else "the label alone"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        study = cell.document == "Scientific Article"
        needs = {"topics": (), "system": ("design",) if study else ("diagnosis",), "tempo": ("complaint",)}[options["how"]]
        source = self.source(cell, seed, chance, needs=needs)
        told = {one.aspect.name for one in source.said}
        value: Any
        if options["how"] == "topics":
            value = [topic for topic in options["topics"] if told & set(_TOPICS[topic])]
        elif options["how"] == "system":
            value = source.case.condition.system
        else:
            amount, unit = next(one.slots["duration"] for one in source.said if one.aspect.name == "complaint").split()
            days = int(amount) * {"days": 1, "weeks": 7, "months": 30}[unit]
            value = "acute" if days < 14 else "subacute" if days < 84 else "chronic"
        return source.text, {options["key"]: value}

    def say(self, value: Any, options: Options) -> str:
        found = value[options["key"]]
        return (", ".join(found) or "none") if isinstance(found, list) else str(found)


def _systems() -> list[str]:
    return sorted({condition.system for condition in facts.CONDITIONS})


class Diagnosis(Task):
    name = "reasoning & diagnosis"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {
            "keys": chance.choice((("diagnosis", "evidence"), ("most_likely", "because"), ("conclusion", "support"))),
            "most": 2 + level(cell) // 2,
        }

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        n = options["most"]
        return (
            f"Work out the most likely illness and name up to {n} findings that speak for it.",
            f"Reason from the findings to a single diagnosis, with at most {n} pieces of evidence.",
            f"What does this person have? Name it, then up to {n} observations from the text that led you there.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "The diagnosis is nowhere written: it has to be inferred.", "Take the evidence from the text word for word, in its order.",
            "Count as evidence only complaints, findings, tests and what tests show.", "Commit yourself to one illness.", "Suggest no treatment.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        name, why = options["keys"]
        return object_of(**{name: TEXT, why: {**list_of(TEXT), "minItems": 1, "maxItems": options["most"]}})

    def shape(self, options: Options) -> str:
        name, why = options["keys"]
        return f'an object with "{name}" and "{why}", a list'

    def plainly(self, options: Options) -> str:
        return "the diagnosis, a colon, and the evidence separated by semicolons"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, without=TELLING, needs=("complaint", "sign", "lab", "imaging"))
        found = []
        for one in source.said:
            slots = one.slots
            match one.aspect.name:
                case "complaint":
                    found.append(slots["symptom"])
                case "sign":
                    found.append(slots["sign"])
                case "lab":
                    found.append(f"{slots['lab']} {slots['measure']}")
                case "imaging":
                    found.append(slots["shows"])
        name, why = options["keys"]
        return source.text, {name: source.case.condition.name, why: found[: options["most"]]}

    def say(self, value: Any, options: Options) -> str:
        name, why = options["keys"]
        return f"{capital(value[name])}: {'; '.join(value[why])}"


# Slots of which one text may hold several.
_MANY = frozenset(
    {
        "symptom", "medicine", "sign", "absent", "comorbidity", "allergen", "kindred", "risk", "exercise", "specimen", "mishap", "need", "goal",
        "trouble", "advice", "variant", "shows", "shield", "measure_taken", "step", "event", "weakness", "excluded", "clinic", "act", "date",
        "procedure", "relative", "who", "dressing", "thought", "wish", "supplement", "insight",
    }
)  # fmt: skip


class Entailment(Task):
    name = "textual entailment"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        names = chance.choice(
            (("entailment", "neutral", "contradiction"), ("supported", "not stated", "refuted"), ("true", "unknown", "false"))
        )
        return {
            "labels": names,
            "key": chance.choice(("label", "verdict", "relation")),
            "calls": chance.choice((("Premise", "Hypothesis"), ("Text", "Claim"))),
        }

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        yes, open_, no = options["labels"]
        a, b = (call.lower() for call in options["calls"])
        return (
            f"Decide whether the {b} follows from the {a} ({yes}), goes against it ({no}) or is left open by it ({open_}).",
            f"Label the {b}: {yes} when the {a} says it, {no} when the {a} says otherwise, {open_} when it says neither.",
            f"How does the {b} stand to the {a}? Choose {yes}, {open_} or {no}.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Figures have to agree exactly.", "What is likely but not said is left open.", "Use the label as it is spelt above.", "Add no comment.",
            "Another wording of the same fact is the same fact.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: one_of(*options["labels"])})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}"'

    def plainly(self, options: Options) -> str:
        return "the label alone"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        study = cell.document == "Scientific Article"
        source = self.source(cell, seed, chance, needs=("design",) if study else ("plan",))
        yes, open_, no = options["labels"]
        label = chance.choice((yes, open_, no))
        asked = questions(source)
        sentence, slot, _, _ = chance.choice(asked)
        if label == no:
            # Only a value that can be but one: another symptom beside the first would be no contradiction.
            sentence, slot, _, _ = chance.choice([entry for entry in asked if entry[1] not in _MANY] or asked)
        if label == no and slot not in _MANY and (wrong := others(sentence, slot, chance, count=1)):
            claim = sentence.with_slot(slot, wrong[0]).statement()
        elif label == open_:
            told = {one.aspect.name for one in source.said}
            spare = [name for name in (*documents.MORE, "shortcoming", "diet", "wound", "goal") if name not in told and name not in TELLING]
            claim = documents.say(source.case, chance.choice(spare), 0, talk=False, chance=chance).statement()
        else:
            label, claim = yes, sentence.statement()
        a, b = options["calls"]
        return f"{a}: {source.text}\n\n{b}: {claim}", {options["key"]: label}

    def say(self, value: Any, options: Options) -> str:
        return str(value[options["key"]])
