"""Before it is frozen: every line of the list turns from ok to a warning when what it is about is there, and names no text."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from annotation import contradictions, judgements, lint, rubrics
from annotation.answers import Answer
from annotation.filters import Filters
from annotation.models import Campaign, Completion, Judgement, Pair, Prompt, Source, Verdict
from modelhub.models import ModelVersion
from tests.annotation.build import campaign, judge, lease
from tests.annotation.test_preferences import row, store
from tests.cast import person
from tests.training.build import version as model_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(alice: User) -> Campaign:
    """Eight pairs; the first text is always preferred, and both are of one length."""
    built = campaign([alice], pairs=8)
    for _ in range(8):
        judge(built, alice, Verdict.FIRST_MUCH)
    return built


def look(campaign: Campaign, *, model: ModelVersion | None = None, context: int | None = None, **asked: Any) -> dict[str, lint.Check]:
    report = lint.look(campaign=campaign, filters=Filters(**asked), model=model, context=context)
    return {check.name: check for check in report.checks}


def write(campaign: Campaign, *, first: str | None = None, second: str | None = None, **changes: Any) -> None:
    """Other words for one pair's texts."""
    pair = Pair.objects.filter(campaign=campaign).order_by("pk").first()
    assert pair is not None
    for pk, text in ((pair.first_id, first), (pair.second_id, second)):
        if text is not None:
            Completion.objects.filter(pk=pk).update(text=text, **changes)


def test_a_sound_campaign_has_no_line_that_stops(made: Campaign) -> None:
    report = lint.look(campaign=made, filters=Filters())
    assert report.clear
    assert {check.name: check.state for check in report.checks} == {
        "Pairs": "ok", "Whose judgements": "ok", "Held-out pairs": "warn", "Held-out raters": "ok", "Leakage": "ok",
        "Near-identical texts": "ok", "Truncated texts": "ok", "Length": "ok", "Special tokens": "ok",
        "Empty texts and names": "ok", "Length and preference": "ok",
        "Sides": "ok", "Label noise": "ok", "Reasons": "ok", "Edits": "ok", "Licences": "ok",
    }  # fmt: skip
    assert report.histogram[4] == (0.7, 0.75, 8)
    assert sum(rows for *_, rows in report.histogram) == 8


@pytest.mark.parametrize(
    ("texts", "line", "says"),
    [
        ({"first": "Give <|end|> now."}, "Special tokens", "1 of 8 pairs hold what looks like a model's control token"),
        ({"first": "[INST] Give it."}, "Special tokens", "1 of 8 pairs"),
        ({"first": "As an AI language model I cannot."}, "Empty texts and names", "says which model or maker"),
        ({"second": "  "}, "Empty texts and names", "1 of 8 pairs hold an empty text"),
        ({"first": "Chest pain.", "second": "CHEST  pain."}, "Near-identical texts", "1 of 8 pairs hold nearly the same text twice"),
        ({"first": "Cut o", "finish_reason": "length"}, "Truncated texts", "1 of 8 pairs hold a text that was cut off"),
        ({"first": "word " * 6000}, "Length", "1 of 8 pairs are longer than 4,096 tokens"),
    ],
)
def test_what_is_wrong_with_a_text_is_counted_and_never_shown(made: Campaign, texts: dict[str, Any], line: str, says: str) -> None:
    write(made, **texts)
    found = look(made)[line]
    assert (found.state, says in found.detail) == ("warn", True), found
    assert found.fix
    assert not any("Give" in check.detail or "cannot" in check.detail for check in look(made).values())


def test_leaving_near_identical_pairs_out_mends_their_line(made: Campaign) -> None:
    write(made, first="Chest pain.", second="Chest pain. ")
    found = look(made, drop_near_identical=True)["Near-identical texts"]
    assert (found.state, found.detail) == ("ok", "1 pairs are left out")


def test_the_longer_text_chosen_in_most_pairs_is_warned_of_with_the_advice(made: Campaign) -> None:
    for pair in made.pairs.order_by("pk")[:4]:
        text = Completion.objects.get(pk=pair.first_id)
        Completion.objects.filter(pk=pair.first_id).update(text=text.text + " And so on and on.")
    found = look(made)["Length and preference"]
    assert (found.state, found.detail) == ("warn", "the chosen text is the longer one in 75 %")
    assert "sigmoid_norm" in found.fix


