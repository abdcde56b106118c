"""Argilla 2.x: records as `to_json` writes them, or flattened as `to_list(flatten=True)` and data sets have them. A person's response is a
verdict; suggestions, which models make, are not."""

from collections.abc import Iterator, Mapping
from typing import Any

from annotation.reading import fields, verdicts
from annotation.reading.fields import MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import PreferenceRow
from annotation.records import Problems, Row, kind, label

DEFAULT = {
    "id": "id", "instruction": "instruction", "input": "input", "first": "response_a", "second": "response_b", "verdict": "verdict",
    "rationale": "rationale", "strength": "=slightly", "first_rating": "", "second_rating": "", "first_system": "", "second_system": "",
}  # fmt: skip
# A tuple: what a file says here may be anything, also what has no hash.
SUBMITTED = ("submitted", "", None)


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """One preference a person's response. Drafts and discarded responses are left out and counted.

    The question named `verdict` may be a label (a_much, a, tie, b, b_much, both_bad, our own codes, or the name of the preferred field),
    or a ranking of the two fields; instead of it, `first_rating` and `second_rating` may name two rating questions.
    """
    given = {**DEFAULT, **mapping}
    before = problems.total
    inner = _unflattened(row, problems, place)
    if inner is None:
        return
    texts = inner["fields"]
    instruction = fields.text_of(texts, given["instruction"], problems, place, options)
    asked = fields.text_of(texts, given["input"], problems, place, options)
    first = fields.text_of(texts, given["first"], problems, place, options, required=False)
    second = fields.text_of(texts, given["second"], problems, place, options, required=False)
    if problems.total > before or instruction is None or asked is None or first is None or second is None:
        return
    if not verdicts.pair(first, second, problems, place, (given["first"], given["second"]), options):
        return
    around = {**inner["metadata"], **texts}
    made = verdicts.sample(
        around, given, problems, place, external_id=fields.optional(row, given["id"], problems, place), instruction=instruction, given=asked
    )  # fmt: skip
    systems = [verdicts.system(around, given[name], problems, place) or "" for name in ("first_system", "second_system")]
    if made is None or problems.total > before:
        return
    answers = inner["responses"]
    said = 0
    for rater, status in _raters(answers):
        if status not in SUBMITTED:
            problems.leave_out(place, "", "A response is a draft or was discarded.", "pair.not_submitted")
            continue
        verdict = _verdict(answers, rater, given, problems, place)
        if verdict is MISSING:
            continue
        if verdict is None:
            return
        said += 1
        yield verdicts.preference(
            made, (first, systems[0]), (second, systems[1]), verdict, rater=rater,
            rationale=_text(answers, given["rationale"], rater, problems, place),
            extra={
                name: value for name in answers if name not in (given["verdict"], given["rationale"])
                if isinstance(value := _answer(answers, name, rater), str | int | float)
            },
        )  # fmt: skip
    if not said:
        problems.leave_out(place, given["verdict"], "Nobody has answered this record.", "pair.unanswered")


def _unflattened(row: Row, problems: Problems, place: int) -> dict[str, dict[str, Any]] | None:
    if isinstance(row.get("fields"), dict):
        parts = {name: row.get(name) or {} for name in ("fields", "metadata", "responses")}
        for name, part in parts.items():
            if not isinstance(part, dict):
                problems.add(place, name, f"An object is expected, not {kind(part)}.", "import.type")
                return None
        responses = {}
        for question, given in parts["responses"].items():
            if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
                problems.add(place, "responses", "A list of {value, user_id} for each question is expected.", "import.type")
                return None
            responses[question] = [(str(one.get("user_id") or ""), one.get("value"), one.get("status")) for one in given]
        return {"fields": parts["fields"], "metadata": parts["metadata"], "responses": responses}
    found: dict[str, Any] = {}
    for name in row:
        if name.endswith(".responses"):
            question = name.removesuffix(".responses")
            values = fields.nested(row[name], row, problems, place)
            if values is None:
                continue
            users = fields.nested(row.get(f"{name}.users") or [], row, problems, place)
            states = fields.nested(row.get(f"{name}.status") or [], row, problems, place)
            if not all(isinstance(one, list) for one in (values, users, states)) or (users and len(users) != len(values)):
                problems.add(place, label(name), "Responses and users are not lists of one length.", "import.type")
                return None
            found[question] = [
                (str(users[at]) if users else "", value, states[at] if at < len(states) else None) for at, value in enumerate(values)
            ]
    return {"fields": row, "metadata": {}, "responses": found}


Answers = Mapping[str, list[tuple[str, Any, Any]]]


def _raters(answers: Answers) -> list[tuple[str, Any]]:
    """Everybody who answered a question, once, in the order of the file."""
    return list({rater: (rater, status) for given in answers.values() for rater, _, status in given}.values())


def _answer(answers: Answers, question: str, rater: str) -> Any:
    return next((value for who, value, _ in answers.get(question, ()) if who == rater), MISSING)


def _text(answers: Answers, question: str, rater: str, problems: Problems, place: int) -> str:
    value = _answer(answers, question, rater)
    if value is MISSING or value is None:
        return ""
    return fields.text(value, problems, place, question, required=False) or ""


def _verdict(answers: Answers, rater: str, given: Mapped, problems: Problems, place: int) -> Any:
    """A verdict; MISSING where this person gave none; None after a problem."""
    if given["first_rating"] and given["second_rating"]:
        ratings = [_answer(answers, given[name], rater) for name in ("first_rating", "second_rating")]
        if MISSING in ratings:
            return MISSING
        numbers = [fields.whole(one) for one in ratings]
        if None in numbers:
            problems.add(place, given["first_rating"], "A rating is no whole number.", "import.type")
            return None
        # Ratings have no common end: two points and more are "much".
        return verdicts.of_scale(float(numbers[1] - numbers[0]), 3.0)  # type: ignore[operator]
    value = _answer(answers, given["verdict"], rater)
    if value is MISSING or value is None:
        return MISSING
    if isinstance(value, list):
        return _ranked(value, given, problems, place)
    strength = given["strength"].removeprefix("=")
    verdict = verdicts.of_word({given["first"]: "a", given["second"]: "b"}.get(value, value) if isinstance(value, str) else value, strength)
    if verdict is None:
        verdicts.unknown(value, problems, place, given["verdict"])
    return verdict


def _ranked(value: list[Any], given: Mapped, problems: Problems, place: int) -> str | None:
    ranks = {
        one.get("value"): fields.whole(one.get("rank")) for one in value if isinstance(one, dict) and isinstance(one.get("value"), str)
    }
    first, second = ranks.get(given["first"]), ranks.get(given["second"])
    if first is None or second is None:
        problems.add(place, given["verdict"], "The ranking does not hold both fields.", "pair.verdict")
        return None
    word = "tie" if first == second else "a" if first < second else "b"
    return verdicts.of_word(word, given["strength"].removeprefix("="))
