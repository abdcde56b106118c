"""Tasks that ask what a text says: summaries, questions, questions with choices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from training.engine.grammar.aspects import capital
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks.base import TEXT, Options, Schema, Task, level, list_of, object_of, one_of, others, questions

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
