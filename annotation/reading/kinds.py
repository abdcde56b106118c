"""The shapes a row can have: whose file it is, what becomes of a row, and which of our fields the importer may map."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from annotation.reading import mediflow
from annotation.reading.fields import Mapped, Options
from annotation.reading.shapes import DEFAULTS, SCORES, Record
from annotation.records import Problems, Row

SAMPLES, COMPLETIONS, PREFERENCES, DOCUMENTS = "samples", "completions", "preferences", "documents"
Converter = Callable[[int, Row, Mapped, Problems, Options], Iterator[Record]]


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


SAMPLE_TARGETS = (
    Target("id", "Identifier"),
    Target("instruction", "Instruction", required=True),
    Target("input", "Input", required=True),
    Target("output", "Reference output"),
    Target("task_type", "Task type", default=DEFAULTS["task_type"]),
    Target("input_data", "Document type", default=DEFAULTS["input_data"]),
    Target("output_format", "Output format", default=DEFAULTS["output_format"]),
    Target("difficulty_level", "Difficulty"),
)
MEDIFLOW_TARGETS = (
    Target("id", "Identifier"),
    *(Target(name, name.replace("_", " ").capitalize(), required=True) for name in mediflow.REQUIRED),
    *(Target(name, name.replace("_", " ").capitalize()) for name in ("rejected_output", "error_type", *SCORES)),
)

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("mediflow", "MediFlow", SAMPLES, MEDIFLOW_TARGETS, mediflow.convert),
        Shape("mediflow_dpo", "MediFlow-DPO", SAMPLES, MEDIFLOW_TARGETS, mediflow.convert_dpo),
    )
}
