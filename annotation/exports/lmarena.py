"""LMArena's rows: two conversations, who won, who judged; arena-rank and evalica read them unchanged. Producers are numbered. Pure."""

from pathlib import Path
from typing import Any

from annotation.exports import card, laid, sealing
from annotation.exports.laid import Row, Say, said
from annotation.exports.lines import Lines

WINNERS = {
    "first_much": "model_a", "first_slightly": "model_a", "both_acceptable": "tie", "second_slightly": "model_b", "second_much": "model_b",
    "both_unacceptable": "tie (bothbad)",
}  # fmt: skip


def row(pair: Row, answer: Row) -> Row:
    """One vote; `model_a` is the producer of the text shown on the left, as there."""
    left, right = ("first", "second") if answer["displayed_left"] == "first" else ("second", "first")
    winner = WINNERS[answer["verdict"]]
    if left == "second":
        winner = {"model_a": "model_b", "model_b": "model_a"}.get(winner, winner)
    return {
        "question_id": str(pair["pair_id"]), "model_a": pair[f"{left}_by"], "model_b": pair[f"{right}_by"], "winner": winner,
        "judge": answer["rater"], "conversation_a": [*pair["prompt"], *said(pair[left])],
        "conversation_b": [*pair["prompt"], *said(pair[right])], "turn": 1, "anony": True, "language": "English",
        "tstamp": answer.get("submitted_at"), "task_type": pair["task_type"], "sample_id": pair["sample_id"],
    }  # fmt: skip


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """<split>.jsonl and manifest.json. It knows no strength and no "cannot judge": the first is lost, the second left out and counted."""
    facts = laid.facts(folder)
    answers_told, left = 0, {"text_left_out": 0, "not_counted": 0, "cannot_judge": 0}
    with Lines(place, ".jsonl", say, facts["total"]) as out:
        for pair, answers in laid.heard(folder, facts["level"]):
            for answer in answers:
                answers_told += 1
                if laid.left_out(pair, answers):
                    left["text_left_out"] += 1
                elif not answer["counted"]:
                    left["not_counted"] += 1
                elif answer["verdict"] not in WINNERS:
                    left["cannot_judge"] += 1
                else:
                    out.put(pair["split"], laid.encode(row(pair, answer)))
    told = sealing.Tally("answers", answers_told, left)
    return sealing.seal(place, {**card.identity(facts), "form": "lmarena", "configs": {"votes": told.told(out.rows)}})
