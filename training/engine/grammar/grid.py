"""The grid that synthesis draws from: task types, document types with their parts, difficulties, formats, temperatures, error types.

Task types, document types, numbers of parts, difficulties and error types are those of arXiv 2505.10717, appendices A.4 and A.7. The
names of the 98 parts are not published: those here are ours. Standard library only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

TASKS = (
    "summarization", "question answering", "multiple choice question answering", "named entity recognition", "relation extraction",
    "classification", "reasoning & diagnosis", "textual entailment", "text simplification", "text expansion", "abbreviation expansion",
    "aspect oriented keyword extraction", "error detection & correction", "note scoring",
)  # fmt: skip

WHOLE = "whole document"

# Short documents stay whole, long ones are cut into sections: 98 parts in all. Names of the parts: ours.
DOCUMENTS: dict[str, tuple[str, ...]] = {
    "Discharge Summary": (
        "admission details",
        "hospital course",
        "discharge diagnoses",
        "discharge medications",
        "condition at discharge",
        "follow-up plan",
    ),
    "SOAP Clinical Note": ("subjective", "objective", "assessment", "plan", "subjective and objective"),
    "Clinical Note": (
        "presenting complaint",
        "history",
        "medications and allergies",
        "examination",
        "investigations",
        "impression and plan",
    ),
    "Progress Note": ("interval events", "observations and examination", "results", "assessment and plan"),
    "Admission Note": ("presenting complaint", "past history", "drug history", "social and family history", "examination", "initial plan"),
    "Scientific Article": (
        "title and abstract",
        "introduction",
        "methods",
        "participants",
        "results",
        "discussion",
        "limitations",
        "conclusion",
    ),
    "Clinical Case": ("case presentation", "investigations and diagnosis", "treatment and outcome"),
    "Nursing Note": (WHOLE,),
    "Monitoring Data of Vital Signs": (WHOLE,),
    "Referral Letter": (WHOLE,),
    "Emergency Department Note": (
        "triage information",
        "presenting complaint",
        "history",
        "examination",
        "investigations",
        "treatment given",
        "disposition",
    ),
    "Laboratory Report": (WHOLE,),
    "Radiology Report": ("clinical information", "findings", "impression"),
    "Doctor-Patient Conversation": ("opening", "history taking", "medications and allergies", "explaining results", "agreeing a plan"),
    "Nurse-Patient Dialog": ("greeting and check", "symptoms", "medicines", "teaching", "going home"),
    "Operative Note": (
        "indication",
        "preparation and anaesthesia",
        "findings",
        "procedure",
        "specimens",
        "complications",
        "closure",
        "postoperative plan",
    ),
    "Consultation Note": (WHOLE,),
    "Pathology Report": (WHOLE,),
    "Prescription Note": (WHOLE,),
    "Preoperative Assessment": (WHOLE,),
    "Postoperative Note": (WHOLE,),
    "Therapy Notes": ("referral and goals", "subjective report", "assessment", "treatment given", "home programme"),
    "Immunization Record": (WHOLE,),
    "Screening Report": (WHOLE,),
    "Consent Form": (WHOLE,),
    "Care Plan": (WHOLE,),
    "Dietary Notes": (WHOLE,),
    "Psychiatric Evaluation": ("presenting problem", "psychiatric history", "mental state", "risk", "formulation and plan"),
    "Social Work Note": (WHOLE,),
    "End-of-Life Care Documentation": (WHOLE,),
    "Triage Note": (WHOLE,),
    "Dental Record": (WHOLE,),
    "Home Health Care Report": (WHOLE,),
    "Genetic Testing Report": (WHOLE,),
    "Incident Report": (WHOLE,),
    "Patient Education Material": (WHOLE,),
}

DIFFICULTIES = ("low", "moderate", "moderate-hard", "hard", "very hard", "extreme")
# "Top three favoured 3:1."
WEIGHTS = (1, 1, 1, 3, 3, 3)
PLAIN, JSON = "plain_text", "json"
FORMATS = (PLAIN, JSON)
# (temperature, share of the draws)
TEMPERATURES = ((1.0, 0.7), (1.25, 0.3))
# "Three or four pairs for an instruction."
EXAMPLES = (3, 4)

CRITERIA = ("quality", "alignment", "coherence", "realism", "difficulty")
LOWEST, HIGHEST = 1, 4

ERRORS = (
    "ambiguity", "partial correctness", "over-verbosity", "brevity", "unbalanced detail", "stylistic issues", "factual inaccuracy",
    "logical flaws", "misinterpretation", "simplistic reasoning", "grammatical errors", "spelling errors",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One draw: what an instruction is to be about."""

    task: str
    document: str
    part: str
    difficulty: str
    format: str
    temperature: float
    examples: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def draw(
    *, count: int, seed: int, tasks: Sequence[str] = TASKS, documents: Sequence[str] = tuple(DOCUMENTS), formats: Sequence[str] = FORMATS,
    difficulties: Sequence[str] = DIFFICULTIES,
) -> list[Cell]:  # fmt: skip
    """`count` draws, the same for the same seed. Tasks, document parts and formats come round in shuffled turns, so that a short run
    covers the grid as evenly as it can; difficulty and temperature are drawn by their shares."""
    chance = random.Random(f"synthesis grid {seed}")  # noqa: S311 - reproducible, not secret
    places = [(task, document, part, form) for task in tasks for document in documents for part in DOCUMENTS[document] for form in formats]
    weights = [WEIGHTS[DIFFICULTIES.index(level)] for level in difficulties]
    made: list[Cell] = []
    turn: list[tuple[str, str, str, str]] = []
    while len(made) < count:
        if not turn:
            turn = chance.sample(places, len(places))
        task, document, part, form = turn.pop()
        level = chance.choices(difficulties, weights)[0]
        heat = chance.choices([value for value, _ in TEMPERATURES], [share for _, share in TEMPERATURES])[0]
        made.append(Cell(task, document, part, level, form, heat, chance.choice(EXAMPLES)))
    return made


def cells() -> int:
    """How many cells the whole grid has: task × part × difficulty × format."""
    return len(TASKS) * sum(map(len, DOCUMENTS.values())) * len(DIFFICULTIES) * len(FORMATS)
