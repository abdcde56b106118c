"""What a rater answers about a pair: stored by completion, given by side, converted here and nowhere else.

Sides are A (left) and B (right); completions are the pair's first and second. `from_sides` and `to_sides` are each other's inverse for
either placement, so that nothing downstream ever asks which text stood on the left.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeAlias

from django.db import models

from annotation.models import Campaign, CannotJudge, Hard, Harm, Judgement, Pair, RationaleWhen, Severity, Verdict

MAX_REASONS = 3
MAX_RATIONALE = 4_000
MAX_EDIT = 50_000
MAX_SPANS = 100
MAX_COUNT = 99
MAX_ACTIVE_MS = 24 * 60 * 60 * 1000
# Nothing to mark stands there: the one kind of span that may be a place between two characters.
OMISSION = "omission"

# Values a scale takes: of both sides together where it compares, of each side otherwise.
COMPARING = {"comparative": range(-2, 3), "which": range(-1, 2)}
OF_EACH_SIDE = {"count": range(MAX_COUNT + 1), "risk": range(1, 5)}

_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# What was sent of a pair by side: the names of the compare screen's form, checked for their types.
Sides: TypeAlias = dict[str, Any]
# What is wrong, by field: {"harm_first_type": "…"} about an answer, {"harm_a_type": "…"} to the person who gave it.
Faults: TypeAlias = dict[str, str]


class Layout(Protocol):
    """Anything that shows a pair: an assignment, a dispute."""

    @property
    def first_on_left(self) -> bool: ...


class SideVerdict(models.TextChoices):
    """What the annotator sees and presses: by side."""

    A_MUCH = "a_much", "A much better"
    A_SLIGHTLY = "a_slightly", "A slightly better"
    BOTH_ACCEPTABLE = "both_acceptable", "Both acceptable"
    B_SLIGHTLY = "b_slightly", "B slightly better"
    B_MUCH = "b_much", "B much better"
    BOTH_UNACCEPTABLE = "both_unacceptable", "Both unacceptable"
    CANNOT_JUDGE = "cannot_judge", "Cannot judge"


_IF_FIRST_IS_LEFT = {
    SideVerdict.A_MUCH: Verdict.FIRST_MUCH,
    SideVerdict.A_SLIGHTLY: Verdict.FIRST_SLIGHTLY,
    SideVerdict.B_SLIGHTLY: Verdict.SECOND_SLIGHTLY,
    SideVerdict.B_MUCH: Verdict.SECOND_MUCH,
    SideVerdict.BOTH_ACCEPTABLE: Verdict.BOTH_ACCEPTABLE,
    SideVerdict.BOTH_UNACCEPTABLE: Verdict.BOTH_UNACCEPTABLE,
    SideVerdict.CANNOT_JUDGE: Verdict.CANNOT_JUDGE,
}
_IF_FIRST_IS_RIGHT = {
    **_IF_FIRST_IS_LEFT,
    SideVerdict.A_MUCH: Verdict.SECOND_MUCH,
    SideVerdict.A_SLIGHTLY: Verdict.SECOND_SLIGHTLY,
    SideVerdict.B_SLIGHTLY: Verdict.FIRST_SLIGHTLY,
    SideVerdict.B_MUCH: Verdict.FIRST_MUCH,
}
_MUCH = {Verdict.FIRST_MUCH, Verdict.SECOND_MUCH}
_FAVOURS = {
    Verdict.FIRST_MUCH: "first",
    Verdict.FIRST_SLIGHTLY: "first",
    Verdict.SECOND_MUCH: "second",
    Verdict.SECOND_SLIGHTLY: "second",
}


@dataclass(frozen=True)
class Span:
    """A marked part of one completion ("first" or "second"): code points `start` ≤ i < `end` of its text."""

    of: str
    start: int
    end: int
    kind: str
    severity: str


@dataclass(frozen=True)
class Answer:
    """Everything one answer says, by completion. `axes` is {axis: number} or {axis: {"first": n, "second": n}}, as Judgement keeps it.

    `edited` names the completion whose text `edited_text` would have; both are empty when nothing was edited.
    """

    verdict: str
    cannot_reason: str = ""
    reasons: tuple[str, ...] = ()
    axes: dict[str, Any] = field(default_factory=dict)
    harm_first: str = ""
    harm_first_type: str = ""
    harm_second: str = ""
    harm_second_type: str = ""
    hard: str = ""
    rationale: str = ""
    spans: tuple[Span, ...] = ()
    edited: str = ""
    edited_text: str = ""
    active_ms: int | None = None

    def says_the_same(self, other: "Answer") -> bool:
        """Equal in everything but the time it took: that goes on running while a lost connection sends it again."""
        return replace(self, active_ms=None, spans=_ordered(self.spans)) == replace(other, active_ms=None, spans=_ordered(other.spans))


# Stored on the judgement itself, under the same name.
COLUMNS = tuple(one.name for one in fields(Answer) if one.name not in {"spans", "edited", "edited_text"})


class AnswerRefused(ValueError):
    """An answer that makes no sense, or lacks what its campaign asks for. `faults` say what is wrong, by field; nothing was stored."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        super().__init__(" ".join(faults.values()))