def test_tokens_are_counted_by_the_model_asked_about(made: Campaign, tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    version = model_version(tmp_path, "counting")
    found = look(made, model=version, context=16)["Length"]
    assert (found.state, f"for {version.name}" in found.detail or "estimated" in found.detail) == ("warn", True)
    assert "longer than 16 tokens" in found.detail


def test_raters_who_favour_a_side_and_disagree_are_told(alice: User) -> None:
    others = [person(f"rater{number}", "annotator") for number in range(2)]
    third = campaign(others, pairs=40, overlap=2)
    for rater in others:
        for _ in range(40):
            held = lease(third, rater)
            # Of 22 pairs both say the same; of the others each says what stands on the left, and sides are counterbalanced.
            left = Verdict.FIRST_MUCH if held.first_on_left or held.pair.position < 22 else Verdict.SECOND_MUCH
            judgements.submit(assignment=held, verdict=left, key=uuid4())
    told = look(third)
    assert (told["Sides"].state, told["Label noise"].state) == ("warn", "warn")
    assert "no model can agree with one rater in more than" in told["Label noise"].detail


def test_edits_that_change_nothing_are_counted(alice: User) -> None:
    built = campaign([alice], pairs=3)
    for edited in ("Better words.", ""):
        judgements.submit(
            assignment=lease(built, alice), answer=Answer(verdict=Verdict.FIRST_MUCH, edited="first" if edited else "", edited_text=edited),
            key=uuid4(),
        )  # fmt: skip
    assert look(built)["Edits"].detail == "1 edited texts"
    edit = Judgement.objects.get(edit__isnull=False).edit
    type(edit).objects.filter(pk=edit.pk).update(text=" ")
    assert look(built)["Edits"].state == "warn"


@pytest.mark.parametrize(
    ("verdict", "axes", "harm", "against"),
    [
        ("first_much", {}, ("major", ""), True),
        ("first_much", {}, ("minor", "life_threatening"), False),
        ("second_slightly", {"correctness": 2}, ("", ""), True),
        ("second_slightly", {"correctness": 2, "completeness": -1}, ("", ""), False),
        ("second_slightly", {"correctness": 0}, ("", ""), False),
        ("first_slightly", {"harm_extent": {"first": 3, "second": 1}}, ("", ""), True),
        ("first_slightly", {"harm_extent": {"first": 3, "second": 1}}, ("", "minor"), False),
        ("both_unacceptable", {"correctness": 2}, ("major", ""), False),
        ("first_much", {"over_triage": -1, "wrong_items": {"first": 4, "second": 0}}, ("", ""), False),
    ],
)
def test_a_vote_speaks_against_itself_when_all_its_reasons_do(verdict: str, axes: Any, harm: tuple[str, str], against: bool) -> None:
    scales = {
        "correctness": "comparative",
        "completeness": "comparative",
        "harm_extent": "risk",
        "over_triage": "which",
        "wrong_items": "count",
    }
    assert contradictions.opposed(verdict, axes=axes, scales=scales, harm=harm) is against


def test_votes_whose_reasons_disagree_with_their_verdict_are_counted_and_their_pairs_named(alice: User) -> None:
    built = campaign([alice], pairs=9, rubric=rubrics.template("T2"))
    said = [
        Answer(verdict=Verdict.FIRST_SLIGHTLY, axes={"correctness": -2}, rationale="The dose is ten times too high."),
        Answer(verdict=Verdict.FIRST_MUCH, axes={"correctness": -2, "conciseness": -1}),
        Answer(verdict=Verdict.FIRST_MUCH, axes={"correctness": 2}),
        Answer(verdict=Verdict.BOTH_ACCEPTABLE, axes={"correctness": 2}),
        *[Answer(verdict=Verdict.SECOND_MUCH)] * 5,
    ]
    given = [judgements.submit(assignment=lease(built, alice), answer=answer, key=uuid4()).assignment.pair_id for answer in said]
    found = look(built)["Reasons"]
    assert (found.state, found.detail) == (
        "warn", f"2 of 3 votes with scales or flags give no reason but for the other side; pairs {given[1]}, {given[0]}",
    )  # fmt: skip
    assert "dose" not in found.fix
    assert look(built, min_margin=0.4)["Reasons"].detail.startswith("1 of 2 votes"), "only of rows that are used"


def test_imported_judgements_claim_nothing_of_raters_and_say_so() -> None:
    found = look(store(row(1), row(2)).campaign)
    assert found["Whose judgements"].state == "warn"
    assert "harm is unknown" in found["Whose judgements"].fix
    assert found["Sides"].detail.startswith("not known")
    assert found["Label noise"].detail.startswith("not measured")
    assert found["Licences"].detail == "Elsewhere: CC-BY-4.0"
    Source.objects.update(licence=" ")
    assert look(store(row(1), row(2)).campaign)["Licences"].state == "warn"


def test_what_cannot_be_frozen_says_stop_and_why(alice: User) -> None:
    assert look(campaign([alice], opened=False))["Judgements"].state == "stop"
    found = look(campaign([alice], pairs=2))["Pairs"]
    assert (found.state, "2 (no judgement yet)" in found.detail) == ("stop", True)


def test_only_the_first_two_thousand_rows_are_read(made: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "LOOKED", 5)
    Prompt.objects.update(messages=[{"role": "user", "content": "<|end|>"}])
    assert "5 of the first 5 pairs" in look(made)["Special tokens"].detail
