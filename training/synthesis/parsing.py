"""Answers taken apart, strictly: what is not exactly what was asked is refused with a reason; nothing is mended. Values in, values out."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.grammar.grid import CRITERIA, HIGHEST, LOWEST

# Of an instruction, an input or an output; a longer one is a model that did not stop.
MOST_CHARACTERS = 20_000


class Refused(Exception):
    """An answer is not what was asked. `reason` is one of a small set that is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Written:
    instruction: str
    pairs: list[tuple[str, str]]


_WHOLE = re.compile(r"\s*<instruction>(.*?)</instruction>\s*<examples>(.*)</examples>\s*", re.DOTALL)
_EXAMPLE = re.compile(r"\s*<example>\s*<input>(.*?)</input>\s*<output>(.*?)</output>\s*</example>\s*", re.DOTALL)
_TAG = re.compile(r"</?(?:instruction|examples|example|input|output)>")


def written(text: str) -> Written:
    """Instruction and pairs of the tag grammar. Raises Refused: no_tags, text_around, no_examples, broken_example, nested_tags,
    control_character, empty_instruction, empty_input, empty_output, too_long, repeated_input."""
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Refused("text_around" if _WHOLE.search(text) else "no_tags")
    instruction, rest = found[1].strip(), found[2]
    pairs: list[tuple[str, str]] = []
    at = 0
    while rest[at:].strip():
        example = _EXAMPLE.match(rest, at)
        if example is None:
            raise Refused("broken_example")
        pairs.append((example[1].strip(), example[2].strip()))
        at = example.end()
    if not pairs:
        raise Refused("no_examples")
    texts = [instruction, *(text for pair in pairs for text in pair)]
    if any(_TAG.search(text) for text in texts):
        raise Refused("nested_tags")
    if "\x00" in text:
        raise Refused("control_character")
    if not instruction:
        raise Refused("empty_instruction")
    if not all(given and output for given, output in pairs):
        raise Refused("empty_input" if not all(given for given, _ in pairs) else "empty_output")
    if any(len(text) > MOST_CHARACTERS for text in texts):
        raise Refused("too_long")
    if len({given for given, _ in pairs}) < len(pairs):
        raise Refused("repeated_input")
    return Written(instruction, pairs)


def scores(text: str) -> dict[str, int]:
    """Criterion → 1…4. Raises Refused: not_json, not_an_object, wrong_criteria, no_rationale, bad_score."""
    found = _object(text)
    if set(found) != set(CRITERIA):
        raise Refused("wrong_criteria")
    made: dict[str, int] = {}
    for name in CRITERIA:
        entry = found[name]
        if not isinstance(entry, dict) or set(entry) != {"rationale", "score"} or not isinstance(entry["rationale"], str):
            raise Refused("no_rationale")
        if isinstance(entry["score"], bool) or not isinstance(entry["score"], int) or not LOWEST <= entry["score"] <= HIGHEST:
            raise Refused("bad_score")
        made[name] = entry["score"]
    return made


def means(draws: Sequence[dict[str, int]]) -> dict[str, float]:
    """The count-weighted mean of each criterion over a judge's draws, S = (1/M) Σ c·s (arXiv 2505.10717, A.6). At least one draw."""
    return {name: sum(draw[name] for draw in draws) / len(draws) for name in CRITERIA}


def spoilt(text: str, *, error: str, output: str) -> str:
    """The rejected output. Raises Refused: not_json, not_an_object, wrong_fields, other_error, empty_output, unchanged, too_long."""
    found = _object(text)
    if set(found) != {"error_type", "rejected_output"} or not isinstance(found["rejected_output"], str):
        raise Refused("wrong_fields")
    if found["error_type"] != error:
        raise Refused("other_error")
    made = found["rejected_output"].strip()
    if not made or "\x00" in made:
        raise Refused("empty_output")
    if " ".join(made.split()) == " ".join(output.split()):
        raise Refused("unchanged")
    if len(made) > MOST_CHARACTERS:
        raise Refused("too_long")
    return made


def better(text: str) -> str:
    """A or B. Raises Refused: not_json, not_an_object, wrong_fields."""
    found = _object(text)
    if set(found) != {"rationale", "better"} or found["better"] not in ("A", "B"):
        raise Refused("wrong_fields")
    return str(found["better"])


def both_orders(first: str, second: str) -> str:
    """ "output", "rejected" or "tie": `first` was said with the output as A, `second` with it as B. A flip is a tie."""
    if (first, second) == ("A", "B"):
        return "output"
    return "rejected" if (first, second) == ("B", "A") else "tie"


def content(text: str, kind: str) -> Any:
    """A document's output of a kind. Raises Refused: not_json, not_an_object, wrong_fields; whether its shape fits `documents` says."""
    found = _object(text)
    if set(found) != {kind} or not found[kind]:
        raise Refused("wrong_fields")
    return found[kind]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("not_json") from None
    if not isinstance(found, dict):
        raise Refused("not_an_object")
    return found
