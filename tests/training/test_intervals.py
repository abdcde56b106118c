"""Intervals against figures worked out by hand. No database."""

import pytest

from training.intervals import Share, over_runs, wilson, win_rate


def test_wilson_gives_the_textbook_figures() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_win_counts_one_a_tie_half() -> None:
    found = win_rate([True, False, False, True], [True, True, False, False])
    assert (found["value"], found["n"]) == (0.5, 4)
    assert win_rate([False] * 4, [True] * 4)["value"] == 1.0


def test_several_runs_spread_the_interval_beyond_one_runs_own() -> None:
    runs = [Share(value=value, low=0.0, high=1.0, n=250) for value in (0.42, 0.50, 0.58)]
    found = over_runs(runs)
    # Standard deviation 0.08, t(2) = 4.303: 0.5 ± 4.303 · 0.08 / √3.
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.5, 0.3013, 0.6987), abs=1e-4)


def test_runs_that_agree_keep_the_interval_of_the_things_asked() -> None:
    same = [Share(value=0.5, low=0.0, high=1.0, n=250)] * 3
    assert (over_runs(same)["low"], over_runs(same)["high"]) == pytest.approx(wilson(125, 250))
