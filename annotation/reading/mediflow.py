"""MediFlow and MediFlow-DPO (arXiv 2505.10717, data card): the columns our own samples have, strictly these and no others."""

from collections.abc import Iterator

from annotation import records
from annotation.reading import fields
from annotation.reading.fields import LABELS, STRICT, Mapped, Options
from annotation.reading.shapes import SCORES, SampleRow
from annotation.records import Problems, Row

REQUIRED = ("instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level")
OPTIONAL = ("id", "rejected_output", "error_type", *SCORES)
MAY_BE_EMPTY = frozenset({"output", "difficulty_level", "rejected_output", "error_type"})
_KNOWN = frozenset({*REQUIRED, *OPTIONAL})
_TEXTS = ("instruction", "input", "output")
_SHORT = ("task_type", "input_data", "output_format", "difficulty_level")

# arXiv 2505.10717, appendix A.4; the data set's own spelling may differ in case, "_" and "-".
TASK_TYPES = frozenset(
    {
        "summarization", "question answering", "multiple choice question answering", "named entity recognition", "relation extraction",
        "classification", "reasoning & diagnosis", "textual entailment", "text simplification", "text expansion", "abbreviation expansion",
        "aspect oriented keyword extraction", "error detection & correction", "note scoring",
    }
)  # fmt: skip
OUTPUT_FORMATS = frozenset({"plain text", "json"})


def plain_label(value: str) -> str:
    return " ".join(value.casefold().replace("_", " ").replace("-", " ").replace(" and ", " & ").split())


# Labels repeat in every row: each spelling is looked at once.
_known: dict[tuple[str, str], bool] = {}
_usual: dict[str, set[str]] = {**{name: set() for name in _SHORT}, "error_type": {""}}


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[SampleRow]:
    """One sample a row. `mapping` may rename columns; columns beyond MediFlow's are refused, so that none is lost unseen."""
    if mapping and any(name != given for name, given in mapping.items()):
        row = _renamed(row, mapping, problems, place)
    sample = _sample(place, row, problems, options)
    if sample is not None:
        yield sample


def _renamed(row: Row, mapping: Mapped, problems: Problems, place: int) -> Row:
    taken = {*mapping.values()}
    made = type(row)({name: value for name, value in row.items() if name not in taken})
    for name, given in mapping.items():
        find = fields.source if name in REQUIRED else fields.optional
        if given and (value := find(row, given, problems, place)) is not fields.MISSING:
            made[name] = value
    return made


def convert_dpo(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[SampleRow]:
    """The same, and a rejected output in every row."""
    for sample in convert(place, row, mapping, problems, options):
        if not sample.rejected_output.strip():
            missing(problems, place, "rejected_output", options)
        else:
            yield sample


def missing(problems: Problems, place: int, column: str, options: Options) -> None:
    """A pair that lacks a side: a problem, or left out where that was asked."""
    tell = problems.leave_out if options.pairs == "exclude" else problems.add
    tell(place, column, "One of the two texts is missing: there is nothing to prefer.", "pair.empty")


def identical(problems: Problems, place: int, column: str, options: Options) -> None:
    tell = problems.leave_out if options.pairs == "exclude" else problems.add
    tell(place, column, "It is identical to the other text: nothing to prefer.", "pair.identical")


def _usual_sample(row: Row) -> SampleRow | None:
    """The sample of a row about which there is nothing to tell, as of most; None where `_sample` has to look closer."""
    try:
        instruction, given, output = row["instruction"], row["input"], row["output"]
        task_type, input_data = row["task_type"], row["input_data"]
        output_format, difficulty = row["output_format"], row["difficulty_level"]
        rejected, error_type, external_id = row.get("rejected_output", ""), row.get("error_type", ""), row.get("id", "")
        labels = (
            task_type in _usual["task_type"]
            and input_data in _usual["input_data"]
            and output_format in _usual["output_format"]
            and difficulty in _usual["difficulty_level"]
            and error_type in _usual["error_type"]
        )
    except (KeyError, TypeError):
        return None
    if not labels or not all(map(records.unremarkable, (instruction, given, output, rejected))):
        return None
    if not instruction or not given or instruction.isspace() or given.isspace():
        return None
    if rejected and (rejected == output or rejected.isspace()):
        return None
    if type(external_id) is not str or len(external_id) > records.MAX_ID or not external_id.isprintable():
        return None
    if external_id and (external_id[0] == " " or external_id[-1] == " "):
        return None
    scores = {}
    for name in SCORES:
        if (score := row.get(name)) is not None:
            if (type(score) is not float and type(score) is not int) or not 1 <= score <= 4:
                return None
            scores[name] = float(score)
    return SampleRow(
        external_id, instruction, given, output, task_type, input_data, output_format, difficulty, rejected, error_type, scores
    )


def _sample(place: int, row: Row, problems: Problems, options: Options) -> SampleRow | None:
    if row.keys() <= _KNOWN and (sample := _usual_sample(row)):
        return sample
    before = problems.total
    if not row.keys() <= _KNOWN:
        for name in row.keys() - _KNOWN:
            problems.add(place, records.label(name), "Unknown column. Allowed are MediFlow's columns and an id.", "import.unknown_column")
    for name in REQUIRED:
        if name not in row:
            problems.add(place, name, "The column is missing.", "import.column")
    texts: dict[str, str | None] = {}
    for name in (*_TEXTS, "rejected_output"):
        if name in row:
            texts[name] = fields.text(row[name], problems, place, name, options, required=name not in MAY_BE_EMPTY)
    for name in (*_SHORT, "error_type"):
        if name in row:
            texts[name] = fields.label(row[name], problems, place, name, most=LABELS[name], required=name not in MAY_BE_EMPTY)
    scores = {}
    for name in SCORES:
        if name in row and (score := fields.number(row[name], row, problems, place, name, low=1, high=4, scale=SCALE)) is not None:
            scores[name] = score
    external_id = fields.identifier(row.get("id"), problems, place, "id")
    if problems.total > before:
        return None
    rejected = texts.get("rejected_output") or ""
    if rejected and rejected == texts["output"]:
        identical(problems, place, "rejected_output", options)
        return None
    for name, known in (("task_type", TASK_TYPES), ("output_format", OUTPUT_FORMATS)):
        notice_label(name, texts[name] or "", known, problems, place)
    _remember(texts)
    return SampleRow(
        external_id=external_id or "", rejected_output=rejected, error_type=texts.get("error_type") or "", scores=scores,
        **{name: texts[name] or "" for name in REQUIRED},
    )  # fmt: skip


def _remember(texts: dict[str, str | None]) -> None:
    """Labels that were looked at and found usual need no second look."""
    for name, usual in _usual.items():
        value = texts.get(name)
        if value is not None and len(usual) < 1000 and _known.get((name, value), True):
            usual.add(value)


SCALE = "The judge's scale runs from 1 to 4."


def notice_label(name: str, value: str, known: frozenset[str], problems: Problems, place: int) -> None:
    found = _known.get((name, value))
    if found is None:
        if len(_known) > 10_000:
            _known.clear()
        found = _known[name, value] = plain_label(value) in known
    if not found:
        problems.warn(place, name, f"“{records.label(value)}” is not one of MediFlow's; it was kept as it is.", "import.unknown_label")
