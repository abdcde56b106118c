"""The fourteen tasks: what each asks of a text, and the answer, computed from the facts the text was made of.

A task draws its options once for an instruction, then makes any number of examples that keep to them. Answers are JSON values with a
schema, and are said in plain text from the same value. Standard library only.
"""

from __future__ import annotations

import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.grammar import documents, facts
from training.engine.grammar.aspects import ASPECTS, TYPES, Sentence, capital
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


# --- 1 to 3 ---------------------------------------------------------------------------------------------------------------------------

# What a summary keeps first, and how it puts it.
_KEPT = {
    "diagnosis": "{condition}", "identity": "{age}-year-old {sex}", "complaint": "{symptom} for {duration}", "imaging": "{picture} with {shows}",
    "medicine": "{medicine} {dose} {often}", "procedure": "{procedure} on {date}", "lab": "{lab} {measure}", "sign": "{sign}",
    "course": "{condition} {change} with {medicine}", "plan": "review at {clinic} in {when}", "allergy": "{allergen} allergy", "history": "{comorbidity}",
    "design": "{design} of {people} adults with {condition}", "effect": "{outcome} ratio {ratio} with {medicine}", "vitals": "blood pressure {pressure}, heart rate {pulse}",
    "vaccine": "{vaccine} on {date}", "gene": "{variant} in {gene}, {class}", "tooth": "{decay} at {tooth}, for {mend}", "incident": "{mishap} on the {ward}",
    "consent": "{risk} in {share}", "wishes": "care {place}", "wound": "wound of the {site}, {width}", "triage": "category {category}",
    "screening": "{test} {outcome}", "series": "blood pressure {pressure} at {time}", "mood": "{mood} mood", "danger": "{level} risk of self-harm",
    "specimen": "{specimen} of {size}", "microscopy": "{cells}", "support": "needs {need}", "care": "{act} for {trouble}", "goal": "goal to {goal}",
    "exercise": "{exercise}, {sets}", "diet": "{supplement} at {weight}", "indication": "{procedure} for {condition}", "closure": "closed with {suture}",
    "complication": "{event}", "steps": "blood loss {loss}", "meaning": "{medicine} {verdict}", "burden": "{condition} in {share} of adults", "lay": "{condition}: {plain}",
}  # fmt: skip


class Summarization(Task):
    name = "summarization"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"points": chance.randrange(2, 4) + level(cell) // 2, "key": chance.choice(("summary", "overview", "abstract", "gist"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        n = options["points"]
        return (
            f"Condense what you are given into its {n} most important points, in one sentence.",
            f"Write a one-sentence digest that keeps at most {n} facts and leaves the rest out.",
            f"Sum it up for a colleague who has ten seconds: one sentence, no more than {n} facts.",
            f"Reduce the material to a single line with up to {n} facts, the clinically weightiest first.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Separate the facts by semicolons.", "Begin with what the matter is, then how it shows, then what is done.",
            "Keep figures and units exactly as they are written.", "Leave out who wrote it and where.", "Use no abbreviation that is not there.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: TEXT, "facts": {**list_of(TEXT), "minItems": 1, "maxItems": options["points"]}})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}", the sentence, and "facts", a list of the facts in it'

    def plainly(self, options: Options) -> str:
        return "the sentence alone"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance)
        order = list(_KEPT)
        ranked = sorted((one for one in source.said if one.aspect.name in _KEPT), key=lambda one: order.index(one.aspect.name))
        kept = list(
            dict.fromkeys(_KEPT[one.aspect.name].format(**one.slots) for one in ranked or source.said[:1] if one.aspect.name in _KEPT)
        )
        points = kept[: options["points"]] or [source.said[0].statement().rstrip(".")]
        return source.text, {options["key"]: capital("; ".join(points)) + ".", "facts": points}

    def say(self, value: Any, options: Options) -> str:
        return str(value[options["key"]])


class QuestionAnswering(Task):
    name = "question answering"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"evidence": level(cell) >= 3, "key": chance.choice(("answer", "response", "reply"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Answer the question at the end from the text above it and from nothing else.",
            "The last line is a question. Find what it asks for in the passage.",
            "Read the passage, then give the one detail that the closing question wants.",
            "Below the record stands a question; give its answer as the record has it.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        proof = ("Quote the sentence that proves it in full.",) if options["evidence"] else ("Give no explanation.",)
        return (*proof, "Use the words of the passage.", "Do not add units or names that are not there.", "Rely on no outside knowledge.")

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: TEXT}, **({"evidence": TEXT} if options["evidence"] else {}))

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}"' + (' and "evidence", the sentence' if options["evidence"] else "")

    def plainly(self, options: Options) -> str:
        return "the detail alone" + (
            ", and on the next line the sentence after the word Evidence and a colon" if options["evidence"] else ""
        )

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=() if cell.document == "Scientific Article" else ("diagnosis",))
        sentence, _, question, answer = chance.choice(questions(source))
        value = {options["key"]: answer} | ({"evidence": sentence.text} if options["evidence"] else {})
        return f"{source.text}\n\nQuestion: {question}", value

    def say(self, value: Any, options: Options) -> str:
        return str(value[options["key"]]) + (f"\nEvidence: {value['evidence']}" if options["evidence"] else "")


