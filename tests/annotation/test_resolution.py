"""Votes into soft targets: the numbers written out, so that eyes can check them."""

import itertools

import pytest

from annotation.models import Verdict
from annotation.resolution import resolve

MIRROR = {
    "first_much": "second_much",
    "first_slightly": "second_slightly",
    "second_slightly": "first_slightly",
    "second_much": "first_much",
    "both_acceptable": "both_acceptable",
    "both_unacceptable": "both_unacceptable",
    "cannot_judge": "cannot_judge",
}


@pytest.mark.parametrize(
    ("votes", "first_is_chosen", "p_chosen", "strength"),
    [
        (["first_much"], True, 0.71, 2),  # (0.92 + 0.5) / 2
        (["first_slightly"], True, 0.625, 1),  # (0.75 + 0.5) / 2
        (["second_much"], False, 0.71, 2),
        (["first_much", "first_much"], True, 0.78, 2),  # (1.84 + 0.5) / 3
        (["first_much", "both_acceptable"], True, 0.64, 1),  # (0.92 + 0.5 + 0.5) / 3
        (["first_much", "second_slightly"], True, 0.556667, 0.5),  # (0.92 + 0.25 + 0.5) / 3
        (["second_much", "cannot_judge"], False, 0.71, 2),  # "cannot judge" is no vote
        (["first_much", "first_much", "both_unacceptable"], True, 0.78, 2),
    ],
)
def test_votes_become_a_target(votes: list[str], first_is_chosen: bool, p_chosen: float, strength: float) -> None:
    resolved = resolve(votes)
    assert (resolved.first_is_chosen, resolved.p_chosen, resolved.strength) == (first_is_chosen, p_chosen, strength)


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        ([], "no_judgement"),
        (["both_acceptable"], "tie"),
        (["both_acceptable", "both_acceptable", "cannot_judge"], "tie"),
        (["both_unacceptable"], "both_unacceptable"),
        (["both_unacceptable", "first_much"], "both_unacceptable"),
        (["both_unacceptable", "cannot_judge"], "both_unacceptable"),
        (["cannot_judge"], "cannot_judge"),
        (["first_much", "second_much"], "even"),
        (["first_slightly", "second_slightly", "both_acceptable"], "even"),
    ],
)
def test_pairs_that_teach_no_preference_say_why(votes: list[str], reason: str) -> None:
    resolved = resolve(votes)
    assert resolved.first_is_chosen is None
    assert resolved.reason == reason


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_combination_is_symmetric_bounded_and_free_of_order(count: int) -> None:
    for votes in itertools.combinations_with_replacement(Verdict.values, count):
        here, there = resolve(votes), resolve(MIRROR[vote] for vote in votes)
        assert here == resolve(reversed(votes))
        assert (here.p_chosen, here.reason, here.chosen, here.rejected) == (there.p_chosen, there.reason, there.chosen, there.rejected)
        if here.first_is_chosen is None:
            assert here.reason
            assert there.first_is_chosen is None
        else:
            assert 0.5 < here.p_chosen < 0.93
            assert there.first_is_chosen is not here.first_is_chosen


def test_more_of_the_same_vote_makes_surer() -> None:
    targets = [resolve(["first_slightly"] * n).p_chosen for n in range(1, 8)]
    assert targets == sorted(set(targets))


def test_an_unknown_verdict_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="a_much"):
        resolve(["a_much"])