def by_side(shown: Layout, side_verdict: str) -> Verdict:
    """The verdict about completions behind what was pressed about sides A (left) and B."""
    table = _IF_FIRST_IS_LEFT if shown.first_on_left else _IF_FIRST_IS_RIGHT
    return table[SideVerdict(side_verdict)]


def seen_from(shown: Layout, verdict: str) -> SideVerdict:
    """The inverse of `by_side`: how a stored verdict reads to the annotator who gave it."""
    table = _IF_FIRST_IS_LEFT if shown.first_on_left else _IF_FIRST_IS_RIGHT
    return next(side for side, stored in table.items() if stored == verdict)


def which_of(shown: Layout, side: str) -> str:
    """ "first" or "second": the completion shown on side "a" or "b"."""
    return "first" if (side == "a") == shown.first_on_left else "second"


def side_of(shown: Layout, which: str) -> str:
    """The inverse of `which_of`."""
    return "a" if (which == "first") == shown.first_on_left else "b"


def from_sides(shown: Layout, said: Mapping[str, Any]) -> Answer:
    """The answer behind what was said by side; what is not in `said` was not said. A severity without a type has the type "other"."""
    harms = {}
    for side in ("a", "b"):
        of = which_of(shown, side)
        severity = said.get(f"harm_{side}") or ""
        harms[f"harm_{of}"] = severity
        harms[f"harm_{of}_type"] = (said.get(f"harm_{side}_type") or Harm.OTHER.value) if severity else ""
    text = said.get("edited") or ""
    verdict = by_side(shown, said["verdict"])
    side = said.get("edited_side") or ""
    return Answer(
        verdict=verdict,
        cannot_reason=said.get("cannot_reason") or "",
        reasons=tuple(said.get("reasons") or ()),
        axes={key: _turned(shown, value, which_of) for key, value in (said.get("axes") or {}).items()},
        hard=said.get("hard") or "",
        rationale=said.get("rationale") or "",
        spans=tuple(
            Span(which_of(shown, one["side"]), one["start"], one["end"], one["kind"], one["severity"]) for one in said.get("spans") or ()
        ),
        edited=(which_of(shown, side) if side else _FAVOURS.get(verdict, "")) if text else "",
        edited_text=text,
        active_ms=said.get("active_ms"),
        **harms,
    )


def to_sides(shown: Layout, answer: Answer) -> Sides:
    """The inverse of `from_sides`: how an answer reads to somebody who sees the pair as `shown`."""
    said: Sides = {
        "verdict": seen_from(shown, answer.verdict).value,
        "cannot_reason": str(answer.cannot_reason),
        "reasons": list(answer.reasons),
        "axes": {key: _turned(shown, value, side_of) for key, value in answer.axes.items()},
        "hard": str(answer.hard),
        "rationale": answer.rationale,
        "spans": [
            {"side": side_of(shown, one.of), "start": one.start, "end": one.end, "kind": one.kind, "severity": str(one.severity)}
            for one in answer.spans
        ],
        "edited": answer.edited_text,
        "edited_side": side_of(shown, answer.edited) if answer.edited else "",
        "active_ms": answer.active_ms,
    }
    for side in ("a", "b"):
        of = which_of(shown, side)
        said[f"harm_{side}"] = str(getattr(answer, f"harm_{of}"))
        said[f"harm_{side}_type"] = str(getattr(answer, f"harm_{of}_type"))
    return said


