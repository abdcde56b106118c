"""The compare screen's form: an answer by side, read field by field, shown again with everything in it when something is wrong."""

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django import forms
from django.http import QueryDict

from annotation import answers, spans
from annotation.answers import Answer, Sides, SideVerdict
from annotation.models import Assignment, CannotJudge, Hard, Harm, Severity

# One group of radio buttons holds every answer: a reason is part of the answer "cannot judge", not a second question.
CANNOT = [(f"{SideVerdict.CANNOT_JUDGE}:{reason}", label) for reason, label in CannotJudge.choices]
VERDICTS = [choice for choice in SideVerdict.choices if choice[0] != SideVerdict.CANNOT_JUDGE]
# Lines for marks without JavaScript: the words are quoted, and found here.
QUOTES = 3
QUOTE_FIELDS = ("quote_side", "quote_text", "quote_kind", "quote_severity")
# Fields that come several times.
LISTS = ("reasons", *QUOTE_FIELDS)
_MAX_SPANS_JSON = 20_000
_NONE = ("", "none")


class JudgementForm(forms.Form):
    """`verdict` by side; `key` is made with the form, so that sending it twice counts once; `amends` names the revision it replaces.

    Scales of the rubric are fields "axis-<key>", or "axis-<key>-a" and "-b" where each side has a value.
    """

    verdict = forms.ChoiceField(choices=[*VERDICTS, *CANNOT], error_messages={"required": "Choose a verdict first."})
    reasons = forms.MultipleChoiceField(required=False)
    harm_a = forms.ChoiceField(required=False, choices=[_NONE, *Severity.choices])
    harm_a_type = forms.ChoiceField(required=False, choices=[_NONE, *Harm.choices])
    harm_b = forms.ChoiceField(required=False, choices=[_NONE, *Severity.choices])
    harm_b_type = forms.ChoiceField(required=False, choices=[_NONE, *Harm.choices])
    hard = forms.ChoiceField(required=False, choices=[_NONE, *Hard.choices])
    rationale = forms.CharField(required=False, strip=False)
    spans = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    edited = forms.CharField(required=False, strip=False)
    edited_side = forms.ChoiceField(required=False, choices=[_NONE, ("a", "A"), ("b", "B")])
    key = forms.UUIDField(widget=forms.HiddenInput)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=answers.MAX_ACTIVE_MS, widget=forms.HiddenInput)
    amends = forms.IntegerField(required=False, min_value=1, max_value=32_767, widget=forms.HiddenInput)
    draft_number = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, assignment: Assignment, **kwargs: Any) -> None:
        self.assignment = assignment
        self.rubric: dict[str, Any] = assignment.campaign.rubric.content
        self.base_fields = _fields(json.dumps([self.rubric.get("reasons", []), self.rubric.get("axes", [])]))  # type: ignore[misc]  # Django copies what it finds on the form
        super().__init__(*args, **kwargs)
        self._answer: Answer | None = None
        # When the draft was saved that this form starts with, if it does.
        self.draft: datetime | None = None
        # Whether it holds nothing yet, nor anything to amend.
        self.blank = False

    @classmethod
    def fresh(cls, assignment: Assignment, *, said: Sides | None = None, amends: int | None = None) -> "JudgementForm":
        """An empty form with a key of its own, or one that starts with what was `said` before."""
        start = {"key": str(uuid.uuid4()), "amends": amends, "draft_number": 0}
        made = cls(assignment=assignment, initial=start | (as_fields(said) if said else {}))
        made.blank = said is None and amends is None
        return made

    @classmethod
    def drafted(cls, assignment: Assignment, draft: Mapping[str, Any], number: int, saved_at: datetime | None = None) -> "JudgementForm":
        """The form as a draft left it, its key included: what may have been sent already still counts once."""
        made = cls(assignment=assignment, initial={"key": str(uuid.uuid4()), **draft, "draft_number": number})
        made.draft = saved_at
        return made

    def held(self, name: str) -> Any:
        """What a field holds now, as text (or texts), bound or not."""
        if name in QUOTE_FIELDS:
            return _listed(self.data, name) if self.is_bound else list(self.initial.get(name) or [])
        value = self[name].value()
        if name == "reasons":
            return [str(one) for one in value or []]
        return "" if value is None else str(value)

    def quotes(self) -> list[dict[str, str]]:
        """The lines for quoted marks as they stand: {"side", "text", "kind", "severity"} each."""
        columns = {name.removeprefix("quote_"): self.held(name)[:QUOTES] for name in QUOTE_FIELDS}
        return [{name: column[n] if n < len(column) else "" for name, column in columns.items()} for n in range(QUOTES)]

    def clean(self) -> dict[str, Any]:
        said = dict(self.cleaned_data)
        verdict, _, reason = said.get("verdict", "").partition(":")
        said |= {
            "verdict": verdict or SideVerdict.BOTH_ACCEPTABLE,
            "cannot_reason": reason,
            "rationale": answers.unix(said.get("rationale", "")),
            "edited": answers.unix(said.get("edited", "")),
            "axes": self._axes(),
            "spans": [*self._marked(), *self._quoted()],
        }
        answer = answers.from_sides(self.assignment, said)
        faults = answers.check(answer, campaign=self.assignment.campaign, pair=self.assignment.pair)
        for name, message in answers.faults_to_sides(self.assignment, faults).items():
            # A field that was refused by itself has said so; a verdict that is missing has no consequences yet.
            if name not in self.errors and verdict:
                self.add_error(name if name in self.fields else None, message)
        self._answer = answer
        return self.cleaned_data

    def answer(self) -> Answer:
        """By completion. Only after `is_valid()`."""
        assert self._answer is not None
        assert not self.errors
        return self._answer

    def _axes(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for axis in self.rubric.get("axes", []):
            found = [self.cleaned_data.get(name) for name in axis_fields(axis)]
            if len(found) == 1 and found[0] is not None:
                values[axis["key"]] = found[0]
            elif len(found) == 2 and any(value is not None for value in found):
                values[axis["key"]] = {side: value for side, value in zip("ab", found, strict=True) if value is not None}
        return values

    def _marked(self) -> list[dict[str, Any]]:
        text = self.cleaned_data.get("spans") or "[]"
        try:
            found = json.loads(text) if len(text) <= _MAX_SPANS_JSON else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(_is_span(one) for one in found):
            self.add_error("spans", "The marks could not be read: mark the places again.")
            return []
        return found

    def _quoted(self) -> Iterable[dict[str, Any]]:
        pair = self.assignment.pair
        for number, quote in enumerate(self.quotes(), start=1):
            if not quote["text"].strip():
                continue
            if quote["side"] not in ("a", "b"):
                self.add_error("spans", f"Quotation {number}: say whether it stands in A or in B.")
                continue
            text = getattr(pair, answers.which_of(self.assignment, quote["side"])).text
            place = spans.find(text, quote["text"])
            if place is None:
                self.add_error("spans", f"Quotation {number} does not stand in {quote['side'].upper()}: copy the words as they are.")
                continue
            yield {"side": quote["side"], "start": place[0], "end": place[1], "kind": quote["kind"], "severity": quote["severity"]}


class _Shared(dict[str, forms.Field]):
    """Fields of many forms: Django copies a form's fields so that it may change them, and none does here."""

    def __deepcopy__(self, memo: Any) -> dict[str, forms.Field]:
        return dict(self)


@lru_cache(maxsize=64)
def _fields(rubric: str) -> _Shared:
    """The form's fields for the reasons and scales of a rubric, as JSON."""
    reasons, axes = json.loads(rubric)
    made = copy.deepcopy(JudgementForm.base_fields)
    made["reasons"].choices = [(one["key"], one["label"]) for one in reasons]  # type: ignore[attr-defined]
    for name in ("rationale", "edited"):
        # Django's own refusal of NUL would not say where it stands; how long they may be is checked with the rest of the answer.
        made[name].validators = []
    for field in made.values():
        # The usual words would repeat what was sent.
        field.error_messages["invalid_choice"] = "Choose one of those listed."
    for axis in axes:
        known = answers.COMPARING.get(axis["scale"]) or answers.OF_EACH_SIDE[axis["scale"]]
        for name in axis_fields(axis):
            made[name] = forms.IntegerField(required=False, min_value=known[0], max_value=known[-1], label=axis["label"])
    return _Shared(made)


def axis_fields(axis: Mapping[str, Any]) -> list[str]:
    """The names of a scale's fields: one where it compares, else one for each side."""
    name = f"axis-{axis['key']}"
    return [name] if axis["scale"] in answers.COMPARING else [f"{name}-a", f"{name}-b"]


def as_fields(said: Sides) -> dict[str, Any]:
    """What was said by side as the form's fields hold it."""
    fields = {name: said[name] for name in ("reasons", "hard", "rationale", "edited", "edited_side")}
    fields |= {name: said[name] for side in "ab" for name in (f"harm_{side}", f"harm_{side}_type")}
    fields["verdict"] = f"{said['verdict']}:{said['cannot_reason']}" if said["cannot_reason"] else said["verdict"]
    fields["spans"] = json.dumps(said["spans"]) if said["spans"] else ""
    for key, value in said["axes"].items():
        fields |= {f"axis-{key}-{side}": number for side, number in value.items()} if isinstance(value, dict) else {f"axis-{key}": value}
    return fields


def _is_span(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and set(one) == {"side", "start", "end", "kind", "severity"}
        and one["side"] in ("a", "b")
        and all(type(one[name]) is int for name in ("start", "end"))
        and all(isinstance(one[name], str) for name in ("kind", "severity"))
    )


def _listed(data: Any, name: str) -> list[str]:
    if isinstance(data, QueryDict):
        return [str(value) for value in data.getlist(name)]
    value = data.get(name) or []
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