class MultipleChoice(Task):
    name = "multiple choice question answering"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"choices": 3 if level(cell) == 0 else 4 if level(cell) < 4 else 5, "key": chance.choice(("answer", "letter", "choice"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        letters = f"A to {'ABCDE'[options['choices'] - 1]}"
        return (
            f"Choose which of {letters} answers the question about the text.",
            f"One of the choices {letters} agrees with what is written. Say which.",
            f"Read, then settle the question with one letter from {letters}.",
            f"Pick the only choice ({letters}) that the passage supports.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Exactly one choice is right.",
            "Judge by the passage alone.",
            "Do not argue.",
            "The other choices may be plausible and are not in it.",
        )

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: one_of(*"ABCDE"[: options["choices"]]), "text": TEXT})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}", the letter, and "text", the wording of that choice'

    def plainly(self, options: Options) -> str:
        return "the letter, a full stop, a blank, and the wording of the choice"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=() if cell.document == "Scientific Article" else ("plan",))
        asked = questions(source)
        for entry in chance.sample(asked, len(asked)):
            sentence, slot, question, answer = entry
            wrong = others(sentence, slot, chance, count=options["choices"] - 1)
            if len(wrong) == options["choices"] - 1:
                break
        choices = chance.sample([answer, *wrong], len(wrong) + 1)
        lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDE", choices, strict=False))
        value = {options["key"]: "ABCDE"[choices.index(answer)], "text": answer}
        return f"{source.text}\n\n{question}\n{lines}", value

    def say(self, value: Any, options: Options) -> str:
        return f"{value[options['key']]}. {value['text']}"


# --- 4, 5 and 12: what stands in the text -----------------------------------------------------------------------------------------------


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


# --- 6 to 8: judging what is there ------------------------------------------------------------------------------------------------------

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


# --- 9 to 11: other words ---------------------------------------------------------------------------------------------------------------

LAY = {
    "pitting oedema": "swelling that keeps a dent", "orthopnoea": "breathlessness when lying flat", "once daily": "once a day", "twice daily": "twice a day",
    "three times daily": "three times a day", "four times daily": "four times a day", "as needed": "when you need it", "suprapubic": "lower belly",
    "epigastric": "upper belly", "palpitations": "a pounding heart", "pleuritic chest pain": "chest pain on breathing in", "oxygen saturation": "oxygen level in the blood",
    "heart rate": "pulse", "hypertension": "high blood pressure", "hyperlipidaemia": "high blood fats", "osteoarthritis": "worn joints",
    "sleep apnoea": "pauses in breathing during sleep", "productive cough": "a cough with phlegm", "rigors": "shaking chills", "guarding": "a tight belly",
    "peripheral oedema": "swollen legs", "haemoglobin": "red blood pigment", "white cell count": "number of white blood cells", "creatinine": "kidney value",
    "chest radiograph": "chest X-ray", "echocardiogram": "heart ultrasound", "basal crackles": "crackling at the bottom of the lungs", "oedema": "swelling",
    "laparoscopic appendicectomy": "keyhole removal of the appendix", "conjunctival pallor": "pale inner eyelids", "erythema": "redness", "reviewed": "seen again",
    "underwent": "had", "prescribed": "given", "on examination": "when examined", "the patient": "the person", "diagnosis": "illness found", "retinal": "eye",
    "haemostasis": "stopping of the bleeding", "sutures": "stitches", "anaesthesia": "being put to sleep or numbed", "supine": "on the back", "biopsy": "tissue sample",
    "microscopy": "a look through the microscope", "allergic to": "made ill by", "specimen": "sample", "follow-up": "next visit", "deltoid": "upper arm muscle",
    "pathogenic": "known to cause illness", "caries": "tooth decay", "randomised trial": "study decided by lot", "cohort study": "study that follows a group",
    "lost to follow-up": "not seen again", "prevalence": "how common it is", "indication for": "reason for",
}  # fmt: skip


def plainer(text: str) -> str:
    words = LAY | {condition.name: condition.lay for condition in facts.CONDITIONS}
    # The longest first, so that "peripheral oedema" is not read as oedema with a word before it; once through, so that nothing is said twice.
    pattern = "|".join(re.escape(term) for term in sorted(words, key=len, reverse=True))
    return re.sub(rf"\b({pattern})\b", lambda found: _cased(words[found[0].lower()], found[0]), text, flags=re.IGNORECASE)


def _cased(made: str, like: str) -> str:
    return capital(made) if like[:1].isupper() else made


