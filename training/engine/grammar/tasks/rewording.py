"""Tasks that ask for other words: plainer ones, full sentences of jottings, what abbreviations stand for."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from training.engine.grammar import facts
from training.engine.grammar.aspects import capital
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks.base import TEXT, Options, Schema, Task, list_of, object_of

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
