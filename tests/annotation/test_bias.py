"""Side and length: the alarm rule, and a planted length effect taken out again."""

import math

import numpy as np
import pytest

from annotation.bias import LeftShare, Vote, left_share, left_share_by_rater, length_ratio, log_ratio, logistic, longer_wins, win_rate
from annotation.estimates import Estimate, wilson


@pytest.mark.parametrize(
    ("left", "decisive", "alarm"),
    [
        (250, 500, False),
        (274, 500, False),  # 54.8 %: surely not one half, but less than five points away
        (290, 500, True),
        (210, 500, True),  # the right side can be favoured too
        (36, 60, False),  # 60 %, but the interval holds one half
        (2900, 5000, True),
        (2700, 5000, False),
    ],
)
def test_the_alarm_needs_a_sure_and_a_large_effect(left: int, decisive: int, alarm: bool) -> None:
    found = left_share(left, decisive)
    assert found == LeftShare(Estimate(left / decisive, *wilson(left, decisive), decisive), alarm)


def test_under_thirty_votes_a_rater_has_no_left_share() -> None:
    votes = [("alice", True)] * 29 + [("bob", True)] * 40 + [("bob", False)] * 5
    found = left_share_by_rater(votes)
    assert found["alice"] == LeftShare(Estimate(None, None, None, 29, "n too small"), False)
    assert found["bob"].alarm
    assert found["bob"].share.n == 45


def test_the_longer_answer_is_counted_among_decisive_votes_of_unequal_length() -> None:
    votes = [Vote(1, 0.5, 1), Vote(0, -0.5, 2), Vote(0, 0.5, 3), Vote(0.5, 0.5, 4), Vote(1, 0.0, 5)] * 20
    found = longer_wins(votes)
    assert (found.value, found.n) == (2 / 3, 60)
    assert longer_wins([Vote(1, 0.0, 1)] * 100).note == "n too small"


def test_lengths_are_compared_as_ratios() -> None:
    assert log_ratio(199, 99) == math.log(2)
    assert log_ratio(0, 0) == 0


def planted(n: int, skill: float, length: float, seed: int = 1, lean: float = 0.5) -> list[Vote]:
    """A is `lean` log units longer on average; only skill and length decide."""
    rng = np.random.default_rng(seed)
    longer = rng.normal(lean, 0.5, n)
    won = rng.random(n) < 1 / (1 + np.exp(-(skill + length * longer)))
    return [Vote(float(w), float(x), i) for i, (w, x) in enumerate(zip(won, longer, strict=True))]


def test_a_model_that_only_writes_more_wins_raw_and_not_at_equal_length() -> None:
    found = win_rate(planted(4000, skill=0.0, length=1.5))
    assert found.raw.low is not None
    assert found.raw.low > 0.6
    assert found.controlled.low is not None
    assert found.controlled.low < 0.5 < found.controlled.high  # type: ignore[operator]
    assert found.effect.low < 2**1.5 < found.effect.high  # type: ignore[operator]


def test_a_better_model_stays_better_at_equal_length() -> None:
    found = win_rate(planted(2000, skill=0.8, length=1.5, lean=-0.5))
    assert found.raw.value is not None
    assert found.controlled.value is not None
    assert found.raw.value < found.controlled.value  # it wrote less, and was punished for it
    assert found.controlled.low < 1 / (1 + math.exp(-0.8)) < found.controlled.high  # type: ignore[operator]


def test_the_same_vote_told_twice_is_no_news() -> None:
    once = planted(300, 0.3, 0.5)
    for one, two in zip(win_rate(once), win_rate(once + once), strict=True):
        assert math.isclose(one.value, two.value, abs_tol=1e-9)  # type: ignore[arg-type]
        assert math.isclose(one.low, two.low, abs_tol=1e-6)  # type: ignore[arg-type]


def test_ties_count_half() -> None:
    assert win_rate([Vote(0.5, 0.1 * (i % 7 - 3), i) for i in range(70)]).raw.value == 0.5


def test_where_length_cannot_be_told_from_winning_it_says_so() -> None:
    assert win_rate([Vote(1, 0.1, i) for i in range(20)]).controlled == Estimate(None, None, None, 20, "n too small")
    same = win_rate([Vote(float(i % 2), 0.2, i) for i in range(60)])
    assert same.raw.value == 0.5
    assert same.controlled.note == "undefined"
    separated = win_rate([Vote(float(i % 2), 0.5 if i % 2 else -0.5, i) for i in range(60)])
    assert separated.controlled.note == separated.effect.note == "undefined"


def test_the_logistic_fit_is_scipys() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(4)
    inputs = np.hstack([np.ones((300, 1)), rng.normal(size=(300, 2))])
    targets = (rng.random(300) < 1 / (1 + np.exp(-inputs @ [0.4, 1.0, -0.5]))).astype(float)
    fitted = logistic(inputs, targets, np.arange(300))
    theirs = minimize(lambda beta: np.logaddexp(0, inputs @ beta).sum() - targets @ (inputs @ beta), np.zeros(3), tol=1e-12)
    assert fitted is not None
    assert np.allclose(fitted[0], theirs.x, atol=1e-5)
    # With a right model and no clusters the sandwich comes near the inverse of the information.
    chances = 1 / (1 + np.exp(-inputs @ theirs.x))
    information = inputs.T @ (inputs * (chances * (1 - chances))[:, None])
    assert np.allclose(fitted[1], 1.96 * np.sqrt(np.diag(np.linalg.inv(information))), rtol=0.15)


def test_what_training_would_learn_about_length() -> None:
    found = length_ratio([(199, 99)] * 40 + [(99, 99)] * 10 + [(49, 99)] * 10)
    assert found is not None
    assert (found.lower, found.median, found.upper) == pytest.approx((1, 2, 2))
    assert found.longer.value == 40 / 60
    assert found.warning
    short = length_ratio([(199, 99)] * 35 + [(49, 99)] * 25)
    assert short is not None
    assert not short.warning
    assert length_ratio([(1, 2)]) is None
