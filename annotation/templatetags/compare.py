"""Tags of the compare screen: what a field of its form holds, and where a shown text and the stored one part ways."""

import json
from typing import Any

from django import template

from annotation.answer_form import JudgementForm
from web.templatetags.rounds import visible

register = template.Library()

# What a step of a scale that compares is called: value, short, in words. Positive is for A, so A stands on its side.
_STEPS = {
    "comparative": [
        ("2", "A≫", "A much"),
        ("1", "A>", "A slightly"),
        ("0", "=", "Equal"),
        ("-1", "B>", "B slightly"),
        ("-2", "B≫", "B much"),
    ],
    "which": [("1", "A", "A"), ("0", "=", "Neither, or both alike"), ("-1", "B", "B")],
}


@register.filter
def steps(scale: str) -> list[tuple[str, str, str]]:
    """The steps of a comparing scale of a rubric, from A's end to B's."""
    return _STEPS[scale]


@register.filter
def anchor(anchors: dict[str, str] | None, step: str) -> str:
    """A rubric's example for one step of a scale, or ""."""
    return (anchors or {}).get(step, "")


@register.filter
def said(form: JudgementForm, name: str) -> Any:
    """What the field `name` of the form holds, sent or to start with, as text; a list of texts for one of many."""
    return form.held(name)


@register.filter
def shifts(text: object) -> str:
    """Where `text` is shown otherwise than it is stored, as JSON [[shown start, shown end, stored start, stored end], …] in code points.

    Marks are code points of the stored text; a page shows line feeds alone as line ends and invisible characters as their code points.
    Nearly every text gives "[]".
    """
    found: list[tuple[int, int, int, int]] = []
    stored = shown = 0
    raw = str(text)
    if visible(raw) == raw:
        return "[]"
    while stored < len(raw):
        width = 2 if raw.startswith("\r\n", stored) else 1
        length = len(visible(raw[stored : stored + width]))
        if length != width:
            found.append((shown, shown + length, stored, stored + width))
        stored, shown = stored + width, shown + length
    return json.dumps(found)
