"""Small copies of CLUE+'s data sets in the shapes of the real files; every text is made up here."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import openpyxl


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(path: Path, rows: list[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def workbook(path: Path, rows: list[list[str | None]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    book.save(path)


def whole(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def everything(folder: Path, *, n: int = 6) -> Path:
    """Every set there is, with ``n`` rows each or a few more; ICD10CM has no files."""
    some = range(n)
    nli = ["entailment", "neutral", "contradiction"]
    lines(
        folder / "mednli/mli_test_v1.jsonl",
        ({"sentence1": f"He has fever {i}.", "sentence2": "He is ill.", "gold_label": nli[i % 3]} for i in some),
    )
    table(
        folder / "pls/BioNLP2023-1A-Test.csv",
        [{"Assessment": f"Weak since day {i}.", "Subjectives": "Tired.", "Summary": "sepsis;anaemia"} for i in some],
    )
    workbook(
        folder / "meqsum/MeQSum.xlsx",
        [
            ["File", "CHQ", "Summary", None],
            *([f"{i}.txt", f"MESSAGE: what helps against cough {i}", f"What helps against cough {i}?"] for i in some),
        ],
    )
    whole(folder / "longhealth/benchmark_v5.json", {f"patient_{i}": _patient(i) for i in range(2)})
    lines(
        folder / "medisumqa/MeDiSumQA.json",
        ({"without_discharge_summary": f"Letter {i}.", "Question": "Why was I here?", "Answer": "For an infection."} for i in some),
    )
    lines(
        folder / "medisumcode/MeDiSumCode.json", ({"text": f"Letter {i}.", "icd_codes": [{"code": "A00.0"}, {"code": "I10"}]} for i in some)
    )
    lines(
        folder / "rrs-qa/rrs_qa.jsonl",
        ({"findings": f"Clear lungs {i}.", "question": "Is it normal?", "answer": "Normal chest."} for i in some),
    )
    lines(folder / "medicationqa/medicationqa_485.jsonl", ({"question": f"What is drug {i} for?", "answer": "For pain."} for i in some))
    workbook(
        folder / "medicationqa/MedInfo2019-QA-Medications.xlsx",
        [["Question", "Focus (Drug)", "Answer"], *([f"how much of drug {i}", "drug", "One a day."] for i in some)],
    )
    sentences = "0 A man has cough.\n1 He is given insulin for it.\n2 He goes home."
    medec = {"Text ID": "", "Sentences": "", "Error Flag": "", "Error Sentence ID": "", "Corrected Sentence": ""}
    told = {"Sentences": sentences, "Error Flag": "1", "Error Sentence ID": "1", "Corrected Sentence": "He is given codeine for it."}
    sound = {"Sentences": sentences, "Error Flag": "0", "Error Sentence ID": "-1", "Corrected Sentence": "NA"}
    table(folder / "medec-ms/test.csv", [*({"Text ID": f"ms-{i}"} | (sound if i % 2 else told) for i in some), medec])
    for name in ("clinicalnlp_taskB_test1", "train"):
        table(
            folder / f"aci-bench/{name}.csv",
            [
                {"encounter_id": f"{name}-{i}", "dialogue": "[doctor] hi\n[patient] i cough", "note": "CHIEF COMPLAINT\n\nCough."}
                for i in some
            ],
        )
    found = [{"entity": "Tobacco", "label": "StatusTime", "value": "smokes"}]
    lines(folder / "sdoh/sdoh.jsonl", ({"text": f"She smokes and lives alone {i}.", "entities": found} for i in some))
    whole(
        folder / "mediqa-rrs/indiana_dev.json", [{"findings": f"Clear lungs {i}.", "impression": "Normal chest."} for i in some],
    )  # fmt: skip
    for name in ("test", "validation"):
        table(
            folder / f"sdoh-nli/{name}.csv", [{"premise": f"Works {i}.", "hypothesis": "Has work.", "label": str(i % 2 == 0)} for i in some]
        )
    options = dict(zip("ABCD", ["aspirin", "insulin", "codeine", "rest"], strict=True))
    lines(
        folder / "mcq/medqa-us-4opt-test.jsonl", ({"question": f"Best {i}?", "options": options, "answer_idx": "ABCD"[i % 4]} for i in some)
    )
    lines(
        folder / "mcq/medmcqa-dev.jsonl",
        ({"question": f"Which {i}?", "opa": "a1", "opb": "b1", "opc": "c1", "opd": "d1", "cop": i % 4 + 1} for i in some),
    )
    whole(
        folder / "mcq/pubmedqa-test.json",
        {
            str(i): {"QUESTION": "Does it help?", "CONTEXTS": [f"It did {i}."], "final_decision": ["yes", "no", "maybe"][i % 3]}
            for i in some
        },
    )
    for subject in ("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "professional_medicine"):
        (folder / f"mcq/mmlu-{subject}.csv").write_text("Which nerve?,first,second,third,fourth,B\n", encoding="utf-8")
    return folder


def _patient(number: int) -> dict[str, Any]:
    question = {
        "question": "What was found?", "answer_a": "A cyst", "answer_b": "A stone", "answer_c": "A tumour", "answer_d": "Air", "answer_e": "Water",
        "correct": "A stone", "answer_location": {"text_0": {"start": [0.1], "end": [0.2]}},
    }  # fmt: skip
    return {"texts": {f"text_{i}": f"Letter {i} of patient {number}: a stone was found." for i in range(3)}, "questions": [question]}