def faults_to_sides(shown: Layout, faults: Faults) -> Faults:
    """Faults of an answer under the names of the form it came from."""
    names = {f"harm_{of}{kind}": f"harm_{side_of(shown, of)}{kind}" for of in ("first", "second") for kind in ("", "_type")}
    return {names.get(name, name): message for name, message in faults.items()}


def of(judgement: Judgement) -> Answer:
    """What a stored judgement says. Reads its spans and edit."""
    edit = getattr(judgement, "edit", None)
    first = judgement.assignment.pair.first_id
    return Answer(
        **{name: getattr(judgement, name) for name in COLUMNS if name != "reasons"},
        reasons=tuple(judgement.reasons),
        spans=tuple(
            Span("first" if one.completion_id == first else "second", one.start, one.end, one.kind, one.severity)
            for one in judgement.spans.all()
        ),
        edited="" if edit is None else "first" if edit.completion_id == first else "second",
        edited_text="" if edit is None else edit.text,
    )


def check(answer: Answer, *, campaign: Campaign, pair: Pair) -> Faults:
    """What is wrong with an answer in this campaign, by field; empty when it can be stored. Texts are read for spans and edits only."""
    rubric = campaign.rubric.content
    faults: Faults = {}
    for name, message in (
        *_verdict_faults(answer),
        *_choice_faults(answer, rubric),
        *_axis_faults(answer, rubric),
        *_text_faults(answer, campaign.rationale_when),
        *_span_faults(answer, rubric, pair),
        *_edit_faults(answer, pair),
    ):
        faults.setdefault(name, message)
    return faults


def edit_of(answer: Answer, pair: Pair) -> str:
    """The text of the edit, or "" when it changes nothing: line ends alone are the browser's doing."""
    if not answer.edited_text:
        return ""
    before = getattr(pair, answer.edited).text
    after = unix(answer.edited_text)
    return "" if after == unix(before) else after


def without_edit(answer: Answer) -> Answer:
    return replace(answer, edited="", edited_text="")


def unix(text: str) -> str:
    """`text` with line feeds alone as line ends: forms send them with carriage returns."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unstorable(text: str) -> str:
    """Why a typed text cannot be kept, with the character's place; "" if it can. Line ends and tabs are fine."""
    found = _UNSTORABLE.search(unix(text))
    if found is None:
        return ""
    return f"Character {found.start() + 1} cannot be stored (U+{ord(found.group()):04X}, a control character): remove it."


def _turned(shown: Layout, value: Any, other: Any) -> Any:
    """An axis value between sides and completions: a number changes its sign with the sides, a value for each is exchanged."""
    if isinstance(value, dict):
        return {other(shown, name): number for name, number in value.items()}
    return value if shown.first_on_left else -value


def _ordered(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda one: (one.of, one.start, one.end, one.kind, str(one.severity))))


def _verdict_faults(answer: Answer) -> Iterator[tuple[str, str]]:
    if answer.verdict not in Verdict.values:
        yield "verdict", "Choose one of the verdicts."
    elif (answer.verdict == Verdict.CANNOT_JUDGE) != bool(answer.cannot_reason) or (
        answer.cannot_reason and answer.cannot_reason not in CannotJudge.values
    ):
        yield "verdict", "“Cannot judge” takes one reason of the three; no other verdict takes one."


def _choice_faults(answer: Answer, rubric: dict[str, Any]) -> Iterator[tuple[str, str]]:
    known = {one["key"] for one in rubric.get("reasons", [])}
    if len(answer.reasons) > MAX_REASONS:
        yield "reasons", f"{MAX_REASONS} reasons at most: the ones that decided it."
    elif not known.issuperset(answer.reasons) or len(set(answer.reasons)) < len(answer.reasons):
        yield "reasons", "Choose from the reasons of this campaign, each once."
    for of_which in ("first", "second"):
        severity, kind = getattr(answer, f"harm_{of_which}"), getattr(answer, f"harm_{of_which}_type")
        if severity and severity not in Severity.values:
            yield f"harm_{of_which}", "Choose how severe the harm could be."
        if bool(severity) != bool(kind) or (kind and kind not in Harm.values):
            yield f"harm_{of_which}_type", "A safety flag has a severity and a kind of harm."
    if answer.hard and answer.hard not in Hard.values:
        yield "hard", "Choose one of the reasons why it was hard, or none."
    if answer.active_ms is not None and not 0 <= answer.active_ms <= MAX_ACTIVE_MS:
        yield "active_ms", "The time spent must be between none and a day."


