"""Which forms there are: each with its writer, what it is for, and whether what it writes can be read in again unchanged. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.exports import argilla, chat_preferences, dataset, label_studio, lmarena, spreadsheet, ultrafeedback
from annotation.exports.laid import Say

Write = Callable[[Path, Path, "Say | None"], dict[str, Any]]


@dataclass(frozen=True)
class Form:
    """`key` is its address; `reads_back` says that an import of the files gives the same judgements or preferences again."""

    key: str
    label: str
    purpose: str
    write: Write
    reads_back: str = ""


_FORMS = [
    Form(
        "dataset",
        "Hugging Face data set",
        "seven configs for TRL's DPO, KTO, reward and SFT trainers, as Parquet and JSON lines, with a card; opens with load_dataset",
        dataset.write,
        "preferences",
    ),
    Form("openai", "OpenAI and Azure", "preference fine-tuning there: one JSONL file a split", chat_preferences.write, "preferences"),
    Form("ultrafeedback", "UltraFeedback, binarized", "recipes written for that data set's columns", ultrafeedback.write, "preferences"),
    Form("argilla", "Argilla", "records with every answer, and the settings of their questions", argilla.write, "judgements"),
    Form("label-studio", "Label Studio", "tasks with every answer, and the labelling configuration", label_studio.write, "judgements"),
    Form("lmarena", "LMArena", "ratings of producers with arena-rank or evalica; producers are numbered", lmarena.write, "judgements"),
    Form(
        "csv",
        "Spreadsheet",
        "Excel, LibreOffice, R or REDCap: formulas are inert, and there is a way back",
        spreadsheet.write,
        "judgements",
    ),
]
FORMS = {form.key: form for form in _FORMS}
