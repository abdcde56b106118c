"""Arena battles: LMArena's conversations (model_a, model_b, winner), and the 55k file that splits the winner over three columns."""

from collections.abc import Iterator
from typing import Any

from annotation.reading import conversations, fields, verdicts
from annotation.reading.conversations import NO_SYSTEM, Turn
from annotation.reading.fields import MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import PreferenceRow
from annotation.records import Problems, Row

DEFAULT = {
    "id": "question_id", "conversation_a": "conversation_a", "conversation_b": "conversation_b", "instruction": NO_SYSTEM,
    "first_system": "model_a", "second_system": "model_b", "winner": "winner", "rater": "judge", "rated_at": "tstamp",
    "strength": "=slightly",
}  # fmt: skip
DEFAULT_55K = {**DEFAULT, "id": "id", "prompt": "prompt", "first": "response_a", "second": "response_b"}
WINNERS = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """One preference a battle of one question. Battles of several turns judge conversations and are left out, and counted."""
    if "conversation_a" in row or "conversation_a" in mapping:
        yield from _conversations(place, row, {**DEFAULT, **mapping}, problems, options)
    else:
        yield from _columns(place, row, {**DEFAULT_55K, **mapping}, problems, options)


def _conversations(place: int, row: Row, given: Mapped, problems: Problems, options: Options) -> Iterator[PreferenceRow]:
    both = []
    for name in ("conversation_a", "conversation_b"):
        value = fields.source(row, given[name], problems, place)
        turns = None if value is MISSING else conversations.turns(value, row, problems, place, given[name], options)
        if turns is None:
            return
        both.append(turns)
    first, second = both
    if sum(turn.role == "user" for turn in first) > 1 or sum(turn.role == "user" for turn in second) > 1:
        problems.leave_out(place, given["conversation_a"], "The battle has several turns.", "pair.turns")
        return
    same = conversations.shared(first, second)
    if not same or len(first) != same + 1 or len(second) != same + 1:
        problems.add(place, given["conversation_b"], "The two conversations do not begin with the same question.", "pair.no_prompt")
        return
    answers = [conversations.answer(one[same:], problems, place, given["conversation_a"]) for one in both]
    yield from _battle(place, row, given, problems, options, first[:same], answers, ("conversation_a", "conversation_b"))


def _columns(place: int, row: Row, given: Mapped, problems: Problems, options: Options) -> Iterator[PreferenceRow]:
    texts: list[Any] = []
    for name in ("prompt", "first", "second"):
        value = fields.source(row, given[name], problems, place)
        if value is MISSING:
            return
        # The 55k file writes a JSON list of turns into each cell.
        if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            value = fields.nested(value, fields.TextRow(), problems, place)
            if value is MISSING:
                return
        if isinstance(value, list):
            if len(value) > 1:
                problems.leave_out(place, given[name], "The battle has several turns.", "pair.turns")
                return
            value = value[0] if value else ""
        texts.append(fields.text("" if value is None else value, problems, place, given[name], options, required=name == "prompt"))
    if None in texts:
        return
    yield from _battle(place, row, given, problems, options, [Turn("user", texts[0])], texts[1:], ("response_a", "response_b"))


def _battle(
    place: int,
    row: Row,
    given: Mapped,
    problems: Problems,
    options: Options,
    prompt: list[Turn],
    answers: list[Any],
    columns: tuple[str, str],
) -> Iterator[PreferenceRow]:
    before = problems.total
    instruction = fields.text_of(row, given["instruction"], problems, place, options)
    if instruction is None:
        return
    asked = conversations.asked(prompt, instruction, problems, place, columns[0])
    if asked is None or not verdicts.pair(answers[0], answers[1], problems, place, columns, options):
        return
    winner = _winner(row, given, problems, place)
    named = fields.optional(row, given["id"], problems, place)
    made = verdicts.sample(row, given, problems, place, external_id=named, instruction=asked.instruction, given=asked.input)
    systems = [verdicts.system(row, given[name], problems, place) or "" for name in ("first_system", "second_system")]
    rater = fields.identifier(fields.optional(row, given["rater"], problems, place), problems, place, given["rater"])
    when = fields.optional(row, given["rated_at"], problems, place)
    if made is None or winner is None or rater is None or problems.total > before:
        return
    yield verdicts.preference(
        made, (answers[0], systems[0]), (answers[1], systems[1]), winner, rater=rater,
        rated_at=str(when) if isinstance(when, str | int | float) and len(str(when)) < 40 else "",
    )  # fmt: skip


def _winner(row: Row, given: Mapped, problems: Problems, place: int) -> str | None:
    value = fields.optional(row, given["winner"], problems, place)
    if value is MISSING:
        said = [word for column, word in WINNERS.items() if fields.whole(row.get(column)) == 1]
        value = said[0] if len(said) == 1 else MISSING
    if value is MISSING:
        problems.add(place, given["winner"], "The row names no winner.", "pair.verdict")
        return None
    verdict = verdicts.of_word(value, given["strength"].removeprefix("="))
    if verdict is None:
        verdicts.unknown(value, problems, place, given["winner"])
    return verdict
