"""What a file is, from what it holds and not from what it is called: format, shape, a mapping of its columns, and why."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from annotation.reading import argilla, fields, folders, formats, label_studio, mediflow, potato, verdicts
from annotation.reading.conversations import NO_SYSTEM
from annotation.reading.presets import PRESETS, Preset
from annotation.records import Problem, Problems, Row, label

FIRST = 20


@dataclass(frozen=True)
class Guess:
    """A shape that a file may have, and a mapping that reads it so."""

    shape: str
    mapping: Mapping[str, str]
    confidence: float
    reason: str


@dataclass(frozen=True)
class Detected:
    """A proposal: the importer may change `shape` and `mapping`. `confidence` is from 0 to 1, `reason` says in words why.

    `first_rows` are at most 20 (place, row) pairs as read; `problems` those met in them. `notes` tell what is worth knowing; `others` are
    further shapes it may have, the likeliest first; `parts` are a data set folder's "config:split". `format` is empty where the file is
    of a kind that is not read (`problems` says so), `shape` where nothing fits and the importer has to choose and map.
    """

    format: str
    shape: str
    columns: tuple[str, ...] = ()
    first_rows: tuple[tuple[int, Row], ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    confidence: float = 0.0
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    others: tuple[Guess, ...] = ()
    parts: tuple[str, ...] = ()


def detect(path: Path, *, name: str = "") -> Detected:
    """What `path`, a file or a folder, holds; at most its first 20 rows are read.

    `name` is what the person calls the file; it decides only between formats and data sets that look alike. Raises OSError.
    """
    problems = Problems()
    name = name or path.name
    kind = formats.recognise(path, name, problems)
    if not kind:
        return Detected("", "", problems=tuple(problems.found), reason="It is of a kind that is not read.")
    first = tuple(islice(formats.rows(path, format=kind, problems=problems), FIRST))
    notes = []
    if kind == "csv" and first and not _is_header(list(first[0][1])):
        kind = "csv_no_header"
        notes.append("The first line does not look like names of columns: the columns are numbered.")
        problems = Problems()
        first = tuple(islice(formats.rows(path, format=kind, problems=problems), FIRST))
    elif kind == "csv" and not first and any(problem.code in ("import.duplicate_key", "import.columns") for problem in problems.found):
        again = Problems()
        rows = tuple(islice(formats.rows(path, format="csv_no_header", problems=again), FIRST))
        if rows and not _is_header([str(cell) for cell in rows[0][1].values()]):
            kind, first, problems = "csv_no_header", rows, again
            notes.append("The first line does not look like names of columns: the columns are numbered.")
    columns = tuple(dict.fromkeys(column for _, row in first for column in row))
    guesses = guess([row for _, row in first], columns, name)
    notes += [warning.message for warning in problems.warnings[:3] if warning.line == 0 or warning.code == "import.bom"]
    parts = tuple(part.name for part in folders.parts(path)) if kind == "hf" else ()
    if first and (hint := _unread(first[0][1])) and (not guesses or guesses[0].confidence < 0.5):
        guesses.insert(0, Guess("", {}, 0.0, hint))
    best = guesses[0] if guesses else Guess("", {}, 0.0, _nothing(first, columns))
    return Detected(
        kind, best.shape, columns, first, best.mapping, tuple(dict.fromkeys(notes)), best.confidence, best.reason, tuple(problems.found),
        tuple(guesses[1:]), parts,
    )  # fmt: skip


def guess(rows: list[Row], columns: tuple[str, ...], name: str = "") -> list[Guess]:
    """Every shape that fits, the likeliest first. Only names and a few values are looked at."""
    if not rows:
        return []
    found = [made for ask in _ASKED if (made := ask(rows, columns)) is not None]
    found += _presets(rows, columns, name)
    found.sort(key=lambda one: -one.confidence)
    return found


# --- the tools ---------------------------------------------------------------------------------------------------------------------


def _label_studio(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    if not {"data", "annotations"} <= {*columns} or not isinstance(rows[0].get("data"), dict):
        return None
    regions = [
        region
        for row in rows
        for annotation in _listed(row.get("annotations"))
        if isinstance(annotation, dict)
        for region in _listed(annotation.get("result"))
        if isinstance(region, dict) and isinstance(region.get("value"), dict)
    ]
    names = tuple(rows[0]["data"])
    mapping = {**_sides(names), **_labels(names)}
    for target, kind in (("pairwise", "pairwise"), ("verdict", "choices"), ("rationale", "textarea")):
        named = [str(region.get("from_name")) for region in regions if region.get("type") == kind]
        if kind == "choices":
            named = [
                str(region.get("from_name"))
                for region in regions
                if region.get("type") == "choices" and any(verdicts.of_word(word) for word in _listed(region["value"].get("choices")))
            ]
        if named:
            mapping[target] = label_studio.DEFAULT[target] if label_studio.DEFAULT[target] in named else named[0]
    pairwise = any(region.get("type") == "pairwise" for region in regions) or "verdict" in mapping
    reason = "It looks like a Label Studio export" + (
        " of a pairwise project." if pairwise else ", but no pairwise answer is in its first tasks."
    )
    return Guess("label_studio", {**label_studio.DEFAULT, **mapping}, 0.98 if pairwise else 0.6, reason)


def _argilla(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    flat = [column.removesuffix(".responses") for column in columns if column.endswith(".responses")]
    nested = isinstance(rows[0].get("fields"), dict) and isinstance(rows[0].get("responses"), dict)
    if not flat and not nested:
        return None
    texts = tuple(rows[0]["fields"]) if nested else columns
    metadata = rows[0].get("metadata")
    about = tuple(metadata) if isinstance(metadata, dict) else ()
    mapping = {**_sides(texts), **_labels((*texts, *about))}
    if "sample_id" in about:
        mapping["id"] = "metadata.sample_id"
    questions: dict[str, list[Any]] = {}
    for row in rows:
        if nested:
            for question, given in row["responses"].items() if isinstance(row.get("responses"), dict) else ():
                questions.setdefault(question, []).extend(one.get("value") for one in _listed(given) if isinstance(one, dict))
        for question in flat:
            given = fields.nested(row.get(f"{question}.responses"), row, Problems(), 0)
            questions.setdefault(question, []).extend(given if isinstance(given, list) else [])
    sides = {mapping.get("first"), mapping.get("second")}
    judged = [
        question
        for question, values in questions.items()
        if any(
            isinstance(one, list) or verdicts.of_word(one) or (isinstance(one, str) and one in sides) for one in values if one is not None
        )
    ]
    if judged:
        mapping["verdict"] = argilla.DEFAULT["verdict"] if argilla.DEFAULT["verdict"] in judged else judged[0]
    ratings = [
        question for question, values in questions.items() if values and all(isinstance(one, int) for one in values if one is not None)
    ]
    if not judged and len(ratings) == 2:
        mapping["first_rating"], mapping["second_rating"] = sorted(ratings)
    reason = "It looks like Argilla records" + (
        " with verdicts on pairs." if judged or len(ratings) == 2 else ", but no question is a verdict."
    )
    return Guess("argilla", {**argilla.DEFAULT, **mapping}, 0.97 if judged else 0.6, reason)


def _potato(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    answered = [found for row in rows if (found := potato.answers(row))]
    if not answered or not {"user_id", "instance_id", "id", "item"} & {*columns}:
        return None
    mapping = dict(potato.DEFAULT)
    schemas = list(dict.fromkeys(schema for found in answered for schema in found))
    if len(schemas) > 1:
        mapping["schema"] = next((schema for schema in schemas if "overall" in schema or "prefer" in schema), schemas[0])
    item = rows[0].get("item")
    inside = tuple(item) if isinstance(item, dict) else columns
    asked = next((name for name in ("prompt", "input", "question", "text", "instruction", "context") if name in inside), "")
    mapping["input"] = asked or "=(no question was exported)"
    ends = [abs(float(a["scale_value"])) for found in answered for a in found.values() if re.fullmatch(r"-?\d+", str(a.get("scale_value")))]
    if ends and max(ends) > 3:
        mapping["scale_end"] = f"={max(ends):g}"
    return Guess("potato", mapping, 0.96, "It looks like pairwise annotations of Potato.")


def _lmarena(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    have = {*columns}
    if not {"model_a", "model_b"} <= have or not ({"winner"} & have or {"winner_model_a", "winner_model_b"} <= have):
        return None
    mapping = {"id": "", **_first(have, "sample_id", "question_id", "id"), **_labels(columns)}
    if {"conversation_a", "conversation_b"} <= have:
        return Guess("lmarena", mapping, 0.98, "It looks like arena battles with conversations.")
    if {"prompt", "response_a", "response_b"} <= have:
        return Guess("lmarena", mapping, 0.98, "It looks like arena battles in columns, as in the 55k file.")
    return None


def _preferences(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    have = {*columns}
    if {"preferred_output", "non_preferred_output"} <= have:
        return Guess("openai", {}, 0.97, "It looks like OpenAI's or Azure's preference data.")
    if {"instruction", "chosen_response", "rejected_response"} <= have:
        mapping = {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"}
        return Guess("trl_standard", {**mapping, **_first(have, "id", "prompt_id")}, 0.95, "It looks like Argilla's cleaned UltraFeedback.")
    if not {"chosen", "rejected"} <= have:
        return None
    ids = {**_first(have, "sample_id", "id", "prompt_id"), **_labels(columns)}
    row = rows[0]
    chosen = fields.nested(row.get("chosen"), row, Problems(), 0)
    prompt = fields.nested(row.get("prompt"), row, Problems(), 0)
    if isinstance(chosen, list) and isinstance(prompt, str) and len(chosen) > 1:
        named = {"id": "", **_first(have, "sample_id", "prompt_id", "id")}
        return Guess(
            "ultrafeedback",
            {**named, **_labels(columns)},
            0.97,
            "It looks like UltraFeedback binarized: a prompt's text, and whole conversations.",
        )
    systems = {f"{side}_system": f"{word}_model" for side, word in (("first", "chosen"), ("second", "rejected")) if f"{word}_model" in have}
    if isinstance(chosen, list):
        how = "with the prompt in a column of its own" if prompt is not None else "with the prompt inside both conversations"
        return Guess("trl_conversational", {**ids, **systems}, 0.96, f"It looks like TRL preferences, conversational, {how}.")
    reason = "It looks like TRL preferences, plain texts."
    if prompt is None:
        return Guess("trl_standard", {**ids, **systems}, 0.5, f"{reason} The prompt is not in a column of its own, so it cannot be read.")
    return Guess("trl_standard", {**ids, **systems}, 0.95, reason)


def _mediflow(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    have = {*columns}
    if not {*mediflow.REQUIRED} <= have:
        return None
    more = have - {*mediflow.REQUIRED, *mediflow.OPTIONAL}
    if more:
        names = ", ".join(label(name) for name in sorted(more)[:5])
        mapping = {name: name for name in ("id", *mediflow.REQUIRED) if name in have}
        return Guess("columns", mapping, 0.9, f"It has MediFlow's columns and others, which would not be taken: {names}.")
    if rows and all(isinstance(row.get("rejected_output"), str) and row["rejected_output"] for row in rows):
        return Guess("mediflow_dpo", {}, 1.0, "It has MediFlow's columns, and a rejected output in every row.")
    return Guess("mediflow", {}, 1.0, "It has all of MediFlow's columns.")


def _completions(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    have = {*columns}
    ids = _first(have, "id", "sample_id")
    systems = next((name for name in ("system", "model", "generator", "model_name") if name in have), "")
    texts = next((name for name in ("text", "output", "completion", "response", "generation") if name in have), "")
    if not ids or not systems or not texts or have & {"chosen", "instruction", "input"}:
        return None
    sure = have == {"id", "system", "text"}
    return Guess(
        "completions",
        {**ids, "system": systems, "text": texts},
        0.97 if sure else 0.7,
        "It looks like texts that systems wrote for samples.",
    )


def _documents(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    have = {*columns}
    if "text" not in have or have & {"system", "instruction", "input", "labels", "label_annotations", "user_id"}:
        return None
    mapping = {**_first(have, "id", "doc_id", "pmid"), "text": "text"}
    mapping["title"] = "title" if "title" in have else ""
    mapping["outputs"] = "outputs" if "outputs" in have else ""
    sure = have <= {"id", "title", "text", "outputs"}
    return Guess("documents", {"id": "", **mapping}, 0.9 if sure else 0.55, "Each row is one text: it looks like documents.")


def _pairs(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    sides = _sides(columns)
    if not {"first", "second"} <= sides.keys():
        return None
    verdict = next(
        (
            name
            for name in columns
            if name not in sides.values() and (given := [row.get(name) for row in rows if row.get(name) not in (None, "")])
            and all(verdicts.of_word(one) for one in given)
        ),
        "",
    )  # fmt: skip
    if not verdict:
        return None
    mapping = {**sides, **_labels(columns), "verdict": verdict}
    if {"judgment_id", "rater_pseudonym", "first_by", "second_by"} <= {*columns}:
        ours = {"first_system": "first_by", "second_system": "second_by", "rater": "rater_pseudonym", "rated_at": "submitted_at"}
        mapping |= {target: name for target, name in ours.items() if name in columns} | {"apostrophes": "=remove"}
        return Guess("pairs", mapping, 0.96, "It looks like judgements exported from here for a spreadsheet.")
    return Guess("pairs", mapping, 0.8, "Two texts and a verdict stand in columns of each row.")


_INSTRUCTIONS = ("instruction", "task", "system_prompt")
_INPUTS = ("input", "question", "prompt", "query", "dialogue", "document", "text", "context", "note", "findings", "premise", "source")
_OUTPUTS = ("output", "answer", "response", "target", "reference", "summary", "completion", "label", "impression", "note")
_IDS = ("id", "sample_id", "uid", "key", "example_id")


def _any_columns(rows: list[Row], columns: tuple[str, ...]) -> Guess | None:
    by_name = {column.casefold(): column for column in reversed(columns)}
    named = {
        target: by_name[name]
        for target, names in (("id", _IDS), ("instruction", _INSTRUCTIONS), ("input", _INPUTS), ("output", _OUTPUTS))
        if (name := next((name for name in names if name in by_name), None))
    }
    if named.get("output") == named.get("input"):
        named.pop("output", None)
    if "input" not in named:
        return None
    if "instruction" not in named:
        named["instruction"] = "=Answer the question." if "question" in named["input"].casefold() else "=Do what the text asks for."
    return Guess("columns", {**named, **_labels(columns)}, 0.4, "No known set of columns; the mapping is a guess from their names.")


_ASKED: tuple[Callable[[list[Row], tuple[str, ...]], Guess | None], ...] = (
    _label_studio, _argilla, _potato, _lmarena, _preferences, _mediflow, _completions, _documents, _pairs, _any_columns,
)  # fmt: skip


def _presets(rows: list[Row], columns: tuple[str, ...], name: str) -> list[Guess]:
    fits: list[Preset] = [preset for preset in PRESETS if preset.columns <= {*columns}]
    found = []
    for preset in fits:
        if preset.name == "mmlu" and not all(str(row.get("column_6", "")) in ("A", "B", "C", "D") for row in rows):
            continue
        stem = re.sub(r"[^\w.-]+", "_", name.split("/")[-1].split(".")[0])[: fields.MAX_SYSTEM] or "unnamed"
        mapping = {target: given.replace("{filename}", stem) for target, given in preset.mapping.items()}
        mapping = {target: given for target, given in mapping.items() if target != "id" or given in columns}
        found.append(
            Guess(preset.shape, mapping, 0.93 if preset.prefers(name.split("/")[-1]) else 0.92, f"It has the columns of {preset.title}.")
        )
    return found


# --- helpers -----------------------------------------------------------------------------------------------------------------------

_PAIRS_OF_NAMES = (
    ("response_a", "response_b"), ("response_1", "response_2"), ("response1", "response2"), ("output_a", "output_b"), ("text_a", "text_b"),
    ("answer_a", "answer_b"), ("completion_a", "completion_b"), ("output_1", "output_2"), ("answer1", "answer2"), ("text1", "text2"),
    ("left", "right"), ("first", "second"), ("a", "b"),
)  # fmt: skip


def _sides(names: tuple[str, ...]) -> dict[str, str]:
    """Which of the names are the two texts, the instruction and the input."""
    by_name = {name.casefold(): name for name in names}
    found: dict[str, str] = {}
    for first, second in _PAIRS_OF_NAMES:
        if first in by_name and second in by_name:
            found = {"first": by_name[first], "second": by_name[second]}
            break
    for target, wanted in (
        ("instruction", _INSTRUCTIONS), ("input", ("input", "prompt", "question", "context", "text", "source", "note")),
        ("id", ("sample_id", "id", "pair_id")), ("first_system", ("model_a", "system_a", "first_system")),
        ("second_system", ("model_b", "system_b", "second_system")), ("rater", ("rater", "annotator", "user_id", "judge")),
        ("rationale", ("rationale", "comment", "reason", "explanation")),
    ):  # fmt: skip
        if name := next((by_name[one] for one in wanted if one in by_name), None):
            found[target] = name
    if "input" in found and "instruction" not in found:
        found["instruction"] = NO_SYSTEM
    elif "instruction" in found and "input" not in found:
        found["input"] = found["instruction"]
        found["instruction"] = NO_SYSTEM
    return found


def _labels(names: tuple[str, ...]) -> dict[str, str]:
    """A sample's labels among the columns."""
    return {
        target: name
        for target, wanted in (
            ("task_type", ("task_type",)), ("input_data", ("input_data", "document_type")), ("output_format", ("output_format",)),
            ("difficulty_level", ("difficulty_level",)),
        )
        if (name := next((one for one in wanted if one in names), ""))
    }  # fmt: skip


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(have: set[str], *names: str) -> dict[str, str]:
    name = next((name for name in names if name in have), None)
    return {"id": name} if name else {}


def _is_header(names: list[str]) -> bool:
    """Whether a line looks like the names of columns: short, each once, no numbers, no sentences."""
    if len(set(names)) != len(names):
        return False
    return not any(len(name) > 60 or re.fullmatch(r"-?[0-9.,]+", name) or name.rstrip().endswith((".", "?", ":", "!")) for name in names)


def _nothing(first: tuple[Any, ...], columns: tuple[str, ...]) -> str:
    if not first:
        return "No row could be read."
    return f"No known set among its {len(columns)} columns: choose what its rows are, and map the columns."


def _unread(row: Row) -> str:
    if {"prompt", "completion", "label"} <= row.keys() and isinstance(row["label"], bool):
        return "It looks like TRL's unpaired data: one text with a thumb up or down. Pairs are read; there is nothing to compare it with."
    if "messages" in row and isinstance(row["messages"], list):
        return "It looks like conversations for fine-tuning. They hold no pairs; map them as samples from columns of their own."
    return ""
