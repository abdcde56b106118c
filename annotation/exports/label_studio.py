"""Label Studio: tasks with every answer as an annotation, and the labelling configuration that they fit. Pure.

Its `Pairwise` tag knows left and right and no tie, so the verdict is told by `choices` beside it; a region's `to_name` is the one tag that
its SDK's validator accepts (label-studio-sdk 2.1.2). Left is the pair's first text, for every rater, whichever side it was shown on.
"""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from annotation.exports import card, laid, levels, sealing
from annotation.exports.laid import Row, Say
from annotation.exports.shards import Meter

# (verdict, strength): the strength is a choice of its own, so that tools which know four verdicts read them.
VERDICTS = {
    "first_much": ("a_better", "much"), "first_slightly": ("a_better", "slightly"), "both_acceptable": ("tie", ""),
    "second_slightly": ("b_better", "slightly"), "second_much": ("b_better", "much"), "both_unacceptable": ("both_bad", ""),
    "cannot_judge": ("cannot_judge", ""),
}  # fmt: skip
_SIDES = {"first": "a", "second": "b"}


def configuration(facts: Row) -> str:
    """The labelling configuration in XML."""
    choices = {
        "verdict": ["a_better", "b_better", "tie", "both_bad", "cannot_judge"],
        "strength": ["slightly", "much"],
        **{f"harm_{side}": ["minor", "major", "life_threatening"] for side in "ab"},
    }
    lines = [f'  <Text name="{name}" value="${name}"/>' for name in ("instruction", "input", "response_a", "response_b")]
    lines.append('  <Pairwise name="preference" toName="response_a,response_b"/>')
    for name, values in choices.items():
        to = f"response_{name[-1]}" if name.startswith("harm") else "input"
        listed = "".join(f"<Choice value={quoteattr(value)}/>" for value in values)
        required = ' required="true"' if name == "verdict" else ""
        lines.append(f'  <Choices name="{name}" toName="{to}" choice="single"{required}>{listed}</Choices>')
    marks = "".join(f"<Label value={quoteattr(value)}/>" for value in _marks(facts))
    if marks:
        lines += [f'  <Labels name="marks_{side}" toName="response_{side}">{marks}</Labels>' for side in "ab"]
    if "rationale" not in levels.removed(facts["level"]):
        lines.append('  <TextArea name="rationale" toName="input" rows="3"/>')
    return "<View>\n" + "\n".join(lines) + "\n</View>\n"


def _marks(facts: Row) -> list[str]:
    """A mark's kind and severity are one label: Label Studio's regions have no second attribute that its validator knows."""
    return [f"{mark['key']}:{severity}" for mark in facts["campaign"]["marks"] for severity in ("minor", "major", "life_threatening")]


def regions(pair: Row, answer: Row, labels: frozenset[str]) -> list[Row]:
    """An answer's result: the pair's winner, the verdict, its strength, flags, marks and reasons in words."""
    number = answer["judgment_id"]
    verdict, strength = VERDICTS[answer["verdict"]]
    found = []
    if verdict in ("a_better", "b_better"):
        selected = {"selected": "left" if verdict == "a_better" else "right"}
        found.append(_region(f"{number}-p", "preference", "response_a", "pairwise", selected))
    found.append(_region(f"{number}-v", "verdict", "input", "choices", {"choices": [verdict]}))
    if strength:
        found.append(_region(f"{number}-s", "strength", "input", "choices", {"choices": [strength]}))
    for which, side in _SIDES.items():
        if answer[f"harm_{which}"]:
            said = {"choices": [answer[f"harm_{which}"]]}
            found.append(_region(f"{number}-h{side}", f"harm_{side}", f"response_{side}", "choices", said))
    for place, mark in enumerate(answer["spans"] or []):
        side, label = _SIDES[mark["of"]], f"{mark['kind']}:{mark['severity']}"
        if label in labels:
            text = pair[mark["of"]][mark["start"] : mark["end"]]
            value = {"start": mark["start"], "end": mark["end"], "text": text, "labels": [label]}
            found.append(_region(f"{number}-m{place}", f"marks_{side}", f"response_{side}", "labels", value))
    if answer.get("rationale"):
        found.append(_region(f"{number}-r", "rationale", "input", "textarea", {"text": [answer["rationale"]]}))
    return found


def _region(name: str, from_name: str, to_name: str, kind: str, value: Row) -> Row:
    return {"id": name, "from_name": from_name, "to_name": to_name, "type": kind, "value": value}


def task(pair: Row, answers: list[Row], facts: Row, labels: frozenset[str]) -> Row:
    """{"data", "annotations": [{"completed_by", "lead_time", "was_cancelled", "ground_truth", "result"}]}; `completed_by` is the rater's
    number, `lead_time` in seconds where the level tells times."""
    system, asked = laid.turns(pair["prompt"])
    names = ("pair_id", "sample_id", "task_type", "document_type", "output_format", "difficulty_level", "split")
    told = []
    for answer in answers:
        made: Row = {
            "completed_by": int(answer["rater"][1:]), "was_cancelled": False, "ground_truth": answer["is_gold"],
            "result": regions(pair, answer, labels),
        }  # fmt: skip
        if answer.get("active_ms") is not None:
            made["lead_time"] = answer["active_ms"] / 1000
        told.append(made)
    return {
        "data": {
            "instruction": system, "input": asked, "response_a": pair["first"], "response_b": pair["second"],
            **{name: pair[name] for name in names},
        },
        "annotations": told,
    }  # fmt: skip


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """tasks.json (an array, one task a line), label_config.xml, manifest.json. Votes that counted, of pairs whose texts may be told."""
    facts = laid.facts(folder)
    meter, labels = Meter(say, facts["total"]), frozenset(_marks(facts))
    pairs, left = 0, {"text_left_out": 0, "no_vote": 0}
    with (place / "tasks.json").open("w", encoding="utf-8", newline="\n") as out:
        first = True
        for pair, answers in laid.heard(folder, facts["level"]):
            counted = [answer for answer in answers if answer["counted"]]
            meter(1 + len(answers))
            pairs += 1
            if why := laid.left_out(pair, counted):
                left[why] += 1
                continue
            out.write(("[\n" if first else ",\n") + laid.encode(task(pair, counted, facts, labels)))
            first = False
        out.write("[]\n" if first else "\n]\n")
    (place / "label_config.xml").write_text(configuration(facts), encoding="utf-8")
    told = sealing.Tally("pairs", pairs, left)
    return sealing.seal(place, {**card.identity(facts), "form": "label-studio", "configs": {"tasks": told.told({"all": told.included})}})
