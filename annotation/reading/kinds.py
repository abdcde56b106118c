"""The shapes a row can have: whose file it is, what becomes of a row, and which of our fields the importer may map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from annotation.reading import argilla, columns, label_studio, lmarena, mediflow, potato, trl
from annotation.reading.fields import Mapped, Options
from annotation.reading.shapes import DEFAULTS, SCORES, Record
from annotation.records import Problems, Row

SAMPLES, COMPLETIONS, PREFERENCES, DOCUMENTS = "samples", "completions", "preferences", "documents"


class Converter(Protocol):
    """(place, row, mapping, problems, options) → the row's records; what is wrong with it becomes problems."""

    def __call__(self, place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = ..., /) -> Iterator[Record]: ...


@dataclass(frozen=True)
class Target:
    """One of our fields that a mapping may fill. `default` is what stands there when it does not."""

    name: str
    title: str
    required: bool = False
    default: str = ""


@dataclass(frozen=True)
class Shape:
    """`makes` is what its rows become. Call `convert(place, row, mapping, problems, options)`; it yields records and adds problems."""

    name: str
    title: str
    makes: str
    targets: tuple[Target, ...]
    convert: Converter


TITLES = {
    "id": "Identifier",
    "instruction": "Instruction",
    "input": "Input",
    "output": "Reference output",
    "first": "First text",
    "second": "Second text",
    "verdict": "Verdict",
    "first_system": "Who wrote the first",
    "second_system": "Who wrote the second",
    "rater": "Who rated",
    "rationale": "Rationale",
    "rated_at": "When",
    "strength": "A bare “better” means (=slightly or =much)",
    "apostrophes": "Apostrophes before cells (=remove)",
}
LABEL_TARGETS = tuple(Target(name, name.replace("_", " ").capitalize(), default=f"={value}") for name, value in DEFAULTS.items())


def _targets(defaults: Mapped, *required: str) -> tuple[Target, ...]:
    return tuple(
        Target(name, TITLES.get(name, name.replace("_", " ").capitalize()), required=name in required, default=given)
        for name, given in defaults.items()
    )


_MEDIFLOW = (
    Target("id", "Identifier", default="id"),
    *(
        Target(name, TITLES.get(name, name.replace("_", " ").capitalize()), required=name in mediflow.REQUIRED, default=name)
        for name in (*mediflow.REQUIRED, "rejected_output", "error_type", *SCORES)
    ),
)
_TRL = _targets(trl.DEFAULT, "prompt", "chosen", "rejected")
_COLUMNS = {"id": "", "instruction": "", "input": "", "output": ""}
_PAIR = {"instruction": "", "input": "", "first": "", "second": "", "verdict": "", **columns.PAIR}
_DOCUMENT = {"id": "id", "title": "title", "text": "text", "outputs": "outputs", "summary": "", "question": "", "answer": ""}

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("mediflow", "MediFlow", SAMPLES, _MEDIFLOW, mediflow.convert),
        Shape("mediflow_dpo", "MediFlow-DPO", SAMPLES, _MEDIFLOW, mediflow.convert_dpo),
        Shape("columns", "Samples in columns of your own", SAMPLES, _targets(_COLUMNS, "instruction", "input") + LABEL_TARGETS,
              columns.convert),
        Shape("completions", "Texts that systems wrote for stored samples", COMPLETIONS,
              _targets({"id": "id", "system": "system", "text": "text"}, "id", "system", "text"), columns.convert_completion),
        Shape("documents", "Documents", DOCUMENTS, _targets(_DOCUMENT, "text"), columns.convert_document),
        Shape("trl_conversational", "TRL preferences, conversational", PREFERENCES, _TRL + LABEL_TARGETS, trl.convert),
        Shape("trl_standard", "TRL preferences, plain texts", PREFERENCES, _TRL + LABEL_TARGETS, trl.convert_standard),
        Shape("ultrafeedback", "UltraFeedback, binarized", PREFERENCES, _targets(trl.ULTRAFEEDBACK, "prompt", "chosen",
              "rejected") + LABEL_TARGETS,
              trl.convert_ultrafeedback),
        Shape("openai", "OpenAI and Azure preferences", PREFERENCES,
              _targets({**trl.DEFAULT, "prompt": "input.messages", "chosen": "preferred_output", "rejected": "non_preferred_output"},
                       "prompt", "chosen", "rejected") + LABEL_TARGETS, trl.convert_openai),
        Shape("argilla", "Argilla 2 records", PREFERENCES,
              _targets(argilla.DEFAULT, "instruction", "input", "first", "second", "verdict") + LABEL_TARGETS, argilla.convert),
        Shape("label_studio", "Label Studio, pairwise", PREFERENCES,
              _targets(label_studio.DEFAULT, "instruction", "input", "first", "second", "pairwise") + LABEL_TARGETS, label_studio.convert),
        Shape("potato", "Potato, pairwise", PREFERENCES, _targets(potato.DEFAULT, "instruction", "input") + LABEL_TARGETS, potato.convert),
        Shape("lmarena", "Arena battles", PREFERENCES, _targets({**lmarena.DEFAULT_55K, **lmarena.DEFAULT}, "winner") + LABEL_TARGETS,
              lmarena.convert),
        Shape("pairs", "Pairs in columns of your own", PREFERENCES,
              _targets(_PAIR, "instruction", "input", "first", "second", "verdict") + LABEL_TARGETS, columns.convert_pair),
    )
}  # fmt: skip
