"""Answers: by side to the person, by completion in the tables, and back without a loss; what a campaign's protocol refuses."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import answers
from annotation.answers import Answer, Span
from annotation.models import CannotJudge, Hard, Harm, Severity, Verdict

RUBRIC: dict[str, Any] = {
    "axes": [
        {"key": "complete", "label": "Completeness", "scale": "comparative", "required": True},
        {"key": "triage", "label": "Over-triage", "scale": "which"},
        {"key": "missing", "label": "Missing items", "scale": "count"},
        {"key": "risk", "label": "Risk", "scale": "risk"},
    ],
    "reasons": [{"key": key, "label": key.title()} for key in ("facts", "concise", "safer", "format")],
    "spans": [{"key": key, "label": key.title()} for key in ("fabrication", "omission")],
    "checks": [],
}
FIRST_TEXT, SECOND_TEXT = "No infarction. 5 mg daily.", "Infarction ruled out."


@dataclass(frozen=True)
class Shown:
    first_on_left: bool


def faults(answer: Answer, *, rationale_when: list[str] | None = None) -> dict[str, str]:
    campaign: Any = SimpleNamespace(rubric=SimpleNamespace(content=RUBRIC), rationale_when=rationale_when or [])
    pair: Any = SimpleNamespace(first=SimpleNamespace(text=FIRST_TEXT), second=SimpleNamespace(text=SECOND_TEXT))
    return answers.check(answer, campaign=campaign, pair=pair)


GOOD = Answer(verdict=Verdict.FIRST_MUCH, axes={"complete": 1})

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)
harms = st.one_of(st.just(("", "")), st.tuples(st.sampled_from(Severity.values), st.sampled_from(Harm.values)))
each = st.builds(lambda a, b: {"first": a, "second": b}, st.integers(0, 9), st.integers(0, 9))


@st.composite
def given_answers(draw: Any) -> Answer:
    verdict = draw(st.sampled_from(Verdict.values))
    (harm_first, first_type), (harm_second, second_type) = draw(harms), draw(harms)
    edited = draw(st.sampled_from(["", "first", "second"]))
    spans = draw(
        st.lists(
            st.builds(
                Span, st.sampled_from(["first", "second"]), st.integers(0, 5), st.integers(5, 9), st.just("omission"),
                st.sampled_from(Severity.values),
            ),
            max_size=3,
        )
    )  # fmt: skip
    return Answer(
        verdict=verdict,
        cannot_reason=draw(st.sampled_from(CannotJudge.values)) if verdict == Verdict.CANNOT_JUDGE else "",
        reasons=tuple(draw(st.lists(st.sampled_from(["facts", "concise", "safer"]), unique=True))),
        axes=draw(st.dictionaries(st.sampled_from(["complete", "missing", "risk"]), st.one_of(st.integers(-2, 2), each))),
        harm_first=harm_first,
        harm_first_type=first_type,
        harm_second=harm_second,
        harm_second_type=second_type,
        hard=draw(st.sampled_from(["", *Hard.values])),
        rationale=draw(texts),
        spans=tuple(spans),
        edited=edited,
        edited_text=draw(texts.filter(bool)) if edited else "",
        active_ms=draw(st.one_of(st.none(), st.integers(0, 10**6))),
    )


@given(answer=given_answers(), first_on_left=st.booleans())
def test_by_side_and_back_nothing_is_lost(answer: Answer, first_on_left: bool) -> None:
    shown = Shown(first_on_left)
    said = answers.to_sides(shown, answer)
    assert answers.from_sides(shown, said) == answer
    assert answers.to_sides(shown, answers.from_sides(shown, said)) == said


@given(answer=given_answers())
def test_on_the_other_side_the_same_answer_reads_mirrored(answer: Answer) -> None:
    here, there = answers.to_sides(Shown(True), answer), answers.to_sides(Shown(False), answer)
    mirrored = {"a": "b", "b": "a"}
    assert {one["side"] for one in here["spans"]} == {mirrored[one["side"]] for one in there["spans"]}
    assert (here["harm_a"], here["harm_b_type"]) == (there["harm_b"], there["harm_a_type"])
    assert here["edited_side"] == (mirrored[there["edited_side"]] if there["edited_side"] else "")


def test_the_same_answer_as_two_people_see_it() -> None:
    said = {
        "verdict": "a_much", "reasons": ["facts"], "axes": {"complete": 2, "triage": -1, "missing": {"a": 3, "b": 0}},
        "harm_b": "major", "spans": [{"side": "b", "start": 0, "end": 2, "kind": "fabrication", "severity": "minor"}],
        "edited": "Better.", "rationale": "B invents a dose.",
    }  # fmt: skip
    left = answers.from_sides(Shown(True), said)
    assert (left.verdict, left.harm_second, left.harm_second_type, left.harm_first) == ("first_much", "major", "other", "")
    assert left.axes == {"complete": 2, "triage": -1, "missing": {"first": 3, "second": 0}}
    assert (left.spans[0].of, left.edited) == ("second", "first")
    right = answers.from_sides(Shown(False), said)
    assert (right.verdict, right.harm_first, right.harm_first_type, right.harm_second) == ("second_much", "major", "other", "")
    assert right.axes == {"complete": -2, "triage": 1, "missing": {"second": 3, "first": 0}}
    assert (right.spans[0].of, right.edited) == ("first", "second")


def test_time_and_the_order_of_marks_are_no_other_answer() -> None:
    one, two = Span("first", 0, 2, "omission", "minor"), Span("second", 1, 2, "omission", "minor")
    answer = replace(GOOD, spans=(one, two), active_ms=10)
    assert answer.says_the_same(replace(answer, spans=(two, one), active_ms=99))
    assert not answer.says_the_same(replace(answer, spans=(one,)))
    assert not answer.says_the_same(replace(answer, rationale="Safer."))


def test_an_answer_that_makes_sense_has_no_fault() -> None:
    full = replace(
        GOOD, reasons=("facts", "safer", "format"), harm_second="minor", harm_second_type="omission", hard="ambiguous",
        axes={"complete": -2, "triage": 0, "missing": {"first": 0, "second": 99}, "risk": {"first": 1, "second": 4}},
        spans=(Span("first", 0, 2, "fabrication", "major"), Span("second", 21, 21, "omission", "minor")),
        edited="first", edited_text="No infarction. 5 mg\tdaily,\nwith food.", rationale="Line one\r\nline two",
    )  # fmt: skip
    assert faults(full, rationale_when=["always"]) == {}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"verdict": "best"}, "verdict"),
        ({"verdict": Verdict.CANNOT_JUDGE}, "verdict"),
        ({"cannot_reason": "outside_field"}, "verdict"),
        ({"verdict": Verdict.CANNOT_JUDGE, "cannot_reason": "tired"}, "verdict"),
        ({"reasons": ("facts", "concise", "safer", "format")}, "reasons"),
        ({"reasons": ("facts", "facts")}, "reasons"),
        ({"reasons": ("kindness",)}, "reasons"),
        ({"harm_first": "awful", "harm_first_type": "other"}, "harm_first"),
        ({"harm_first": "major"}, "harm_first_type"),
        ({"harm_second_type": "other"}, "harm_second_type"),
        ({"harm_second": "major", "harm_second_type": "boredom"}, "harm_second_type"),
        ({"hard": "monday"}, "hard"),
        ({"active_ms": -1}, "active_ms"),
        ({"axes": {}}, "axis-complete"),
        ({"axes": {"complete": 3}}, "axis-complete"),
        ({"axes": {"complete": True}}, "axis-complete"),
        ({"axes": {"complete": {"first": 1, "second": 1}}}, "axis-complete"),
        ({"axes": {"complete": 1, "triage": 2}}, "axis-triage"),
        ({"axes": {"complete": 1, "missing": 4}}, "axis-missing"),
        ({"axes": {"complete": 1, "missing": {"first": 1}}}, "axis-missing"),
        ({"axes": {"complete": 1, "missing": {"first": 100, "second": 0}}}, "axis-missing"),
        ({"axes": {"complete": 1, "risk": {"first": 0, "second": 1}}}, "axis-risk"),
        ({"axes": {"complete": 1, "style": 1}}, "axes"),
        ({"rationale": "x" * 4001}, "rationale"),
        ({"rationale": "a\x00b"}, "rationale"),
        ({"rationale": "a\x1bb"}, "rationale"),
        ({"rationale": "a\ud800b"}, "rationale"),
        ({"spans": (Span("first", 0, 2, "style", "major"),)}, "spans"),
        ({"spans": (Span("first", 0, 2, "fabrication", "bad"),)}, "spans"),
        ({"spans": (Span("first", 0, 27, "fabrication", "major"),)}, "spans"),
        ({"spans": (Span("second", 0, 22, "fabrication", "major"),)}, "spans"),
        ({"spans": (Span("first", 3, 2, "fabrication", "major"),)}, "spans"),
        ({"spans": (Span("first", 2, 2, "fabrication", "major"),)}, "spans"),
        ({"spans": (Span("first", 0, 2, "fabrication", "major"),) * 101}, "spans"),
        ({"edited": "second", "edited_text": "Better."}, "edited"),
        ({"edited": "", "edited_text": "Better."}, "edited"),
        ({"edited": "first", "edited_text": "x" * 50_001}, "edited"),
        ({"edited": "first", "edited_text": "a\x07b"}, "edited"),
        ({"verdict": Verdict.CANNOT_JUDGE, "cannot_reason": "outside_field", "edited": "first", "edited_text": "Better."}, "edited"),
    ],
)
def test_what_makes_no_sense_is_named_by_its_field(changed: dict[str, Any], field: str) -> None:
    found = faults(replace(GOOD, **changed))
    assert field in found
    assert len(found) == 1


def test_messages_name_the_place_and_never_the_text() -> None:
    assert faults(replace(GOOD, rationale="Mrs Smith\r\nhas \x00 it")) == {
        "rationale": "Character 15 cannot be stored (U+0000, a control character): remove it."
    }


def test_where_both_are_equal_either_side_may_be_edited() -> None:
    for verdict in (Verdict.BOTH_ACCEPTABLE, Verdict.BOTH_UNACCEPTABLE):
        for edited in ("first", "second"):
            assert faults(replace(GOOD, verdict=verdict, edited=edited, edited_text="Better.")) == {}


def test_an_edit_that_changes_nothing_is_none_whatever_its_line_ends() -> None:
    pair: Any = SimpleNamespace(first=SimpleNamespace(text="One\r\ntwo"), second=SimpleNamespace(text="One\ntwo"))
    assert answers.edit_of(replace(GOOD, edited="first", edited_text="One\ntwo"), pair) == ""
    assert answers.edit_of(replace(GOOD, edited="second", edited_text="One\r\ntwo"), pair) == ""
    assert answers.edit_of(replace(GOOD, edited="second", edited_text="One\r\nthree"), pair) == "One\nthree"
    # Not even on the side that lost.
    assert faults(replace(GOOD, edited="second", edited_text=SECOND_TEXT)) == {}


@pytest.mark.parametrize(
    ("when", "answer", "asked"),
    [
        ([], replace(GOOD, verdict=Verdict.BOTH_UNACCEPTABLE), False),
        (["both_unacceptable"], replace(GOOD, verdict=Verdict.BOTH_UNACCEPTABLE), True),
        (["both_unacceptable"], GOOD, False),
        (["flag"], replace(GOOD, harm_first="minor", harm_first_type="other"), True),
        (["flag"], GOOD, False),
        (["much"], GOOD, True),
        (["much"], replace(GOOD, verdict=Verdict.SECOND_SLIGHTLY), False),
        (["always"], replace(GOOD, verdict=Verdict.BOTH_ACCEPTABLE), True),
        (["always", "much"], replace(GOOD, verdict=Verdict.CANNOT_JUDGE, cannot_reason="outside_field"), False),
        (["always"], replace(GOOD, rationale=" \n "), True),
        (["always"], replace(GOOD, rationale="Safer."), False),
    ],
)
def test_words_are_asked_for_only_where_the_protocol_says(when: list[str], answer: Answer, asked: bool) -> None:
    assert ("rationale" in faults(answer, rationale_when=when)) is asked


def test_who_cannot_judge_owes_no_scale() -> None:
    assert faults(Answer(verdict=Verdict.CANNOT_JUDGE, cannot_reason="defective_input")) == {}


def test_faults_come_back_under_the_names_of_the_form() -> None:
    found = {"harm_first_type": "x", "harm_second": "y", "axis-the_first": "z"}
    assert answers.faults_to_sides(Shown(True), found) == {"harm_a_type": "x", "harm_b": "y", "axis-the_first": "z"}
    assert answers.faults_to_sides(Shown(False), found) == {"harm_b_type": "x", "harm_a": "y", "axis-the_first": "z"}
