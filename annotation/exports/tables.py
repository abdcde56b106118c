"""The columns of every config of the data set, and how a laid-out row becomes one of theirs. Pure: dictionaries in, dictionaries out."""

import json
from collections.abc import Iterator
from math import log
from typing import Any

import pyarrow as pa

from annotation.exports import levels
from annotation.exports.laid import Row, said

SPLITS = ("train", "validation", "evaluation")
_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_WHERE = [("pair_id", pa.int64()), ("sample_id", pa.string()), ("task_type", pa.string())]
_VOTES = [
    ("p_chosen", pa.float64()), ("votes_chosen", pa.int64()), ("votes_rejected", pa.int64()), ("votes_tie", pa.int64()),
    ("strength", pa.float64()), ("basis", pa.string()),
]  # fmt: skip
_HARM = pa.struct([("severity", pa.string()), ("type", pa.string())])
_SPAN = pa.struct([("of", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("kind", pa.string()), ("severity", pa.string())])
VERDICTS = (
    "first_much", "first_slightly", "both_acceptable", "second_slightly", "second_much", "both_unacceptable", "cannot_judge",
)  # fmt: skip

COLUMNS: dict[str, list[tuple[str, Any]]] = {
    "dpo": [("prompt", _TURNS), ("chosen", _TURNS), ("rejected", _TURNS), *_WHERE],
    "dpo_soft": [("prompt", _TURNS), ("chosen", _TURNS), ("rejected", _TURNS), *_VOTES, *_WHERE],
    "kto": [("prompt", _TURNS), ("completion", _TURNS), ("label", pa.bool_()), ("side", pa.string()), *_WHERE],
    "reward": [("chosen", _TURNS), ("rejected", _TURNS), ("margin", pa.float64()), *_WHERE],
    "sft_edits": [("prompt", _TURNS), ("completion", _TURNS), ("judgment_id", pa.int64()), *_WHERE],
    "judgments": [
        ("judgment_id", pa.int64()), ("revision", pa.int64()), *_WHERE, ("campaign", pa.string()), ("form_version", pa.string()),
        ("guideline_version", pa.string()), ("rater_pseudonym", pa.string()), ("specialty_bucket", pa.string()), ("kind", pa.string()),
        ("counted", pa.bool_()), ("verdict", pa.string()), ("strength", pa.int64()), ("cannot_reason", pa.string()),
        ("reasons", pa.list_(pa.string())), ("harm_first", _HARM), ("harm_second", _HARM), ("criteria", pa.string()),
        ("confidence", pa.string()), ("hard", pa.string()), ("rationale", pa.string()), ("spans", pa.list_(_SPAN)), ("edited", pa.string()),
        ("edited_text", pa.string()), ("displayed_left", pa.string()), ("is_gold", pa.bool_()), ("is_repeat", pa.bool_()),
        ("selection_policy", pa.string()), ("served_at", pa.string()), ("submitted_at", pa.string()), ("active_ms", pa.int64()),
        ("client", pa.string()),
    ],
    "pairs": [
        *_WHERE, ("document_type", pa.string()), ("output_format", pa.string()), ("difficulty_level", pa.string()), ("prompt", _TURNS),
        ("first", pa.string()), ("second", pa.string()), ("first_by", pa.string()), ("second_by", pa.string()), ("chosen", pa.string()),
        ("left_out", pa.string()), ("p_first", pa.float64()), ("judgements", pa.int64()), *((verdict, pa.int64()) for verdict in VERDICTS),
        ("harm_first", pa.bool_()), ("harm_second", pa.bool_()), ("selection_policy", pa.string()), ("selection_probability", pa.float64()),
    ],
}  # fmt: skip
# What it is for, in the card and on the page.
PURPOSES = {
    "dpo": "preferences for TRL's DPOTrainer and everything that reads its format; the default",
    "dpo_soft": "the same pairs with how surely the chosen side is better, for trainers with soft targets",
    "kto": "single answers labelled good or bad, for TRL's KTOTrainer",
    "reward": "whole conversations with a margin, for TRL's RewardTrainer",
    "sft_edits": "what raters made of the better answer, for TRL's SFTTrainer",
    "judgments": "every answer, one a row: votes and flags kept as they were given",
    "pairs": "what was compared, with votes counted; `judgments` refers to it by `pair_id`",
}
_STRENGTH = {"first_much": 2, "first_slightly": 1, "both_acceptable": 0, "second_slightly": -1, "second_much": -2}


def configs(level: str) -> dict[str, Any]:
    """The Arrow schema of every config at a level. Without what raters wrote there are no edits to learn from."""
    gone = levels.removed(level)
    return {
        name: pa.schema([(column, kind) for column, kind in columns if column not in gone])
        for name, columns in COLUMNS.items()
        if name != "sft_edits" or "edited_text" not in gone
    }


def _where(row: Row) -> Row:
    return {"pair_id": row["pair_id"], "sample_id": row["sample_id"], "task_type": row["task_type"]}


def dpo(row: Row) -> Row:
    return {"prompt": row["prompt"], "chosen": said(row["chosen"]), "rejected": said(row["rejected"]), **_where(row)}


def dpo_soft(row: Row) -> Row:
    votes = row["votes"]
    return {
        "prompt": row["prompt"], "chosen": said(row["chosen"]), "rejected": said(row["rejected"]), "p_chosen": float(row["p_chosen"]),
        "votes_chosen": votes.get("chosen"), "votes_rejected": votes.get("rejected"), "votes_tie": votes.get("tie"),
        "strength": float(votes.get("strength") or 0.0), "basis": votes.get("basis"), **_where(row),
    }  # fmt: skip


def margin(p_chosen: float) -> float:
    """ln(p / (1 − p)): how far apart two rewards have to lie for a Bradley–Terry rater to prefer the chosen side with p."""
    return round(log(p_chosen / (1 - p_chosen)), 6)


def reward(row: Row) -> Row:
    whole = {side: [*row["prompt"], *said(row[side])] for side in ("chosen", "rejected")}
    return {**whole, "margin": margin(row["p_chosen"]), **_where(row)}


def kto(row: Row) -> Iterator[Row]:
    """Of a preference one answer each."""
    for side, label in (("chosen", True), ("rejected", False)):
        yield {"prompt": row["prompt"], "completion": said(row[side]), "label": label, "side": side, **_where(row)}


def kto_unfit(pair: Row) -> Iterator[Row]:
    """Both answers of a pair that raters found unacceptable on both sides."""
    for side in ("first", "second"):
        yield {"prompt": pair["prompt"], "completion": said(pair[side]), "label": False, "side": side, **_where(pair)}


def why_no_edit(pair: Row, answer: Row) -> str:
    """Why an edit teaches nothing, or nothing: only an edit of the frozen, preferred side does, for that is never a harmful one."""
    if answer["edited_text"] is None:
        return "text_left_out"
    if not answer["counted"]:
        return "not_counted"
    if pair["chosen"] is None:
        return "pair_teaches_no_preference"
    return "" if answer["edited"] == pair["chosen"] else "edit_of_the_side_not_preferred"


def sft_edit(pair: Row, answer: Row) -> Row:
    return {
        "prompt": pair["prompt"], "completion": said(answer["edited_text"]), "judgment_id": answer["judgment_id"], **_where(pair)
    }  # fmt: skip


def judgment(answer: Row, facts: Row) -> Row:
    """An answer under the names of the export format; fields that its level removed stay away."""
    campaign = facts["campaign"]
    made = {
        "judgment_id": answer["judgment_id"], "revision": answer["revision"], **_where(answer), "campaign": campaign["id"],
        "form_version": campaign["form_version"], "guideline_version": campaign["guideline_version"], "rater_pseudonym": answer["rater"],
        "specialty_bucket": answer["specialty"], "kind": answer["kind"], "counted": answer["counted"], "verdict": answer["verdict"],
        "strength": _STRENGTH.get(answer["verdict"]), "cannot_reason": answer["cannot_reason"], "reasons": answer["reasons"],
        "harm_first": {"severity": answer["harm_first"], "type": answer["harm_first_type"]},
        "harm_second": {"severity": answer["harm_second"], "type": answer["harm_second_type"]},
        "criteria": json.dumps(answer["axes"], sort_keys=True),
        "confidence": None, "hard": answer["hard"], "rationale": answer.get("rationale"),
        "spans": answer["spans"] or [], "edited": answer["edited"], "edited_text": answer.get("edited_text"),
        "displayed_left": answer["displayed_left"], "is_gold": answer["is_gold"], "is_repeat": answer["is_repeat"],
        "selection_policy": answer["selection_policy"], "served_at": answer.get("served_at"), "submitted_at": answer.get("submitted_at"),
        "active_ms": answer.get("active_ms"), "client": answer["layout"],
    }  # fmt: skip
    gone = levels.removed(facts["level"])
    return {name: value for name, value in made.items() if name not in gone} if gone else made


def pair(row: Row) -> Row:
    p_chosen, chosen = row["p_chosen"], row["chosen"]
    return {
        **_where(row), "document_type": row["document_type"], "output_format": row["output_format"],
        "difficulty_level": row["difficulty_level"], "prompt": row["prompt"] or [], "first": row["first"], "second": row["second"],
        "first_by": row["first_by"], "second_by": row["second_by"], "chosen": chosen,
        "left_out": row.get("left_out"),
        "p_first": None if chosen is None else float(p_chosen if chosen == "first" else round(1 - p_chosen, 6)),
        "judgements": row["judgements"], **row["verdicts"], "harm_first": bool(row["harm_first"]), "harm_second": bool(row["harm_second"]),
        "selection_policy": row["selection_policy"], "selection_probability": float(row["selection_probability"]),
    }  # fmt: skip
