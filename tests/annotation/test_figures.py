"""From the tables to the pure modules: the figures of a small campaign against values worked out by hand."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from annotation import figures, judgements
from annotation.figures import Row
from annotation.models import Judgement, Pair, Selection, Slot, SlotKind, Verdict
from tests.annotation.build import campaign, judge, lease


def row(pair: int, rater: int, verdict: str, **changes: Any) -> Row:
    made = Row(
        pair=pair, sample=pair, task="summarization", rater=rater, verdict=verdict, first_on_left=True, kind="vote", repeat=0,
        by_chance=True, producers=("north", "south"), lengths=(100, 100), source_length=500, active_ms=60_000,
        at=datetime(2026, 1, 1, tzinfo=UTC), harm=("", ""),
    )  # fmt: skip
    return made._replace(**changes)


def test_side_and_winner_are_read_by_content_and_by_place() -> None:
    assert row(1, 1, "first_much").left_won is True
    assert row(1, 1, "first_slightly", first_on_left=False).left_won is False
    assert row(1, 1, "second_much", first_on_left=False).left_won is True
    assert row(1, 1, "both_acceptable").left_won is None


def test_agreement_of_forty_pairs_ten_of_them_opposed() -> None:
    found = [row(pair, rater, "second_much" if pair < 10 and rater == 2 else "first_much") for pair in range(40) for rater in (1, 2)]
    agreed = figures.agreed(found)
    assert agreed.raw.value == 0.75
    assert agreed.decisive.value == 0.75
    # (1 − √0.5) / 2
    assert agreed.flips.value == pytest.approx(0.14645, abs=1e-5)
    assert agreed.ceiling.value == pytest.approx(0.85355, abs=1e-5)
    assert agreed.by_task["summarization"].value == agreed.flips.value
    assert agreed.raw.n == 40


def test_twenty_nine_overlapping_pairs_are_too_few_for_a_number() -> None:
    found = [row(pair, rater, "first_much" if pair % 3 else "second_much") for pair in range(29) for rater in (1, 2)]
    agreed = figures.agreed(found)
    assert (agreed.raw.value, agreed.raw.note) == (None, "n too small")
    assert agreed.flips.value is None


def test_unanimous_votes_leave_alpha_undefined() -> None:
    agreed = figures.agreed([row(pair, rater, "first_much") for pair in range(40) for rater in (1, 2)])
    assert agreed.raw.value == 1
    assert (agreed.alpha.value, agreed.alpha.note) == (None, "undefined")


def test_repeats_gold_and_informative_pairs_are_no_evidence() -> None:
    plain = [row(pair, 1, "first_much") for pair in range(3)]
    others = [
        row(0, 1, "second_much", kind="repeat", repeat=1), row(7, 1, "second_much", kind="gold"), row(8, 1, "second_much", by_chance=False)
    ]  # fmt: skip
    assert figures.votes(plain + others) == plain
    assert len(figures.votes(plain + others, by_chance=False)) == 4


def test_left_share_counts_decisive_votes_by_place() -> None:
    found = [row(pair, 1, "first_much", first_on_left=pair < 45) for pair in range(60)] + [row(99, 1, "both_acceptable")]
    left = figures.left_share(found)
    assert (left.share.value, left.share.n, left.alarm) == (0.75, 60, True)


def test_longer_wins_and_the_win_rate_follow_the_texts() -> None:
    found = [row(pair, 1, "first_much" if pair < 30 else "second_much", lengths=(200, 100)) for pair in range(40)]
    assert figures.longer_wins(found).value == 0.75
    assert figures.win_rate(found, "north", "south").raw.value == 0.75
    assert figures.win_rate(found, "south", "north").raw.value == 0.25


def test_ranking_puts_the_preferred_producer_first_whatever_the_side() -> None:
    found = [row(pair, 1, "first_much" if pair % 4 else "second_much", first_on_left=pair // 4 % 2 == 0) for pair in range(80)]
    places = figures.ranked(found).places
    assert [place.model for place in places] == ["north", "south"]
    # Without ties or other terms, log(3) between them.
    assert places[0].strength.value == pytest.approx(0.5493, abs=0.02)


def test_a_rater_is_compared_with_the_others_of_the_same_pairs() -> None:
    found = [row(pair, rater, "second_slightly" if rater == 3 else "first_much") for pair in range(30) for rater in (1, 2, 3)]
    by_user = {rater.user: rater for rater in figures.raters(found)}
    assert by_user[1].peers.value == 0.5
    assert by_user[3].peers.value == 0
    assert by_user[1].seconds == 60


def test_a_repeat_is_set_beside_the_first_answer_by_content() -> None:
    found = [row(1, 1, "first_much"), row(1, 1, "first_much", kind="repeat", repeat=1, first_on_left=False)]
    [repeat] = figures.repeats(found)
    assert (repeat.before, repeat.after, repeat.first_was_left) == ("first_much", "first_much", True)


@pytest.mark.django_db
def test_rows_are_one_query_and_hold_what_was_judged(alice: User, bob: User, django_assert_num_queries: Callable[..., Any]) -> None:
    made = campaign([alice, bob], pairs=3, overlap=2)
    for person in (alice, bob):
        for _ in range(3):
            judge(made, person, Verdict.SECOND_SLIGHTLY)
    with django_assert_num_queries(1):
        found = figures.rows(made)
    assert len(found) == 6
    assert {one.verdict for one in found} == {"second_slightly"}
    assert {one.rater for one in found} == {alice.pk, bob.pk}
    assert all(one.lengths == (len(text_of(one.pair, "first")), len(text_of(one.pair, "second"))) for one in found)


def text_of(pair: int, which: str) -> str:
    return str(getattr(Pair.objects.get(pk=pair), which).text)


@pytest.mark.django_db
def test_undone_amended_and_informative_answers_are_read_as_they_stand(alice: User) -> None:
    made = campaign([alice], pairs=3)
    first = judge(made, alice, Verdict.FIRST_MUCH)
    judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())
    judge(made, alice)
    judgements.undo_last(campaign=made, annotator=alice)
    Pair.objects.filter(pk=first.assignment.pair_id).update(selected_by=Selection.INFORMATIVE)
    [one] = figures.rows(made)
    assert (one.verdict, one.by_chance) == ("second_much", False)


@pytest.mark.django_db
def test_repeats_handed_out_later_are_found(alice: User) -> None:
    made = campaign([alice], pairs=12, repeat_share=0.5)
    for _ in range(12):
        judge(made, alice, Verdict.FIRST_MUCH)
    waiting = Slot.objects.filter(campaign=made, kind=SlotKind.REPEAT)
    assert waiting
    waiting.update(available_from=None)
    for _ in range(waiting.count()):
        judgements.submit(assignment=lease(made, alice), verdict=Verdict.FIRST_SLIGHTLY, key=uuid4())
    repeats = figures.repeats(figures.rows(made))
    assert len(repeats) == Judgement.objects.count() - 12 > 0
    assert {(one.before, one.after) for one in repeats} == {("first_much", "first_slightly")}
