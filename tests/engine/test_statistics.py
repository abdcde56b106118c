"""Intervals against published or hand-worked values."""

import pytest

from training.engine.statistics import bootstrap_mean, proportion, wilson


def test_wilson_gives_the_textbook_interval() -> None:
    # Newcombe 1998, table I: 81/263 and 0/20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_proportion_carries_its_interval() -> None:
    assert proportion(1, 2) == pytest.approx({"value": 0.5, "low": 0.0945, "high": 0.9055, "n": 2}, abs=1e-4)


def test_redrawing_groups_is_wider_than_redrawing_their_members() -> None:
    groups = [[float(index % 2)] * 5 for index in range(40)]
    low, high = bootstrap_mean(groups, 1000, 1)
    narrow_low, narrow_high = bootstrap_mean([[value] for group in groups for value in group], 1000, 1)
    assert low < narrow_low < 0.5 < narrow_high < high
    assert bootstrap_mean(groups, 1000, 1) == (low, high)
