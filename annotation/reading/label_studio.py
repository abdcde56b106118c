"""Label Studio's JSON export of a pairwise project: tasks with their annotations. Predictions, which models make, are not read."""

from collections.abc import Iterator, Mapping
from typing import Any

from annotation.reading import fields, verdicts
from annotation.reading.fields import MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import FIRST_MUCH, FIRST_SLIGHTLY, SECOND_MUCH, SECOND_SLIGHTLY, PreferenceRow
from annotation.records import Problems, Row

DEFAULT = {
    "id": "id", "instruction": "instruction", "input": "input", "first": "response_a", "second": "response_b", "pairwise": "preference",
    "verdict": "verdict", "rationale": "rationale", "strength": "=slightly", "first_system": "", "second_system": "",
}  # fmt: skip
SELECTED = {"left": "a", "right": "b"}
_OPPOSED = {"left": (SECOND_MUCH, SECOND_SLIGHTLY), "right": (FIRST_MUCH, FIRST_SLIGHTLY)}


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """One preference an annotation that was not cancelled. `first` and `second` are the task's data fields shown left and right.

    A `choices` region called `verdict` (a_better, b_better, tie, both_bad, or our own codes) says more than the pairwise region, which
    knows left and right only; where the two oppose each other the annotation is refused.
    """
    given = {**DEFAULT, **mapping}
    before = problems.total
    data, annotations = row.get("data"), row.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        problems.add(place, "data", "A task with data and annotations is expected: export the project as JSON.", "import.type")
        return
    instruction = fields.text_of(data, given["instruction"], problems, place, options)
    asked = fields.text_of(data, given["input"], problems, place, options)
    first = fields.text_of(data, given["first"], problems, place, options, required=False)
    second = fields.text_of(data, given["second"], problems, place, options, required=False)
    if problems.total > before or instruction is None or asked is None or first is None or second is None:
        return
    if not verdicts.pair(first, second, problems, place, (given["first"], given["second"]), options):
        return
    named = fields.optional(data, given["id"], problems, place)
    made = verdicts.sample(
        data, given, problems, place, external_id=row.get("id") if named is MISSING else named, instruction=instruction, given=asked
    )
    systems = [verdicts.system(data, given[name], problems, place) or "" for name in ("first_system", "second_system")]
    if made is None or problems.total > before:
        return
    said = 0
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result", []), list):
            problems.add(place, "annotations", "An annotation is an object with a list of results.", "import.type")
            return
        if annotation.get("was_cancelled") is True:
            problems.leave_out(place, "annotations", "An annotation was skipped by its annotator.", "pair.cancelled")
            continue
        regions = [one for one in annotation.get("result", []) if isinstance(one, dict)]
        verdict = _verdict(regions, given, problems, place)
        if verdict is None:
            return
        if verdict is MISSING:
            continue
        rationale = fields.text(_texts(regions, given["rationale"]), problems, place, given["rationale"], options, required=False)
        if rationale is None:
            return
        said += 1
        yield verdicts.preference(
            made, (first, systems[0]), (second, systems[1]), verdict, rater=_rater(annotation.get("completed_by")), rationale=rationale,
            rated_at=str(annotation.get("created_at") or ""), extra=_extra(annotation, regions),
        )  # fmt: skip
    if not said:
        problems.leave_out(place, "annotations", "Nobody has answered this task.", "pair.unanswered")


def _value(regions: list[dict[str, Any]], name: str, key: str) -> Any:
    for region in regions:
        if region.get("from_name") == name and isinstance(region.get("value"), dict) and key in region["value"]:
            return region["value"][key]
    return MISSING


def _verdict(regions: list[dict[str, Any]], given: Mapped, problems: Problems, place: int) -> Any:
    side = _value(regions, given["pairwise"], "selected")
    if side is not MISSING and side not in tuple(SELECTED):
        verdicts.unknown(side, problems, place, given["pairwise"])
        return None
    choices = _value(regions, given["verdict"], "choices")
    # Our own export tells the strength in a region beside.
    told = _value(regions, "strength", "choices")
    strength = told[0] if isinstance(told, list) and told in (["much"], ["slightly"]) else given["strength"].removeprefix("=")
    if choices is MISSING or choices == []:
        return MISSING if side is MISSING else verdicts.of_word(SELECTED[side], strength)
    word = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    verdict = verdicts.of_word(word, strength)
    if verdict is None:
        verdicts.unknown(word, problems, place, given["verdict"])
    elif side is not MISSING and verdict in _OPPOSED[side]:
        problems.add(place, given["verdict"], f"The verdict opposes the side selected ({side}).", "pair.conflict")
        return None
    return verdict


def _texts(regions: list[dict[str, Any]], name: str) -> Any:
    text = _value(regions, name, "text")
    if text is MISSING:
        return ""
    return "\n".join(text) if isinstance(text, list) and all(isinstance(one, str) for one in text) else text


def _rater(value: Any) -> str:
    """The annotator's number. An e-mail address is not taken along."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _extra(annotation: dict[str, Any], regions: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("lead_time", "ground_truth"):
        if isinstance(annotation.get(name), int | float):
            found[name] = annotation[name]
    rating = next((r["value"]["rating"] for r in regions if isinstance(r.get("value"), dict) and "rating" in r["value"]), None)
    if isinstance(rating, int):
        found["confidence"] = rating
    for region in regions:
        if str(region.get("from_name", "")).startswith("harm_") and isinstance(region.get("value"), dict):
            found[str(region["from_name"])] = region["value"].get("choices")
    spans = [
        {"of": str(r.get("to_name", "")), **{key: r["value"][key] for key in ("start", "end", "labels") if key in r["value"]}}
        for r in regions
        if r.get("type") == "labels" and isinstance(r.get("value"), dict)
    ]
    if spans:
        found["spans"] = spans
    return found
