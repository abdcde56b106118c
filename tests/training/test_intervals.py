"""Intervals against figures worked out by hand. No database."""

import pytest

from training.intervals import Share, over_runs, share, win_rate


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
    assert (over_runs(same)["low"], over_runs(same)["high"]) == pytest.approx((share(125, 250)["low"], share(125, 250)["high"]))
