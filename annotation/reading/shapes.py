"""What a file's rows become, whatever tool wrote it: samples, completions, preferences, documents. Plain values, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Our seven verdicts (`annotation.models.Verdict`): a child process that reads has no models to import.
FIRST_MUCH = "first_much"
FIRST_SLIGHTLY = "first_slightly"
BOTH_ACCEPTABLE = "both_acceptable"
SECOND_SLIGHTLY = "second_slightly"
SECOND_MUCH = "second_much"
BOTH_UNACCEPTABLE = "both_unacceptable"
CANNOT_JUDGE = "cannot_judge"
VERDICTS = (FIRST_MUCH, FIRST_SLIGHTLY, BOTH_ACCEPTABLE, SECOND_SLIGHTLY, SECOND_MUCH, BOTH_UNACCEPTABLE, CANNOT_JUDGE)

# What a row without these columns is taken for, unless the mapping says otherwise: shown before anything is stored.
DEFAULTS = {"task_type": "other", "input_data": "other", "output_format": "plain_text", "difficulty_level": ""}
SCORES = ("quality", "alignment", "coherence", "realism", "difficulty")


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One MediFlow-shaped row (arXiv 2505.10717, data card). `external_id` is empty where the file names none; `scores` are from 1 to 4."""

    external_id: str
    instruction: str
    input: str
    output: str
    task_type: str
    input_data: str
    output_format: str
    difficulty_level: str
    rejected_output: str = ""
    error_type: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """What the system `system` wrote for the sample that its source calls `sample_id`."""

    sample_id: str
    system: str
    text: str


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One person's (or one data set's) verdict on two texts for one sample.

    `verdict` is one of VERDICTS. `rater` is the tool's name for the person, empty where it names nobody; `rated_at` is the tool's own
    text (ISO 8601 or a number of seconds), empty where it gives none. `extra` holds what else it said, as JSON values: confidence,
    scores, a harm flag, a margin.
    """

    sample: SampleRow
    first_text: str
    first_system: str
    second_text: str
    second_system: str
    verdict: str
    rater: str = ""
    rationale: str = ""
    rated_at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """What experts read; `outputs` by kind as `annotation.models.OutputKind` says: summary, qa, entities, relations."""

    external_id: str
    title: str
    text: str
    outputs: Mapping[str, Any] = field(default_factory=dict)


Record = SampleRow | CompletionRow | PreferenceRow | DocumentRow
