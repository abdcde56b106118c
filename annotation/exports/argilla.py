"""Argilla 2: records as its client writes and reads them on a disk, and the settings of their fields and questions. Pure.

`argilla.Record.from_dict` builds every record, `argilla.Settings.from_json` the settings. A record's id is the pair's; response_a is the
pair's first text, for every rater, whichever side it was shown on.
"""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from annotation.exports import card, laid, levels, sealing
from annotation.exports.laid import Row, Say
from annotation.exports.shards import Meter

VERDICTS = {
    "first_much": "a_much", "first_slightly": "a", "both_acceptable": "tie", "second_slightly": "b", "second_much": "b_much",
    "both_unacceptable": "both_bad", "cannot_judge": "cannot_judge",
}  # fmt: skip
_LABELS = {
    "a_much": "A much better", "a": "A slightly better", "tie": "Both acceptable", "b": "B slightly better", "b_much": "B much better",
    "both_bad": "Both unacceptable", "cannot_judge": "Cannot judge",
}  # fmt: skip
_HARM = {"none": "None", "minor": "Minor", "major": "Major", "life_threatening": "Life-threatening"}
# Scales of a rubric's axes as numbers Argilla can show: its ratings begin at 0 and have no minus. "count" has no end and is not told.
_SCALES = {"comparative": (range(1, 6), 3), "which": (range(1, 4), 2), "risk": (range(1, 5), 0)}
_NAMESPACE = UUID("7a1b6a0e-5f2d-4d3c-9c0e-0d5a3c2f7e11")


def user(digest: str, rater: str) -> str:
    """A rater's number as the UUID that Argilla wants, of this data set alone."""
    return str(uuid5(_NAMESPACE, f"{digest}:{rater}"))


def settings(facts: Row) -> Row:
    """What `argilla.Settings.from_json` reads."""
    questions = [_choice("verdict", "Which answer is better?", _LABELS, required=True)]
    questions += [_choice(f"harm_{side}", f"Possible harm of {side.upper()}", _HARM) for side in "ab"]
    for axis in facts["campaign"]["axes"]:
        if axis["scale"] in _SCALES:
            names = [f"{axis['key']}_a", f"{axis['key']}_b"] if axis["scale"] == "risk" else [axis["key"]]
            questions += [_rating(name, axis["label"], _SCALES[axis["scale"]][0]) for name in names]
    if "rationale" not in levels.removed(facts["level"]):
        questions.append(_question("rationale", "Why?", {"type": "text", "use_markdown": False}))
    metadata = [_metadata(name, {"type": "terms", "values": None}) for name in ("split", "task_type", "sample_id", "document_type")]
    return {
        "guidelines": f"Guideline {facts['campaign']['guideline_version']}. Response A is the pair's first text for every rater.",
        "questions": questions,
        "fields": [_field(name, title) for name, title in _FIELDS.items()],
        "vectors": [],
        "metadata": [*metadata, _metadata("pair_id", {"type": "integer", "min": None, "max": None})],
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": max(1, facts["campaign"]["overlap"])},
        "mapping": None,
    }


_FIELDS = {"instruction": "Instruction", "input": "Input", "response_a": "Response A", "response_b": "Response B"}


def _question(name: str, title: str, said: Row, *, required: bool = False) -> Row:
    return {"name": name, "title": title, "description": None, "required": required, "settings": said, "type": said["type"]}


def _choice(name: str, title: str, labels: dict[str, str], *, required: bool = False) -> Row:
    options = [{"value": value, "text": text} for value, text in labels.items()]
    return _question(name, title, {"type": "label_selection", "options": options, "visible_options": None}, required=required)


def _rating(name: str, title: str, values: range) -> Row:
    return _question(name, title, {"type": "rating", "options": [{"value": value} for value in values]})


def _field(name: str, title: str) -> Row:
    # An input may be empty; Argilla refuses a required field without text.
    return {
        "name": name, "title": title, "description": None, "required": name in ("response_a", "response_b"),
        "settings": {"type": "text", "use_markdown": False},
    }  # fmt: skip


def _metadata(name: str, said: Row) -> Row:
    return {
        "name": name, "title": name.replace("_", " "), "settings": {**said, "visible_for_annotators": True},
        "visible_for_annotators": True,
    }  # fmt: skip


def record(pair: Row, answers: list[Row], facts: Row) -> Row:
    """{"id", "status", "fields", "metadata", "suggestions", "responses": {question: [{"value", "user_id", "status"}]}, "vectors"}."""
    responses: dict[str, list[Row]] = {}
    for answer in answers:
        who = user(facts["snapshot"]["digest"], answer["rater"])
        for question, value in _values(answer, facts["campaign"]["axes"]):
            responses.setdefault(question, []).append({"value": value, "user_id": who, "status": "submitted"})
    system, asked = laid.turns(pair["prompt"])
    return {
        "id": str(pair["pair_id"]),
        "status": "completed",
        "fields": {"instruction": system, "input": asked, "response_a": pair["first"], "response_b": pair["second"]},
        "metadata": {
            name: pair[name] for name in ("split", "task_type", "sample_id", "document_type", "pair_id")
        },
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }  # fmt: skip


def _values(answer: Row, axes: list[Row]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [("verdict", VERDICTS[answer["verdict"]])]
    found += [(f"harm_{side}", answer[f"harm_{which}"] or "none") for side, which in (("a", "first"), ("b", "second"))]
    for axis in axes:
        value = answer["axes"].get(axis["key"])
        if value is None or axis["scale"] not in _SCALES:
            continue
        if isinstance(value, dict):
            found += [(f"{axis['key']}_{side}", value[which]) for side, which in (("a", "first"), ("b", "second")) if which in value]
        else:
            found.append((axis["key"], value + _SCALES[axis["scale"]][1]))
    if answer.get("rationale"):
        found.append(("rationale", answer["rationale"]))
    return found


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """records.json (an array, one record a line), settings.json, raters.json (Argilla's user id → rater), manifest.json.

    Only votes that counted, of pairs whose two texts may be told.
    """
    facts = laid.facts(folder)
    meter = Meter(say, facts["total"])
    raters: dict[str, str] = {}
    pairs, votes, left = 0, 0, {"text_left_out": 0, "no_vote": 0}
    with (place / "records.json").open("w", encoding="utf-8", newline="\n") as out:
        for pair, answers in laid.heard(folder, facts["level"]):
            counted = [answer for answer in answers if answer["counted"]]
            meter(1 + len(answers))
            pairs += 1
            if why := laid.left_out(pair, counted):
                left[why] += 1
                continue
            raters |= {user(facts["snapshot"]["digest"], answer["rater"]): answer["rater"] for answer in counted}
            out.write((",\n" if votes else "[\n") + laid.encode(record(pair, counted, facts)))
            votes += len(counted)
        out.write("\n]\n" if votes else "[]\n")
    _json(place / "settings.json", settings(facts))
    _json(place / "raters.json", dict(sorted(raters.items(), key=lambda item: item[1])))
    told = sealing.Tally("pairs", pairs, left)
    return sealing.seal(place, {**card.identity(facts), "form": "argilla", "configs": {"records": told.told({"all": told.included})}})


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
