"""Notes annotated in brat's standoff format, NOTE.txt beside NOTE.ann, as n2c2 gives out SHAC (Lybarger et al. 2021; the 2022 track).

    T1	Tobacco 0 6	Smokes             a span: type, where it begins and ends in the text, its words
    E1	Tobacco:T1 Status:T2 Amount:T3     an event: its type and trigger, then roles and the spans that play them
    A1	StatusTimeVal T2 current           an attribute of a span

An entity of CLUE+ is one span that plays a role: the event's type, the span's type as its label, and its very words. Triggers and
attributes are none: the paper asks for exact spans, and for no class of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SPAN, EVENT = "T", "E"


def notes(folder: Path) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """(name, text, entities) of every note below ``folder``, by name. Raises OSError where a note has only one of its two files, and
    ValueError or KeyError for what is no standoff format."""
    texts, annotations = ({path.with_suffix("") for path in folder.rglob(f"*.{end}")} for end in ("txt", "ann"))
    if alone := texts ^ annotations:
        raise FileNotFoundError(f"{len(alone)} notes have only one of their two files")
    for path in sorted(texts):
        # As it stands: offsets count the characters of a line's end too.
        with path.with_suffix(".txt").open(encoding="utf-8", newline="") as stream:
            text = stream.read()
        yield path.relative_to(folder).as_posix(), text, entities(text, path.with_suffix(".ann").read_text(encoding="utf-8"))


def entities(text: str, annotation: str) -> list[dict[str, str]]:
    """Of each event in turn, its arguments: {"entity", "label", "value"}, the value cut from the text."""
    spans: dict[str, tuple[str, str]] = {}
    events: list[list[str]] = []
    for line in annotation.split("\n"):
        if line[:1] == SPAN:
            number, told, *_ = line.split("\t")
            kind, places = told.split(" ", 1)
            # A span over several lines is told as pieces; it goes from the first one's start to the last one's end.
            numbers = [int(one) for one in places.replace(";", " ").split()]
            if not 0 <= numbers[0] < numbers[-1] <= len(text):
                raise ValueError("a span lies outside its text")
            spans[number] = (kind, text[numbers[0] : numbers[-1]])
        elif line[:1] == EVENT:
            events.append(line.split("\t")[1].split())
    found = []
    for trigger, *arguments in events:
        for argument in arguments:
            kind, value = spans[argument.split(":")[1]]
            found.append({"entity": trigger.split(":")[0], "label": kind, "value": value})
    return found
