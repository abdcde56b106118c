"""Votes into soft targets: the numbers written out, so that eyes can check them."""

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.models import Outcome, Verdict
from annotation.resolution import REASONS, Resolution, Ruling, Vote, resolve

# Made by the resolve() of the first snapshots, before weights, flags and rulings.
BEFORE = "e41f9352afcb2f476eca1dddb8bc0cff6a5ee11de84c03e25475fc4b10c467ba"

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


def test_what_was_frozen_before_resolves_as_before() -> None:
    """The digest of a snapshot covers p_chosen and these counts: every combination of up to four bare verdicts, digested."""
    lines = []
    for count in range(5):
        for votes in itertools.combinations_with_replacement(sorted(Verdict.values), count):
            r = resolve(votes)
            lines.append(f"{votes} {r.first_is_chosen} {r.p_chosen!r} {r.chosen} {r.rejected} {r.tie} {r.strength!r} {r.reason}")
    assert len(lines) == 330
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == BEFORE


verdicts = st.lists(st.sampled_from(Verdict.values), max_size=6)
weighted = st.lists(st.builds(Vote, st.sampled_from(Verdict.values), st.floats(0, 4)), max_size=6)
sides = st.sets(st.sampled_from(["first", "second"]))
OTHER = {"first": "second", "second": "first"}
rulings = st.none() | st.builds(
    Ruling, st.sampled_from(["first", "second", "equivalent", "defective", "rubric_unclear"]), sides.map(frozenset), st.booleans()
)


def p_of(resolved: Resolution, side: str) -> float:
    return resolved.p_chosen if resolved.first_is_chosen == (side == "first") else 1 - resolved.p_chosen


@given(verdicts | weighted, sides, rulings)
def test_a_flagged_side_is_never_favoured(votes: list[str | Vote], flags: set[str], ruling: Ruling | None) -> None:
    resolved = resolve(votes, flags=flags, ruling=ruling)
    if resolved.first_is_chosen is None:
        assert resolved.reason in REASONS
        return
    for side in ruling.harmful if ruling else flags:  # a lead's finding replaces the raters' flags
        assert p_of(resolved, side) <= 0.05 + 1e-12
    assert 0.5 < resolved.p_chosen <= 0.95


@given(weighted, sides, rulings)
def test_it_is_free_of_order_and_of_which_side_is_called_first(votes: list[Vote], flags: set[str], ruling: Ruling | None) -> None:
    here = resolve(votes, flags=flags, ruling=ruling)
    assert resolve(votes[::-1], flags=sorted(flags), ruling=ruling) == here
    turned = ruling and Ruling(OTHER.get(ruling.outcome, ruling.outcome), {OTHER[s] for s in ruling.harmful}, ruling.must_not_train)
    mirrored = [Vote(MIRROR[vote.verdict], vote.weight) for vote in votes]
    there = resolve(mirrored, flags={OTHER[side] for side in flags}, ruling=turned)
    assert there.p_chosen == pytest.approx(here.p_chosen, abs=1.1e-6)  # rounded to six digits on either side of one half
    assert (there.reason, there.basis, there.chosen, there.rejected) == (here.reason, here.basis, here.chosen, here.rejected)
    assert there.first_is_chosen == (None if here.first_is_chosen is None else not here.first_is_chosen)


@given(verdicts)
def test_votes_of_weight_one_are_plain_votes(votes: list[str]) -> None:
    assert resolve([Vote(verdict) for verdict in votes]) == resolve(votes)


@pytest.mark.parametrize(
    ("votes", "flags", "expected"),
    [
        (["first_much", "first_much"], {"first"}, (False, 0.95, "harm")),  # liked, and harmful
        (["second_much"], {"first"}, (False, 0.95, "harm")),
        (["both_acceptable"], {"second"}, (True, 0.95, "harm")),  # a tie is broken by harm
        (["first_much", "second_much"], {"second"}, (True, 0.95, "harm")),
        (["first_much"], {"first", "second"}, "both_harmful"),
        (["both_unacceptable"], {"first"}, "both_unacceptable"),  # the other is unfit too
        (["cannot_judge"], {"first"}, "cannot_judge"),  # nobody said that the other is fit
    ],
)
def test_harm_outweighs_votes(votes: list[str], flags: set[str], expected: tuple[bool, float, str] | str) -> None:
    resolved = resolve(votes, flags=flags)
    if isinstance(expected, str):
        assert (resolved.first_is_chosen, resolved.reason) == (None, expected)
    else:
        assert (resolved.first_is_chosen, resolved.p_chosen, resolved.basis) == expected


def test_votes_against_a_ruling_stay_visible_beside_it() -> None:
    resolved = resolve(["first_much", "first_slightly", "both_acceptable"], ruling=Ruling("second"))
    assert resolved == Resolution(False, 0.95, chosen=0, rejected=2, tie=1, strength=-1.0, basis="ruling")


@pytest.mark.parametrize(
    ("ruling", "expected"),
    [
        (Ruling("first"), 0.95),
        (Ruling("first", harmful={"second"}), 0.95),
        (Ruling("first", harmful={"first"}), "ruled_harmful"),
        (Ruling("first", harmful={"first", "second"}), "both_harmful"),
        (Ruling("first", must_not_train=True), "must_not_train"),
        (Ruling("equivalent"), "tie"),
        (Ruling("equivalent", must_not_train=True), "must_not_train"),
        (Ruling("defective"), "defective"),
        (Ruling("rubric_unclear"), "rubric_unclear"),
    ],
)
def test_a_ruling_stands_in_place_of_votes(ruling: Ruling, expected: float | str) -> None:
    for votes in (["second_much"] * 3, ["both_unacceptable"], []):
        resolved = resolve(votes, flags={"first"}, ruling=ruling)  # the lead lowered the raters' flag, or confirmed it
        assert resolved.basis == "ruling"
        assert (resolved.p_chosen if resolved.first_is_chosen else resolved.reason) == expected


def test_outcomes_and_reasons_are_the_models() -> None:
    for outcome in Outcome.values:
        assert resolve([], ruling=Ruling(outcome)).basis == "ruling"
    with pytest.raises(ValueError, match="outcome"):
        resolve([], ruling=Ruling("draw"))
    with pytest.raises(ValueError, match="sides"):
        resolve(["first_much"], flags=["left"])
    with pytest.raises(ValueError, match="weight"):
        resolve([Vote("first_much", -1.0)])
    with pytest.raises(ValueError, match="weight"):
        resolve([Vote("first_much", float("nan"))])


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([Vote("first_much", 2.0), Vote("second_much", 0.5)], 0.68),  # (2·0.92 + ½·0.08 + ½) / 3.5
        ([Vote("first_much", 0.0)], "even"),  # a coin's vote says nothing
        ([Vote("both_unacceptable", 0.5), Vote("first_much", 1.5)], 0.752),  # (1.5·0.92 + ½) / 2.5: a quarter calls both unfit
        ([Vote("both_unacceptable", 1.5), Vote("first_much", 0.5)], "both_unacceptable"),
        ([Vote("both_unacceptable", 0.0)], "both_unacceptable"),
    ],
)
def test_a_reliable_raters_vote_weighs_more(votes: list[Vote], expected: float | str) -> None:
    resolved = resolve(votes)
    assert (resolved.p_chosen if resolved.first_is_chosen else resolved.reason) == expected
