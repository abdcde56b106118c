"""What CLUE+ asks, in our own words with the paper's intent (arXiv 2505.10717, A.8; the first six after CLUE): a system turn a set, and
how a row becomes the user's turn. A changed word changes the digest that results carry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_BRIEF = "Answer briefly, and write nothing besides the answer."
_CHOICE = "You answer multiple-choice questions of medicine. Reply with the letter of the right option and nothing else."

SYSTEM: dict[str, str] = {
    "MedNLI": (
        "You are a careful assistant of clinicians. Given SENTENCE_1 from a clinical note, decide about SENTENCE_2: ENTAILMENT if it must "
        "be true, CONTRADICTION if it cannot be true, NEUTRAL if neither follows. Reply with one of ENTAILMENT, NEUTRAL and CONTRADICTION."
    ),
    "SDOH-NLI": (
        "You are a careful assistant of clinicians. Given SENTENCE_1 from the social history in a clinical note, decide about SENTENCE_2: "
        "ENTAILMENT if it follows, NEUTRAL if it does not. Reply with one of ENTAILMENT and NEUTRAL."
    ),
    "PLS": (
        "You help clinicians to find what matters in a hospital's notes. You get an excerpt of a note; list the diagnoses and problems that "
        "led to the stay in hospital, separated by commas. Write nothing else."
    ),
    "MeQSum": "You get a message in which somebody asks about their health. Put its question in one short sentence. Write nothing else.",
    "LongHealth": (
        "You help clinicians to find answers in discharge letters. Read the letters and answer the question about them by choosing an option."
        " Rely on the letters alone, and be brief."
    ),
    "MeDiSumQA": "You explain discharge letters to patients. Answer the question about the letter in plain words. " + _BRIEF,
    "MeDiSumCode": (
        "You code hospital stays. Read the discharge letter and list its ICD-10-CM codes, the most important first, after the words "
        "\"ICD-10 Codes:\", separated by commas. Write nothing else."
    ),
    "RRS QA": "You interpret radiology findings. Answer each question from the findings alone. " + _BRIEF,
    "Indiana RRS": "You interpret radiology findings. Write the impression that follows from the findings alone. " + _BRIEF,
    "MedicationQA": "You answer patients' questions about medicines. Be concise, and say nothing that was not asked.",
    "MedicationQA originals": "You answer patients' questions about medicines. Be concise, and say nothing that was not asked.",
    "MEDEC": (
        "You check clinical texts. Each line is a sentence with its number before it. At most one sentence has a medical error, in diagnosis,"
        " cause, management, treatment or medication. Reply with that sentence's number, or with -1 if there is no error. Write nothing else."
    ),
    "ACI-Bench": (
        "You write the clinical note of a visit from what doctor and patient said. Leave nothing out that matters and add nothing. The note "
        "has five sections under these headings: CHIEF COMPLAINT, HISTORY OF PRESENT ILLNESS, PHYSICAL EXAM, RESULTS, ASSESSMENT AND PLAN."
    ),
    "SDoH": (
        "You extract social determinants of health from a note, as a JSON list of objects with the keys entity, label and value; value is the "
        "exact words of the note. Entities and labels: Employment (StatusEmploy: employed, unemployed, retired, on disability, student, "
        "homemaker; Duration; History; Type), LivingStatus (StatusTime: current, past, future; TypeLiving: alone, with family, with others, "
        "homeless; Duration; History), Alcohol, Drug and Tobacco (StatusTime: none, current, past; Duration; History; Method; Type; Amount; "
        "Frequency). Reply with the list alone, [] if there is nothing."
    ),
    "ICD10CM": "You know the codes of ICD-10-CM. " + _CHOICE,
    "MedQA": _CHOICE,
    "MedMCQA": _CHOICE,
    "PubMedQA": "You judge biomedical research. Answer the question from the abstract with yes, no or maybe, and nothing else.",
    "MMLU-med": _CHOICE,
}  # fmt: skip


def two_sentences(first: str, second: str) -> str:
    return f"SENTENCE_1: {first}\nSENTENCE_2: {second}"


def _between(name: str, text: str) -> str:
    return f"--------------BEGIN {name}--------------\n{text}\n--------------END {name}--------------"


def problem_list(subjective: str, assessment: str) -> str:
    return _between("DISCHARGE LETTER", f"{subjective}\n\n{assessment}") + "\nList the diagnoses and problems."


def consumer_question(text: str) -> str:
    return _between("MESSAGE", text) + "\nThe question in short:"


def letter_question(letter: str, question: str) -> str:
    return _between("DISCHARGE LETTER", letter) + f"\n{question}"


def letter_codes(letter: str) -> str:
    return _between("DISCHARGE LETTER", letter) + "\nList the ICD-10 codes."


def findings(text: str) -> str:
    return _between("FINDINGS", text) + "\nThe impression:"


def findings_question(text: str, question: str) -> str:
    return _between("FINDINGS", text) + f"\n{question}"


def abstract(text: str, question: str) -> str:
    return _between("ABSTRACT", text) + f"\n{question}"


def icd_question(code: str) -> str:
    return f"What is the description of the medical code {code} in ICD10CM?"


def lettered(question: str, options: Sequence[str], letters: Sequence[str]) -> str:
    return "\n".join([question, *(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))])


def documents(texts: Sequence[str], question: str, options: Sequence[str], letters: Sequence[str]) -> str:
    """LongHealth's; its answer is looked for in the sentence that it asks for (scorers.lettered)."""
    shown = "\n".join(f"{letter}: {option}" for letter, option in zip(letters, options, strict=True))
    return (
        _between("DOCUMENTS", "\n\n-------------- NEW DOCUMENT --------------\n\n".join(texts))
        + f"\n\n{question}\n{shown}\n\nAnswer with one sentence of this form, with the letter and the text of the right option: "
        "The correct answer is C: Acute bronchitis."
    )


def _medec_shot(name: str, sentences: Sequence[str], error: int, corrected: str) -> dict[str, Any]:
    gold = {"sentence": error, "corrected": corrected}
    user = "\n".join(f"{number} {sentence}" for number, sentence in enumerate(sentences))
    return {"id": name, "user": user, "target": str(error), "gold": json.dumps(gold), "choices": [], "answer": 0}


MEDEC_SHOTS: list[dict[str, Any]] = [
    _medec_shot(
        "shot-1",
        [
            "A 24-year-old woman has had burning on urination for two days.", "She has no fever and no flank pain.",
            "The urine dipstick shows nitrites and leukocytes.", "She is diagnosed with nephrotic syndrome.",
            "She is given nitrofurantoin for five days.",
        ],
        3, "She is diagnosed with cystitis.",
    ),
    _medec_shot(
        "shot-2",
        [
            "A 67-year-old man comes with crushing chest pain for one hour.", "The electrocardiogram shows ST elevation in leads II, III and aVF.",
            "An inferior myocardial infarction is diagnosed.", "He is taken to the catheter laboratory at once.",
        ],
        -1, "",
    ),
]  # fmt: skip
