"""Preference data for trainers: TRL's two forms, UltraFeedback-binarized, and OpenAI's. The chosen text is the first."""

from collections.abc import Iterator
from typing import Any

from annotation.reading import conversations, fields, verdicts
from annotation.reading.conversations import NO_SYSTEM, Turn
from annotation.reading.fields import MISSING, STRICT, Mapped, Options
from annotation.reading.shapes import FIRST_MUCH, FIRST_SLIGHTLY, PreferenceRow
from annotation.records import Problems, Row

DEFAULT = {
    "id": "", "prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "instruction": NO_SYSTEM, "strength": "=slightly",
    "first_system": "", "second_system": "",
}  # fmt: skip
ULTRAFEEDBACK = {**DEFAULT, "id": "prompt_id", "score_chosen": "score_chosen", "score_rejected": "score_rejected"}
# A point on UltraFeedback's scale of ten is a slight difference.
MUCH_POINTS = 2.0
_NUMBERS = ("p_chosen", "margin", "score_chosen", "score_rejected")


def convert(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """{"prompt": turns, "chosen": turns, "rejected": turns}. Without a prompt, the turns that both begin with are the prompt."""
    given = {**DEFAULT, **mapping}
    before = problems.total
    chosen, rejected = (_turns(row, given[name], problems, place, options) for name in ("chosen", "rejected"))
    prompt: list[Turn] | None = None
    value = fields.optional(row, given["prompt"], problems, place)
    if value is not MISSING:
        prompt = conversations.turns(value, row, problems, place, given["prompt"], options)
    if problems.total > before or chosen is None or rejected is None:
        return
    if prompt is None:
        same = conversations.shared(chosen, rejected)
        if not same:
            problems.add(place, given["prompt"], "There is no prompt, and the two conversations begin differently.", "pair.no_prompt")
            return
        problems.warn(place, given["prompt"], "The prompt was taken from what both conversations begin with.", "pair.implicit_prompt")
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
    elif chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
        # Some files repeat the prompt in both.
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    yield from _row(place, row, given, problems, options, prompt, chosen, rejected)


def convert_standard(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """{"prompt": text, "chosen": text, "rejected": text}. Without a prompt it is refused: where it ends would be a guess."""
    given = {**DEFAULT, **mapping}
    before = problems.total
    if fields.optional(row, given["prompt"], problems, place) is MISSING:
        problems.add(
            place, given["prompt"], "The prompt is not in a column of its own; where it ends within the two texts would be a guess.",
            "pair.no_prompt",
        )  # fmt: skip
        return
    prompt = fields.text_of(row, given["prompt"], problems, place, options)
    chosen, rejected = (fields.text_of(row, given[name], problems, place, options, required=False) for name in ("chosen", "rejected"))
    if problems.total > before or prompt is None or chosen is None or rejected is None:
        return
    yield from _row(
        place, row, given, problems, options, [Turn("user", prompt)], [Turn("assistant", chosen)], [Turn("assistant", rejected)]
    )  # fmt: skip


def convert_ultrafeedback(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """{"prompt": text, "prompt_id", "chosen": conversation, "rejected": conversation, "score_chosen", "score_rejected"}."""
    given = {**ULTRAFEEDBACK, **mapping}
    before = problems.total
    chosen, rejected = (_turns(row, given[name], problems, place, options) for name in ("chosen", "rejected"))
    text = fields.text_of(row, given["prompt"], problems, place, options)
    if problems.total > before or chosen is None or rejected is None or text is None:
        return
    same = conversations.shared(chosen, rejected)
    if not same:
        problems.add(place, given["prompt"], "The two conversations begin differently.", "pair.no_prompt")
        return
    prompt = chosen[:same]
    if not any(turn.text == text for turn in prompt if turn.role == "user"):
        problems.warn(
            place, given["prompt"], "The prompt differs from the conversations' user turn, which was taken.", "pair.prompt_differs"
        )
    yield from _row(place, row, given, problems, options, prompt, chosen[same:], rejected[same:])


def convert_openai(place: int, row: Row, mapping: Mapped, problems: Problems, options: Options = STRICT) -> Iterator[PreferenceRow]:
    """OpenAI's and Azure's: {"input": {"messages": turns}, "preferred_output": turns, "non_preferred_output": turns}."""
    named = {"prompt": "input.messages", "chosen": "preferred_output", "rejected": "non_preferred_output", **mapping}
    yield from convert(place, row, named, problems, options)


def _turns(row: Row, column: str, problems: Problems, place: int, options: Options) -> list[Turn] | None:
    value = fields.source(row, column, problems, place)
    if value is MISSING:
        return None
    return conversations.turns(value, row, problems, place, column, options)


def _row(
    place: int,
    row: Row,
    given: Mapped,
    problems: Problems,
    options: Options,
    prompt: list[Turn],
    chosen: list[Turn],
    rejected: list[Turn],
) -> Iterator[PreferenceRow]:
    before = problems.total
    instruction = fields.text_of(row, given["instruction"], problems, place, options)
    if instruction is None:
        return
    asked = conversations.asked(prompt, instruction, problems, place, given["prompt"])
    first = conversations.answer(chosen, problems, place, given["chosen"])
    second = conversations.answer(rejected, problems, place, given["rejected"])
    if asked is None or not verdicts.pair(first, second, problems, place, (given["chosen"], given["rejected"]), options):
        return
    made = verdicts.sample(
        row, given, problems, place, external_id=fields.optional(row, given["id"], problems, place), instruction=asked.instruction,
        given=asked.input,
    )  # fmt: skip
    first_system = verdicts.system(row, given["first_system"], problems, place)
    second_system = verdicts.system(row, given["second_system"], problems, place)
    extra = _numbers(row, problems, place)
    strength = fields.label_of(row, given["strength"], problems, place, most=20)
    if made is None or first is None or second is None or problems.total > before:
        return
    verdict = FIRST_MUCH if _much(extra, strength or "") else FIRST_SLIGHTLY
    yield verdicts.preference(made, (first, first_system or ""), (second, second_system or ""), verdict, extra=extra)


def _numbers(row: Row, problems: Problems, place: int) -> dict[str, Any]:
    found = {}
    for name in _NUMBERS:
        if name in row:
            low, high = (0.0, 1.0) if name == "p_chosen" else (-1e6, 1e6)
            value = fields.number(row[name], row, problems, place, name, low=low, high=high, scale="The number is off its scale.")
            if value is not None:
                found[name] = value
    return found


def _much(extra: dict[str, Any], strength: str) -> bool:
    if "p_chosen" in extra:
        return bool(extra["p_chosen"] >= verdicts.MUCH_FROM)
    if "score_chosen" in extra and "score_rejected" in extra:
        return bool(extra["score_chosen"] - extra["score_rejected"] >= MUCH_POINTS)
    return strength == "much"
