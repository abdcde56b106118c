"""Potato's pairwise annotations (binary with ties, or a scale): one row a person and item, as its exporters write them.

Potato's exports hold verdicts and no texts. They are read with their items beside them (a folder with `annotations` and `items`, see
`annotation.reading.folders`), with the item's fields in the row, or with the `displayed_text` that older versions wrote.
"""

import re
from collections.abc import Iterator
from typing import Any

from annotation.reading import conversations, fields, verdicts
from annotation.reading.fields import MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import PreferenceRow
from annotation.records import Problems, Row, kind

DEFAULT = {
    "id": "instance_id", "instruction": conversations.NO_SYSTEM, "input": "prompt", "items": "responses", "first": "left",
    "second": "right",
    "schema": "", "scale_end": "=3", "strength": "=slightly", "rater": "user_id", "first_system": "", "second_system": "",
}  # fmt: skip
_SHOWN = re.compile(r"\A\s*A[.)] (.*?)\s*(?:<br\s*/?>|\n)\s*B[.)] (.*)\Z", re.DOTALL)


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """One preference a row. A negative scale value prefers the first; `scale_end` is the scale's end, 3 unless said otherwise."""
    given = {**DEFAULT, **mapping}
    before = problems.total
    answer = _answer(row, given["schema"], problems, place)
    if answer is None:
        return
    item = row.get("item") if isinstance(row.get("item"), dict) else row
    assert isinstance(item, dict)
    sides = _sides(row, item, given, problems, place)
    if sides is None:
        return
    instruction = fields.text_of(item, given["instruction"], problems, place, options)
    asked = fields.text_of(item, given["input"], problems, place, options)
    texts = [fields.text(side, problems, place, column, options, required=False) for side, column in sides]
    if problems.total > before or instruction is None or asked is None:
        return
    if not verdicts.pair(texts[0], texts[1], problems, place, (sides[0][1], sides[1][1]), options):
        return
    verdict = _verdict(answer, given, problems, place)
    named = fields.optional(row, given["id"], problems, place)
    made = verdicts.sample(
        item, given, problems, place, external_id=row.get("id") if named is MISSING else named, instruction=instruction, given=asked
    )
    systems = [verdicts.system(item, given[name], problems, place) or "" for name in ("first_system", "second_system")]
    rater = fields.identifier(fields.optional(row, given["rater"], problems, place), problems, place, given["rater"])
    if problems.total > before or made is None or verdict is None or texts[0] is None or texts[1] is None:
        return
    yield verdicts.preference(made, (texts[0], systems[0]), (texts[1], systems[1]), verdict, rater=rater or "")


def answers(row: Row) -> dict[str, dict[str, Any]]:
    """What was answered in each pairwise scheme, whichever exporter wrote the row: {"selection"} or {"scale_value"}."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("labels", "label_annotations", "annotations"):
        if isinstance(row.get(name), dict):
            for schema, answer in row[name].items():
                inner = answer.get("labels", answer) if isinstance(answer, dict) else None
                if isinstance(inner, dict) and inner.keys() & {"selection", "scale_value"}:
                    found[schema] = inner
    for column, value in row.items():
        schema, dot, key = column.rpartition(".")
        if dot and key in ("selection", "scale_value") and value not in (None, ""):
            found.setdefault(schema, {})[key] = value
    return found


def _answer(row: Row, schema: str, problems: Problems, place: int) -> dict[str, Any] | None:
    found = answers(row)
    if schema:
        found = {name: answer for name, answer in found.items() if name == schema}
    if not found:
        problems.leave_out(place, "", "The row holds no pairwise answer.", "pair.unanswered")
        return None
    if len(found) > 1:
        problems.add(place, "", "Several pairwise schemes are answered: say which one is the verdict.", "pair.verdict")
        return None
    return next(iter(found.values()))


def _sides(row: Row, item: Row, given: Mapped, problems: Problems, place: int) -> list[tuple[Any, str]] | None:
    listed = fields.nested(item.get(given["items"]), item if isinstance(item, fields.TextRow) else row, problems, place)
    if isinstance(listed, list):
        if len(listed) != 2:
            problems.add(place, given["items"], f"{len(listed)} items are compared; pairs are read.", "pair.sides")
            return None
        return [(one, given["items"]) for one in listed]
    if given["first"] in item and given["second"] in item:
        return [(item[given["first"]], given["first"]), (item[given["second"]], given["second"])]
    shown = row.get("displayed_text")
    if isinstance(shown, str) and (found := _SHOWN.match(shown)):
        return [(found[1], "displayed_text"), (found[2], "displayed_text")]
    problems.add(
        place, given["items"], "The two texts are not in the row. Potato exports verdicts only: put the project's items beside them.",
        "pair.empty",
    )  # fmt: skip
    return None


def _verdict(answer: dict[str, Any], given: Mapped, problems: Problems, place: int) -> str | None:
    if "selection" in answer:
        verdict = verdicts.of_word(answer["selection"], given["strength"].removeprefix("="))
        if verdict is None:
            verdicts.unknown(answer["selection"], problems, place, "selection")
        return verdict
    value, end = _number(answer["scale_value"]), _number(given["scale_end"].removeprefix("="))
    if value is None or end is None or end <= 0 or abs(value) > end:
        problems.add(
            place, "scale_value", f"A number between the scale's ends is expected, not {kind(answer['scale_value'])} beyond.", "import.type"
        )
        return None
    return verdicts.of_scale(value, end)


def _number(value: Any) -> float | None:
    # Potato writes the slider's value as text.
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?", value):
        return float(value)
    return None