def _axis_faults(answer: Answer, rubric: dict[str, Any]) -> Iterator[tuple[str, str]]:
    axes = {one["key"]: one for one in rubric.get("axes", [])}
    if unknown := set(answer.axes) - set(axes):
        yield "axes", f"{len(unknown)} of the scales {'is' if len(unknown) == 1 else 'are'} not asked for in this campaign."
    for key, axis in axes.items():
        name, value = f"axis-{key}", answer.axes.get(key)
        if value is None:
            if axis.get("required") and answer.verdict != Verdict.CANNOT_JUDGE:
                yield name, f"“{axis['label']}” is asked for in this campaign."
        elif axis["scale"] in COMPARING:
            if not _is_in(value, COMPARING[axis["scale"]]):
                yield name, f"Choose a value of “{axis['label']}”."
        elif not isinstance(value, dict) or set(value) != {"first", "second"}:
            yield name, f"“{axis['label']}” takes a value for each side, or none for both."
        elif not all(_is_in(number, OF_EACH_SIDE[axis["scale"]]) for number in value.values()):
            known = OF_EACH_SIDE[axis["scale"]]
            yield name, f"“{axis['label']}” takes whole numbers from {known[0]} to {known[-1]}."


def _is_in(value: Any, known: range) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in known


def _text_faults(answer: Answer, when: list[str]) -> Iterator[tuple[str, str]]:
    if len(answer.rationale) > MAX_RATIONALE:
        yield "rationale", f"The words on why have {len(answer.rationale):,} characters; {MAX_RATIONALE:,} are allowed."
    elif reason := unstorable(answer.rationale):
        yield "rationale", reason
    if answer.rationale.strip() or answer.verdict == Verdict.CANNOT_JUDGE:
        return
    # The protocol asks for words only where they are worth their time.
    if RationaleWhen.ALWAYS in when:
        yield "rationale", "Say why in a few words: this campaign asks for it."
    elif RationaleWhen.BOTH_UNACCEPTABLE in when and answer.verdict == Verdict.BOTH_UNACCEPTABLE:
        yield "rationale", "Say in a few words why neither can be used."
    elif RationaleWhen.FLAG in when and (answer.harm_first or answer.harm_second):
        yield "rationale", "Say in a few words what the harm is."
    elif RationaleWhen.MUCH in when and answer.verdict in _MUCH:
        yield "rationale", "Say in a few words what makes it much better."


def _span_faults(answer: Answer, rubric: dict[str, Any], pair: Pair) -> Iterator[tuple[str, str]]:
    if not answer.spans:
        return
    if len(answer.spans) > MAX_SPANS:
        yield "spans", f"{len(answer.spans)} marks; {MAX_SPANS} are allowed."
        return
    known = {one["key"] for one in rubric.get("spans", [])}
    lengths = {of_which: len(getattr(pair, of_which).text) for of_which in ("first", "second")}
    for one in answer.spans:
        if one.kind not in known:
            yield "spans", "A mark has one of the kinds this campaign asks for."
        elif one.severity not in Severity.values:
            yield "spans", "A mark has a severity."
        elif not 0 <= one.start <= one.end <= lengths[one.of]:
            yield "spans", "A mark lies outside its text."
        elif one.start == one.end and one.kind != OMISSION:
            yield "spans", "A mark holds at least one character; only something missing is a mere place."


def _edit_faults(answer: Answer, pair: Pair) -> Iterator[tuple[str, str]]:
    if not answer.edited_text:
        return
    if len(answer.edited_text) > MAX_EDIT:
        yield "edited", f"The edited text has {len(answer.edited_text):,} characters; {MAX_EDIT:,} are allowed."
    elif not answer.edited:
        yield "edited", "Say which side you edited."
    elif not edit_of(answer, pair):
        return
    elif answer.verdict == Verdict.CANNOT_JUDGE:
        yield "edited", "A pair that cannot be judged has no edit: choose a verdict, or empty the edit."
    elif _FAVOURS.get(Verdict(answer.verdict), answer.edited) != answer.edited:
        yield "edited", "Edit the side you prefer; where both are equal, either."
    elif reason := unstorable(answer.edited_text):
        yield "edited", reason
