"""What arXiv 2505.10717 prints of its models (tables 11, 12 and 13): shown beside our own rows, always marked as published."""

DATASETS = (
    "MedNLI", "PLS", "MeQSum", "LongHealth", "MeDiSumQA", "MeDiSumCode", "RRS QA", "MedicationQA", "MEDEC", "ACI-Bench", "SDoH", "ICD10CM",
)  # fmt: skip
MCQ = ("MedQA", "MedMCQA", "PubMedQA", "MMLU-med")

BASE, MISTRAL, LLAMA = "Phi-3.5-mini-instruct", "Mistral-7B-Instruct-v0.1", "Meta-Llama-3-8B-Instruct"
# Tables 11 and 12, in percent, in the order of DATASETS.
_CLUE = {
    BASE: "66.6 28.4 36.7 45.9 25.9 41.1 41.2 11.2 14.8 42.3 35.1 49.3",
    "DataMix": "68.5 29.0 37.7 45.7 26.6 41.4 43.3 10.8 18.8 42.7 36.2 49.5",
    "PubMed": "68.3 29.2 37.6 45.7 26.3 41.0 44.1 10.3 22.2 42.7 35.8 49.5",
    "Clinical": "69.2 29.4 38.1 43.5 26.7 40.5 52.1 12.0 34.5 43.9 35.8 49.6",
    "MedWiki": "72.8 29.2 37.6 43.6 25.1 41.7 46.7 12.2 28.8 44.7 43.6 50.2",
    "MedCode": "68.5 22.3 33.5 45.7 23.6 39.0 45.6 12.0 18.1 39.0 24.8 68.7",
    "Guideline": "70.3 29.8 37.6 41.1 25.1 41.9 48.9 11.9 28.3 44.7 41.0 49.8",
    "MediPhi": "66.9 28.8 37.9 45.7 26.1 41.7 44.5 11.3 29.1 44.3 39.7 55.5",
    "MediPhi-SFT": "70.6 26.9 42.8 44.2 28.8 35.0 60.8 18.8 35.0 43.4 54.5 54.9",
    "MediPhi-Instruct": "71.0 26.0 42.8 45.0 29.1 37.2 61.6 19.3 34.4 43.5 56.7 54.9",
    MISTRAL: "64.8 25.0 31.1 30.0 25.5 13.9 50.4 22.7 21.5 50.4 40.2 27.6",
    "BioMistral-7B-DARE": "66.8 28.4 34.5 30.5 25.7 21.3 49.6 22.3 23.1 43.3 45.9 25.1",
    LLAMA: "74.1 31.6 39.5 58.8 30.3 27.8 55.8 26.1 46.5 50.2 63.1 25.7",
    "Llama3-Med42-8B": "77.5 32.4 42.8 57.9 29.7 25.2 54.1 25.7 35.4 56.5 53.9 53.4",
}
# Table 13, in percent, in the order of MCQ; its row “Medical” is not explained in the paper and is left out.
_MCQ = {
    BASE: "48.6 55.4 76.8 71.5", "PubMed": "46.7 54.9 77.4 72.4", "Clinical": "50.0 55.1 77.2 72.7", "MedWiki": "47.8 54.8 76.8 71.9",
    "MedCode": "53.1 53.2 75.8 70.0", "Guideline": "45.9 55.6 77.0 72.4", "MediPhi": "49.1 55.9 76.6 72.0",
    "MediPhi-SFT": "53.6 55.2 76.6 71.6", "MediPhi-Instruct": "54.8 55.5 76.4 71.4",
}  # fmt: skip
# (AVG, #DG, CV∆) as tables 2, 3, 4 and 12 print them; the three models that others start from have AVG alone.
PRINTED: dict[str, tuple[float, int | None, float | None]] = {
    BASE: (36.5, None, None), "DataMix": (37.5, 10, 1.2), "PubMed": (37.7, 9, 1.8), "Clinical": (39.6, 10, 2.0), "MedWiki": (39.7, 10, 1.5),
    "MedCode": (36.7, 5, 39.6), "Guideline": (39.2, 10, 1.8), "MediPhi": (39.3, 11, 1.5), "MediPhi-SFT": (43.0, 9, 1.4),
    "MediPhi-Instruct": (43.4, 9, 1.4), MISTRAL: (33.6, None, None), "BioMistral-7B-DARE": (34.7, 8, 3.4), LLAMA: (44.1, None, None),
    "Llama3-Med42-8B": (45.3, 5, 7.8),
}  # fmt: skip
_STARTED_FROM = {"BioMistral-7B-DARE": MISTRAL, "Llama3-Med42-8B": LLAMA}


def _rows(written: dict[str, str], names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    return {model: dict(zip(names, map(float, line.split()), strict=True)) for model, line in written.items()}


CLUE: dict[str, dict[str, float]] = _rows(_CLUE, DATASETS)
CHOICES: dict[str, dict[str, float]] = _rows(_MCQ, MCQ)


def baseline(model: str) -> str | None:
    """The published model that this one started from; None for the three that the others start from."""
    return None if model in (BASE, MISTRAL, LLAMA) else _STARTED_FROM.get(model, BASE)