class Simplification(Task):
    name = "text simplification"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {
            "key": chance.choice(("plain_version", "simple_text", "rewritten")),
            "reader": chance.choice(("a twelve-year-old", "a relative", "the person it is about", "a neighbour")),
        }

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        reader = options["reader"]
        return (
            f"Rewrite it so that {reader} understands every word, sentence by sentence.",
            f"Put each statement into everyday words for {reader}.",
            f"Say the same to {reader}: no medical term where a common word will do.",
        )

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Keep every sentence and every figure.", "Keep names of medicines.", "Drop headings, bullets and speakers.",
            "Leave sentences that are plain already as they are.", "Explain nothing that is not said.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: TEXT})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}"'

    def plainly(self, options: Options) -> str:
        return "one paragraph"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance)
        return source.text, {options["key"]: " ".join(plainer(one.statement()) for one in source.said)}

    def say(self, value: Any, options: Options) -> str:
        return str(value[options["key"]])


def shorthand(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text with abbreviations, and (abbreviation, what it stands for) in its order, each once."""
    known = {full: short for short, full in facts.ABBREVIATIONS.items()}
    known |= {condition.name: condition.short for condition in facts.CONDITIONS if len(condition.short) > 2}
    found: dict[str, str] = {}

    def shorter(match: re.Match[str]) -> str:
        short = known[match[0].lower() if match[0].lower() in known else match[0]]
        found[short] = match[0].lower() if match[0].lower() in known else match[0]
        return short

    pattern = "|".join(re.escape(term) for term in sorted(known, key=len, reverse=True))
    made = re.sub(rf"\b({pattern})\b", shorter, text, flags=re.IGNORECASE)
    return made, list(found.items())


class Expansion(Task):
    name = "text expansion"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"key": chance.choice(("expanded", "full_text", "note")), "mark": chance.choice(("; ", " / ", "\n"))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Turn the jottings into full sentences.", "Write out the shorthand as a proper record, one sentence for each entry.",
            "These are hurried notes. Make complete sentences of them, with every short form spelt out.",
        )  # fmt: skip

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Keep the order of the entries.", "Spell out every abbreviation.", "Add no facts.", "Keep all figures and units.", "Use the present or past tense as it fits.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return object_of(**{options["key"]: TEXT})

    def shape(self, options: Options) -> str:
        return f'an object with "{options["key"]}"'

    def plainly(self, options: Options) -> str:
        return "one paragraph"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=() if cell.document == "Scientific Article" else ("vitals",))
        entries = []
        for one in source.said:
            short = shorthand(one.statement())[0].rstrip(".")
            entries.append(
                re.sub(r"\b(The patient(?:'s)?|the|The|has had|was|were|is|a|an|of|with)\b ?", "", short).strip().replace("  ", " ")
            )
        return options["mark"].join(entries), {options["key"]: " ".join(one.statement() for one in source.said)}

    def say(self, value: Any, options: Options) -> str:
        return str(value[options["key"]])


class Abbreviations(Task):
    name = "abbreviation expansion"

    def options(self, cell: Cell, chance: random.Random) -> Options:
        return {"keys": chance.choice((("abbreviation", "expansion"), ("short", "long"), ("form", "meaning")))}

    def asks(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "List the abbreviations in the text with what each stands for here.", "Expand every short form, as it is meant in this context.",
            "Make a key to the abbreviations used.",
        )  # fmt: skip

    def rules(self, options: Options, cell: Cell) -> Sequence[str]:
        return (
            "Order them as they first appear.", "Name each once.", "Units of measurement are no abbreviations.", "Write the long forms in small letters.",
            "Names of genes and codes of lots are no abbreviations.",
        )  # fmt: skip

    def schema(self, options: Options) -> Schema:
        return {**list_of(object_of(**dict.fromkeys(options["keys"], TEXT))), "minItems": 1}

    def shape(self, options: Options) -> str:
        a, b = options["keys"]
        return f'a list of objects with "{a}" and "{b}"'

    def plainly(self, options: Options) -> str:
        return "one a line, the short form, an equals sign and the long form"

    def example(self, options: Options, cell: Cell, seed: str, chance: random.Random) -> tuple[str, Any]:
        source = self.source(cell, seed, chance, needs=("vitals",))
        text, found = shorthand(source.text)
        ordered = sorted(found, key=lambda pair: text.index(pair[0]))
        a, b = options["keys"]
        return text, [{a: short, b: long} for short, long in ordered]

    def say(self, value: Any, options: Options) -> str:
        a, b = options["keys"]
        return "\n".join(f"{one[a]} = {one[b]}" for one in value)


# --- 13 and 14 --------------------------------------------------------------------------------------------------------------------------

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


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Summarization(), QuestionAnswering(), MultipleChoice(), Entities(), Relations(), Classification(), Diagnosis(), Entailment(),
        Simplification(), Expansion(), Abbreviations(), Keywords(), Errors(), Scoring(),
    )
}  # fmt: skip


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
