"""The laid-out files of a snapshot, read one line after the other: rows, and pairs with the answers that were given on them. Pure."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from annotation.exports import levels

Row = dict[str, Any]
# Told (done, total) as a writer goes on; total is known from the facts.
Say = Callable[[int, int], None]
ROWS, PAIRS, ANSWERS, FACTS = "rows.jsonl", "pairs.jsonl", "answers.jsonl", "facts.json"


def lines(place: Path) -> Iterator[Row]:
    with place.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def rows(folder: Path) -> Iterator[Row]:
    """What was frozen: {"split", "pair_id", "sample_id", "task_type", "prompt", "chosen", "rejected", "p_chosen", "votes"}."""
    return lines(folder / ROWS)


def heard(folder: Path, level: str) -> Iterator[tuple[Row, list[Row]]]:
    """Every pair with its answers, without the fields that `level` removes. Both files are in the order of their pairs."""
    answers = lines(folder / ANSWERS)
    ahead = next(answers, None)
    gone = levels.removed(level)
    for pair in lines(folder / PAIRS):
        own: list[Row] = []
        while ahead is not None and ahead["pair_id"] == pair["pair_id"]:
            own.append({name: value for name, value in ahead.items() if name not in gone} if gone else ahead)
            ahead = next(answers, None)
        if len(own) != pair["answers"]:
            raise ValueError(f"pair {pair['pair_id']} has {pair['answers']} answers, and {len(own)} were laid out")
        yield pair, own
    if ahead is not None:
        raise ValueError("an answer was laid out for no pair")


def facts(folder: Path) -> Row:
    found: Row = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return found


def said(text: str) -> list[dict[str, str]]:
    """A text as the assistant's turn."""
    return [{"role": "assistant", "content": text}]


def turns(prompt: list[Row]) -> tuple[str, str]:
    """Instruction (the system turn) and input; turns beyond the layout's two are told in one text rather than dropped."""
    system = next((turn["content"] for turn in prompt if turn["role"] == "system"), "")
    return system, "\n\n".join(turn["content"] for turn in prompt if turn["role"] != "system")


def left_out(pair: Row, counted: list[Row]) -> str:
    """Why a pair cannot be told to another tool, or nothing."""
    if pair["first"] is None or pair["second"] is None or not pair["prompt"]:
        return "text_left_out"
    return "" if counted else "no_vote"


encode = json.JSONEncoder(ensure_ascii=False).encode
