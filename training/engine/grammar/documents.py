"""Which aspects a part of each document type is made of, and how its sentences stand together. Standard library only."""

from __future__ import annotations

import random

from training.engine.grammar import grid
from training.engine.grammar.aspects import ASPECTS, Sentence
from training.engine.grammar.facts import Case

TALKS = ("Doctor-Patient Conversation", "Nurse-Patient Dialog")

# Aspects of the parts of each document type, in the order of its parts in the grid.
_PARTS = {
    "Discharge Summary": "admission complaint history|diagnosis course lab procedure|diagnosis history imaging|medicine medicine allergy|state vitals mood|plan advice medicine",
    "SOAP Clinical Note": "complaint complaint denial medicine|vitals sign lab|diagnosis lab imaging|plan advice medicine|complaint denial vitals sign",
    "Clinical Note": "identity complaint denial|history history habits family|medicine medicine allergy|vitals sign sign|lab imaging lab|diagnosis plan advice",
    "Progress Note": "complaint state course|vitals sign state|lab lab imaging|diagnosis medicine plan",
    "Admission Note": "admission identity complaint denial|history history procedure|medicine medicine allergy|social habits family|vitals sign sign|diagnosis medicine plan",
    "Scientific Article": "design effect meaning|burden eligible|design eligible|eligible design identity|effect effect lab|effect burden meaning|shortcoming shortcoming design|meaning effect",
    "Clinical Case": "identity complaint history sign|lab imaging diagnosis|medicine course plan",
    "Nursing Note": "state vitals wound medicine care",
    "Monitoring Data of Vital Signs": "series series series diagnosis",
    "Referral Letter": "identity complaint diagnosis medicine history plan",
    "Emergency Department Note": "triage complaint vitals|complaint denial complaint|history medicine allergy|vitals sign sign|lab imaging lab|medicine course procedure|diagnosis plan advice",
    "Laboratory Report": "lab lab diagnosis",
    "Radiology Report": "complaint diagnosis history|imaging sign specimen|imaging diagnosis plan",
    "Doctor-Patient Conversation": "identity complaint denial|complaint denial history family|medicine medicine allergy|lab imaging diagnosis|diagnosis advice plan",
    "Nurse-Patient Dialog": "state vitals diagnosis|complaint denial state|medicine medicine allergy|diagnosis advice medicine|plan advice medicine",
    "Operative Note": "identity indication imaging|anaesthesia allergy indication|sign imaging steps|procedure steps steps|specimen specimen procedure|complication procedure steps|closure steps procedure|plan medicine state",
    "Consultation Note": "identity complaint sign lab diagnosis plan",
    "Pathology Report": "specimen microscopy diagnosis specimen",
    "Prescription Note": "medicine dispensing allergy medicine",
    "Preoperative Assessment": "indication history medicine allergy habits vitals",
    "Postoperative Note": "procedure state vitals closure medicine",
    "Therapy Notes": "diagnosis goal social|complaint state mood|sign goal state|exercise exercise wound|exercise exercise advice goal",
    "Immunization Record": "vaccine vaccine allergy identity",
    "Screening Report": "screening screening family plan",
    "Consent Form": "indication consent consent anaesthesia",
    "Care Plan": "diagnosis care care goal support",
    "Dietary Notes": "diet diagnosis lab advice",
    "Psychiatric Evaluation": "identity complaint mood|history family medicine habits|mental mood denial|danger mood social|diagnosis danger medicine plan",
    "Social Work Note": "social support support diagnosis",
    "End-of-Life Care Documentation": "wishes medicine diagnosis care",
    "Triage Note": "triage complaint vitals allergy",
    "Dental Record": "tooth tooth allergy plan",
    "Home Health Care Report": "wound medicine vitals support social",
    "Genetic Testing Report": "gene gene family plan",
    "Incident Report": "incident measures measures identity",
    "Patient Education Material": "lay advice medicine plan",
}  # fmt: skip
PARTS: dict[tuple[str, str], tuple[str, ...]] = {
    (document, part): tuple(said.split())
    for document, parts in grid.DOCUMENTS.items()
    for part, said in zip(parts, _PARTS[document].split("|"), strict=True)
}

# What else a longer text may come to, where its document can say it.
MORE = (
    "history",
    "medicine",
    "lab",
    "vitals",
    "complaint",
    "denial",
    "sign",
    "plan",
    "family",
    "habits",
    "social",
    "allergy",
    "advice",
    "imaging",
)
MORE_TALK = ("complaint", "denial", "history", "medicine", "plan", "advice", "allergy", "lab", "sign")
MORE_STUDY = ("effect", "shortcoming", "burden", "eligible", "design", "meaning")
# Sentences of a text at each difficulty.
LENGTHS = {"low": (3, 4), "moderate": (4, 5), "moderate-hard": (5, 6), "hard": (6, 7), "very hard": (7, 9), "extreme": (8, 11)}


def sentences(
    case: Case, *, document: str, part: str, difficulty: str, chance: random.Random, without: tuple[str, ...] = ()
) -> list[Sentence]:
    """What the text says of the case, in order: the part's own aspects, then others, as many as the difficulty asks for."""
    talk = document in TALKS
    low, high = LENGTHS[difficulty]
    wanted = chance.randrange(low, high + 1)
    names = [name for name in PARTS[document, part] if name not in without]
    spare = [name for name in _more(document) if name not in without]
    spare += [name for name in set(names) if ASPECTS[name].most > names.count(name)]
    chance.shuffle(spare := sorted(spare))
    for name in spare:
        if len(names) >= wanted:
            break
        if names.count(name) < min(ASPECTS[name].most, _own(case, name)):
            names.append(name)
    counted: dict[str, int] = {}
    made = []
    for name in names:
        nth = counted.get(name, 0)
        counted[name] = nth + 1
        if nth < _own(case, name):
            made.append(say(case, name, nth, talk=talk, chance=chance))
    return made


def _more(document: str) -> tuple[str, ...]:
    if document == "Scientific Article":
        return MORE_STUDY
    return MORE_TALK if document in TALKS else MORE


def _own(case: Case, name: str) -> int:
    """How many different ones the case has to tell of."""
    own = {"medicine": len(case.medicines), "dispensing": len(case.medicines), "effect": len(case.medicines)}
    return (own | {"lab": len(case.condition.labs), "sign": len(case.condition.signs), "complaint": len(case.symptoms)}).get(name, 9)


def say(case: Case, name: str, nth: int, *, talk: bool, chance: random.Random) -> Sentence:
    aspect = ASPECTS[name]
    slots = aspect.draw(case, chance, nth)
    talk = talk and bool(aspect.talks)
    return Sentence(aspect, chance.choice(aspect.talks if talk else aspect.says), slots, talk)


def joined(said: list[Sentence], *, document: str, part: str, chance: random.Random) -> str:
    """The text: turns of a conversation line by line, else a paragraph, lines or a list under a heading."""
    texts = [one.text for one in said]
    if document in TALKS:
        return "\n".join(text if one.talk else f"Note: {text}" for one, text in zip(said, texts, strict=True))
    heading = document if part == grid.WHOLE else f"{document}, {part}"
    match chance.randrange(4):
        case 0:
            return " ".join(texts)
        case 1:
            return f"{heading.upper()}\n" + "\n".join(texts)
        case 2:
            return f"{heading.capitalize()}:\n" + "\n".join(f"- {text}" for text in texts)
        case _:
            half = (len(texts) + 1) // 2
            return " ".join(texts[:half]) + "\n\n" + " ".join(texts[half:])
