"""Rows of any columns, mapped to samples, completions, documents or pairs by the importer."""

from collections.abc import Iterator
from typing import Any

from annotation import records
from annotation.reading import fields, verdicts
from annotation.reading.fields import MAX_SYSTEM, MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import CompletionRow, DocumentRow, PreferenceRow, SampleRow
from annotation.records import Problems, Row

MAX_TITLE = 300
OUTPUT_SIZES = {"qa": 2, "relations": 3, "entities": 1}
# apostrophes: "=remove" takes away the one that keeps a spreadsheet's cell from being a formula: `annotation.exports.spreadsheet`.
PAIR = {
    "strength": "=slightly", "id": "", "first_system": "", "second_system": "", "rater": "", "rationale": "", "rated_at": "",
    "apostrophes": "",
}  # fmt: skip


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[SampleRow]:
    """One sample a row: instruction and input have to be mapped, columns that are not mapped are not taken."""
    before = problems.total
    instruction, given, output = (
        fields.text_of(row, mapping.get(name, ""), problems, place, options, required=name != "output")
        for name in ("instruction", "input", "output")
    )
    found = fields.optional(row, mapping.get("id", ""), problems, place)
    if problems.total > before or instruction is None or given is None or output is None:
        return
    made = verdicts.sample(row, mapping, problems, place, external_id=found, instruction=instruction, given=given, output=output)
    if made is not None:
        yield made


def convert_completion(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[CompletionRow]:
    """One completion a row: the sample's id, the system's name (a column, or a constant for a file of one system), its text."""
    before = problems.total
    wanted = {"id": "id", "system": "system", "text": "text", **mapping}
    sample_id = fields.source(row, wanted["id"], problems, place)
    system = fields.source(row, wanted["system"], problems, place)
    text = fields.text_of(row, wanted["text"], problems, place, options)
    if problems.total > before:
        return
    sample = fields.identifier(sample_id, problems, place, records.label(wanted["id"]))
    if sample == "":
        problems.add(place, records.label(wanted["id"]), "The sample's id is empty.", "text.empty")
    name = records.check_id(system, problems, place, records.label(wanted["system"]))
    if name is not None and len(name) > MAX_SYSTEM:
        problems.add(
            place, records.label(wanted["system"]), f"The name has {len(name)} characters; {MAX_SYSTEM} are allowed.", "text.too_long"
        )
    if problems.total == before and sample and name and text is not None:
        yield CompletionRow(sample, name, text)


def convert_document(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[DocumentRow]:
    """One document a row; `outputs` is a column with the object of task outputs, and single outputs may be mapped too."""
    before = problems.total
    wanted = {"id": "id", "title": "title", "text": "text", "outputs": "outputs", **mapping}
    text = fields.text_of(row, wanted["text"], problems, place, options)
    title = fields.text_of(row, wanted["title"], problems, place, options, required=False)
    if title and len(title) > MAX_TITLE:
        problems.add(
            place, records.label(wanted["title"]), f"The title has {len(title)} characters; {MAX_TITLE} are allowed.", "text.too_long"
        )
    found = fields.identifier(fields.optional(row, wanted["id"], problems, place), problems, place, records.label(wanted["id"]))
    given = fields.optional(row, wanted["outputs"], problems, place)
    outputs: Any = {} if given in (MISSING, "") else fields.nested(given, row, problems, place)
    if wanted.get("summary") and isinstance(outputs, dict):
        summary = fields.text_of(row, wanted["summary"], problems, place, options, required=False)
        outputs = {**outputs, "summary": summary} if summary else outputs
    question, answer = wanted.get("question"), wanted.get("answer")
    if question and answer and isinstance(outputs, dict):
        asked = [fields.text_of(row, one, problems, place, options) for one in (question, answer)]
        if None not in asked:
            outputs = {**outputs, "qa": [*outputs.get("qa", []), asked]}
    if outputs is not MISSING:
        check_outputs(outputs, problems, place, records.label(wanted["outputs"]))
    if problems.total == before and text is not None and found is not None:
        yield DocumentRow(found, title or "", text, outputs)


def check_outputs(given: Any, problems: Problems, place: int, column: str) -> None:
    """Every kind is known and has its shape: summary, a text; qa, [[question, answer], …]; entities, [text, …]; relations, triples."""
    if not isinstance(given, dict):
        problems.add(place, column, "An object is expected, with a kind of task for each key.", "import.type")
        return
    for kind, content in given.items():
        where = f"{column}.{records.label(kind)}"
        if kind == "summary":
            records.check_text(content, problems, place, where)
        elif kind in OUTPUT_SIZES:
            entries = [[one] for one in content] if kind == "entities" and isinstance(content, list) else content
            check_tuples(entries, OUTPUT_SIZES[kind], problems, place, where)
        else:
            problems.add(place, where, "Unknown task. Known are summary, qa, entities, relations.", "import.unknown_column")


def check_tuples(content: Any, size: int, problems: Problems, place: int, where: str) -> None:
    if not isinstance(content, list) or not content:
        problems.add(place, where, "A list that is not empty is expected.", "import.type")
        return
    for number, entry in enumerate(content, start=1):
        if not isinstance(entry, list) or len(entry) != size:
            problems.add(place, where, f"Entry {number} is no list of {size} texts.", "import.type")
            return
        if any(records.check_text(text, problems, place, where) is None for text in entry):
            return


def convert_pair(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """One preference a row: instruction, input, first, second and verdict have to be mapped."""
    given = {**PAIR, **mapping}
    if given["apostrophes"] == "=remove":
        row = type(row)({name: value.removeprefix("'") if isinstance(value, str) else value for name, value in row.items()})
    before = problems.total
    instruction, asked = (fields.text_of(row, given.get(name, ""), problems, place, options) for name in ("instruction", "input"))
    texts = [fields.text_of(row, given.get(name, ""), problems, place, options, required=False) for name in ("first", "second")]
    columns = (records.label(given.get("first", "")), records.label(given.get("second", "")))
    if problems.total > before or instruction is None or asked is None:
        return
    if not verdicts.pair(texts[0], texts[1], problems, place, columns, options):
        return
    said = fields.source(row, given["verdict"], problems, place) if given.get("verdict") else MISSING
    verdict = verdicts.of_word(said, given["strength"].removeprefix("="))
    if verdict is None:
        verdicts.unknown(None if said is MISSING else said, problems, place, records.label(given.get("verdict", "")))
    found = fields.optional(row, given["id"], problems, place)
    made = verdicts.sample(row, given, problems, place, external_id=found, instruction=instruction, given=asked)
    systems = [verdicts.system(row, given[name], problems, place) or "" for name in ("first_system", "second_system")]
    rater = fields.identifier(fields.optional(row, given["rater"], problems, place), problems, place, records.label(given["rater"]))
    rationale = fields.text_of(row, given["rationale"], problems, place, options, required=False)
    when = fields.label_of(row, given["rated_at"], problems, place, most=40)
    if problems.total > before or made is None or verdict is None or texts[0] is None or texts[1] is None:
        return
    yield verdicts.preference(
        made, (texts[0], systems[0]), (texts[1], systems[1]), verdict, rater=rater or "", rationale=rationale or "", rated_at=when or ""
    )
