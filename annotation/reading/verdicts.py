"""Other tools' verdicts in our seven codes, and pairs checked before anybody is said to prefer one of them.

| what the tool says | our code |
|---|---|
| a number on a scale with nothing at zero: beyond half of its end | first_much, second_much |
| a number on a scale with nothing at zero: up to half of its end | first_slightly, second_slightly |
| zero; tie, equal, no preference, both good | both_acceptable |
| both bad, neither, tie (bothbad) | both_unacceptable |
| much better | first_much, second_much |
| better, chosen, left, right, A, B, without a degree | first_slightly, second_slightly: the weaker claim (mapping: `=much`) |
| skipped, cancelled | left out, and counted |
"""

from collections.abc import Mapping
from typing import Any

from annotation import records
from annotation.reading import fields, mediflow
from annotation.reading.fields import LABELS, MAX_SYSTEM, Options
from annotation.reading.shapes import (
    BOTH_ACCEPTABLE,
    BOTH_UNACCEPTABLE,
    CANNOT_JUDGE,
    DEFAULTS,
    FIRST_MUCH,
    FIRST_SLIGHTLY,
    SECOND_MUCH,
    SECOND_SLIGHTLY,
    VERDICTS,
    PreferenceRow,
    SampleRow,
)
from annotation.records import Problems, Row

_SIDES = {
    FIRST_SLIGHTLY: ("a", "left", "first", "model_a", "response_a", "a_better", "a_slightly", "a_slightly_better", "a>b"),
    SECOND_SLIGHTLY: ("b", "right", "second", "model_b", "response_b", "b_better", "b_slightly", "b_slightly_better", "b>a"),
    FIRST_MUCH: ("a_much", "a_much_better", "much_a", "a>>b"),
    SECOND_MUCH: ("b_much", "b_much_better", "much_b", "b>>a"),
    BOTH_ACCEPTABLE: ("tie", "equal", "a=b", "same", "draw", "no_preference", "both", "both_good", "both_ok"),
    BOTH_UNACCEPTABLE: ("both_bad", "bothbad", "tie_(bothbad)", "tie_(both_bad)", "tie_bothbad", "neither", "none"),
    CANNOT_JUDGE: ("cannot_judge", "can't_judge", "skip", "unsure"),
}
WORDS = {word: verdict for verdict, words in _SIDES.items() for word in words} | {verdict: verdict for verdict in VERDICTS}
_MUCH = {FIRST_SLIGHTLY: FIRST_MUCH, SECOND_SLIGHTLY: SECOND_MUCH}
_SWAPPED = {FIRST_SLIGHTLY: SECOND_SLIGHTLY, FIRST_MUCH: SECOND_MUCH}
# The middle between the shares 0.92 and 0.75 that "much better" and "slightly better" stand for: see `annotation.votes`.
MUCH_FROM = 0.835


def of_word(value: Any, strength: str = "slightly") -> str | None:
    """A verdict from a tool's word for it; None for one that is not known. `strength` is what a bare "better" means."""
    if not isinstance(value, str):
        return None
    word = "_".join(value.casefold().replace("-", " ").split()) if value not in VERDICTS else value
    verdict = WORDS.get(word)
    if strength == "much" and verdict in _MUCH and value not in VERDICTS and "slight" not in word:
        return _MUCH[verdict]
    return verdict


def of_scale(value: float, end: float) -> str:
    """A verdict from a number between -end (the first is much better) and end (the second is)."""
    if value == 0:
        return BOTH_ACCEPTABLE
    much = abs(value) > end / 2
    return (FIRST_MUCH if much else FIRST_SLIGHTLY) if value < 0 else (SECOND_MUCH if much else SECOND_SLIGHTLY)


def unknown(value: Any, problems: Problems, place: int, column: str) -> None:
    what = f"“{records.label(value)}”" if isinstance(value, str) else records.kind(value)
    problems.add(place, column, f"{what[:1].upper()}{what[1:]} is no verdict that is known.", "pair.verdict")


def pair(first: str | None, second: str | None, problems: Problems, place: int, columns: tuple[str, str], options: Options) -> bool:
    """Whether there are two different texts to prefer one of."""
    if first is None or second is None:
        return False
    for text, column in ((first, columns[0]), (second, columns[1])):
        if not text or text.isspace():
            mediflow.missing(problems, place, column, options)
            return False
    if first == second:
        mediflow.identical(problems, place, columns[1], options)
        return False
    return True


def labels(row: Row, mapping: Mapping[str, str], problems: Problems, place: int) -> dict[str, str] | None:
    """A sample's labels, from columns, constants or declared defaults; None after a problem."""
    found: dict[str, str] = {}
    for name, default in DEFAULTS.items():
        value = fields.label_of(row, mapping.get(name, f"={default}"), problems, place, most=LABELS[name])
        if value is None:
            return None
        found[name] = value or default
    return found


def sample(
    row: Row,
    mapping: Mapping[str, str],
    problems: Problems,
    place: int,
    *,
    external_id: Any,
    instruction: str,
    given: str,
    output: str = "",
) -> SampleRow | None:
    found = labels(row, mapping, problems, place)
    name = fields.identifier(external_id, problems, place, records.label(mapping.get("id", "id")))
    if found is None or name is None:
        return None
    return SampleRow(
        name, instruction, given, output, found["task_type"], found["input_data"], found["output_format"], found["difficulty_level"]
    )


def system(row: Row, given: str, problems: Problems, place: int) -> str | None:
    """The name of what wrote a text: empty where the file does not say."""
    return fields.label_of(row, given, problems, place, most=MAX_SYSTEM)


def preference(made: SampleRow, first: tuple[str, str], second: tuple[str, str], verdict: str, **rest: Any) -> PreferenceRow:
    """`first` and `second` are (text, system)."""
    return PreferenceRow(
        sample=made, first_text=first[0], first_system=first[1], second_text=second[0], second_system=second[1], verdict=verdict, **rest
    )
