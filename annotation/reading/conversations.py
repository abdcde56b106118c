"""Conversations as OpenAI's, TRL's and the arenas' files write them, and what our samples hold of them: one instruction and one input."""

from dataclasses import dataclass
from typing import Any

from annotation.reading import fields
from annotation.reading.fields import MISSING, STRICT, Options
from annotation.records import Problems, Row, kind, label

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "human": USER, "assistant": ASSISTANT, "gpt": ASSISTANT, "model": ASSISTANT}
NAMES = {USER: "User", ASSISTANT: "Assistant"}
# What stands in the system turn of a prompt that had none; the mapping may say something else.
NO_SYSTEM = "=Answer the user's message."


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    text: str


def turns(value: Any, row: Row, problems: Problems, place: int, column: str, options: Options = STRICT) -> list[Turn] | None:
    """A list of {"role", "content"} (or {"from", "value"}) as turns; None and a problem where it is none."""
    value = fields.nested(value, row, problems, place)
    if value is MISSING:
        return None
    if not isinstance(value, list) or not value:
        problems.add(place, column, f"A list of turns is expected, not {kind(value) if value != [] else 'an empty one'}.", "import.type")
        return None
    made = []
    for number, one in enumerate(value, start=1):
        if not isinstance(one, dict):
            problems.add(place, column, f"Turn {number} is {kind(one)}, not an object with role and content.", "import.type")
            return None
        spoken = one.get("role", one.get("from"))
        role = ROLES.get(spoken) if isinstance(spoken, str) else None
        if role is None:
            what = label(spoken) if isinstance(spoken, str) else kind(spoken)
            problems.add(place, column, f"Turn {number} has no known role ({what}); known are system, user and assistant.", "turns.role")
            return None
        content = _content(one.get("content", one.get("value")))
        text = fields.text(content, problems, place, column, options, required=False)
        if text is None:
            return None
        made.append(Turn(role, text))
    return made


def _content(value: Any) -> Any:
    # OpenAI's newer form is a list of parts; one text part is a text.
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("type") == "text":
        return value[0].get("text")
    return value


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as our samples hold it."""

    instruction: str
    input: str


def asked(given: list[Turn], instruction: str, problems: Problems, place: int, column: str) -> Asked | None:
    """The system turn is the instruction (`instruction` where there is none), the last user turn the input.

    A prompt of several turns becomes one input, a transcript whose lines begin with User and Assistant; that is told of.
    """
    rest = given
    if given[0].role == SYSTEM:
        instruction, rest = given[0].text, given[1:]
    if any(turn.role == SYSTEM for turn in rest):
        problems.add(place, column, "A system turn stands elsewhere than at the beginning.", "turns.order")
        return None
    if not rest or rest[-1].role != USER:
        problems.add(place, column, "The prompt does not end with a user turn.", "turns.order")
        return None
    if not rest[-1].text.strip():
        problems.add(place, column, "The last user turn is empty.", "text.empty")
        return None
    if not instruction.strip():
        problems.add(place, column, "The system turn is empty.", "text.empty")
        return None
    if len(rest) > 1:
        problems.warn(place, column, "The prompt has several turns; they became one transcript.", "turns.joined")
        return Asked(instruction, "\n\n".join(f"{NAMES[turn.role]}: {turn.text}" for turn in rest))
    return Asked(instruction, rest[0].text)


def answer(given: list[Turn], problems: Problems, place: int, column: str) -> str | None:
    """The text of a completion: one assistant turn."""
    if len(given) != 1 or given[0].role != ASSISTANT:
        problems.add(place, column, "One assistant turn is expected.", "turns.order")
        return None
    return given[0].text


def shared(first: list[Turn], second: list[Turn]) -> int:
    """How many turns two conversations begin with in common; at least one of each is left over as the answer."""
    most = min(len(first), len(second)) - 1
    same = 0
    while same < most and first[same] == second[same]:
        same += 1
    return same
