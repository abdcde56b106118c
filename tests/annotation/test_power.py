"""Planning figures against product.md 2.1, to the printed digits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.power import (
    Pace,
    Plan,
    decisive_needed,
    detectable_win_rate,
    effect_of_repeats,
    judgements_needed,
    pace_of,
    pairs_promised,
    plan,
)


@pytest.mark.parametrize(
    ("win_rate", "at_80", "at_90", "with_ties"),
    # The last figure of 0.58 is "~496" there: rounded up before it was stretched for ties.
    [(0.55, 783, 1047, 1272), (0.58, 305, 407, 495), (0.60, 194, 259, 316), (0.65, 85, 113, 138), (0.70, 47, 62, 76)],
)
def test_comparisons_needed(win_rate: float, at_80: int, at_90: int, with_ties: int) -> None:
    assert decisive_needed(win_rate) == decisive_needed(1 - win_rate) == at_80
    assert decisive_needed(win_rate, power=0.9) == at_90
    assert judgements_needed(win_rate, tie_rate=0.2, design_effect=1.3) == with_ties


@pytest.mark.parametrize("win_rate", [0.0, 0.5, 1.0, 1.2])
def test_no_number_finds_what_is_not_there(win_rate: float) -> None:
    with pytest.raises(ValueError, match="win-rate"):
        decisive_needed(win_rate)


@given(st.floats(0.52, 0.95), st.floats(0, 0.6), st.floats(1, 3))
def test_what_is_detectable_undoes_what_is_needed(win_rate: float, ties: float, effect: float) -> None:
    needed = judgements_needed(win_rate, tie_rate=ties, design_effect=effect)
    found = detectable_win_rate(needed, tie_rate=ties, design_effect=effect)
    fewer = detectable_win_rate(needed - 1, tie_rate=ties, design_effect=effect)
    assert found is not None
    assert found <= win_rate + 1e-9
    assert fewer is None or fewer > win_rate - 1e-9


def test_a_handful_of_judgements_detects_nothing() -> None:
    assert detectable_win_rate(0) is None
    assert detectable_win_rate(5) is None


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="tie rate"):
        judgements_needed(0.6, tie_rate=1.0)
    with pytest.raises(ValueError, match="Power"):
        decisive_needed(0.6, power=1.0)
    with pytest.raises(ValueError, match="overlap"):
        plan(pairs=10, overlap=0, pace=pace_of(600))


def test_reading_sets_the_pace_until_twenty_judgements_were_timed() -> None:
    assert pace_of(690) == Pace(3.0, "words", False)
    assert pace_of(690, [90.0] * 19) == Pace(3.0, "words", False)
    assert pace_of(690, [90.0] * 15 + [600.0] * 5) == Pace(1.5, "times", False)
    assert pace_of(921) == Pace(921 / 230, "words", True)  # above four minutes
    assert not pace_of(920).too_long


def test_a_campaigns_plan() -> None:
    made = plan(
        pairs=300, double_share=0.25, repeat_share=0.05, gold=24, pace=pace_of(690), hourly_cost=150, design_effect=1.0, tie_rate=0.0
    )
    # 300 + 75; 19 repeats (5 % of 375, rounded up) and 24 gold pairs; 418 pairs of three minutes.
    assert made._replace(detectable=None) == Plan(418, 43, 3.0, 20.9, 3135.0, None, False)
    assert made.detectable is not None
    assert decisive_needed(made.detectable + 1e-6) <= 375 < decisive_needed(made.detectable - 1e-3)
    assert plan(pairs=10, overlap=2, cohorts=3, pace=pace_of(690)).judgements == 60


def test_a_session_promises_whole_pairs() -> None:
    assert [pairs_promised(minutes, pace_of(690)) for minutes in (1, 10, 20, 30)] == [1, 3, 6, 10]


def test_repeating_a_prompt_costs_information() -> None:
    assert effect_of_repeats(1, 0.3) == effect_of_repeats(0.5, 0.3) == 1
    assert math.isclose(effect_of_repeats(3, 0.15), 1.3)
