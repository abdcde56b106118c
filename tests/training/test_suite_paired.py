"""Paired comparisons: exact tests against SciPy's, intervals that cover, regressions that are found and none that are not there."""

import numpy as np
import pytest
from scipy.stats import binomtest

from training.evidence.figures import mcnemar
from training.suite import paired


@pytest.mark.parametrize(("model", "parent"), [(0, 0), (1, 0), (5, 5), (3, 14), (40, 22), (0, 9), (250, 310)])
def test_mcnemar_is_the_exact_binomial_test(model: int, parent: int) -> None:
    expected = binomtest(model, model + parent).pvalue if model + parent else 1.0
    assert mcnemar(model, parent) == pytest.approx(expected, rel=1e-9)


def scored(rng: np.random.Generator, rate: float, n: int = 300) -> paired.Array:
    return (rng.random(n) < rate).astype(float)


def noisy_copy(rng: np.random.Generator, parent: paired.Array, changed: float) -> paired.Array:
    """The same model asked again: a share of its answers is another draw of the same rate."""
    again = rng.random(len(parent)) < changed
    return np.where(again, (rng.random(len(parent)) < parent.mean()).astype(float), parent)


def test_one_planted_regression_of_twelve_is_found_and_named() -> None:
    rng = np.random.default_rng(5)
    parent = {f"task {number}": scored(rng, 0.6) for number in range(12)}
    model = {name: noisy_copy(rng, scores, 0.3) for name, scores in parent.items()}
    model["task 7"] = noisy_copy(rng, parent["task 7"], 0.3) * (rng.random(300) > 0.25)
    found = paired.compare(model, parent, draws=4000)
    assert found.regressions == ("task 7",)
    assert found.tasks["task 7"].family_high < -paired.TASK_MARGIN
    assert found.tasks["task 7"].p is not None
    assert found.tasks["task 7"].p < 0.001


def test_a_model_against_itself_is_no_regression_and_has_no_width() -> None:
    parent = {"a": np.array([0.0, 1.0, 1.0]), "b": np.array([0.25, 0.5, 0.75])}
    found = paired.compare(parent, parent)
    assert found.regressions == ()
    assert found.tasks["a"][:6] == (0.0, 0.0, 0.0, 0.0, 0.0, 3)
    assert (found.tasks["a"].p, found.tasks["b"].p) == (1.0, None)


def test_equal_models_are_seldom_called_worse() -> None:
    """The whole family of figures, not each alone: `benchmarks/promotion.py` runs a thousand."""
    rng = np.random.default_rng(11)
    flagged = 0
    for number in range(100):
        parent = {str(task): scored(rng, 0.5, 120) for task in range(12)}
        model = {task: noisy_copy(rng, scores, 0.5) for task, scores in parent.items()}
        flagged += bool(paired.compare(model, parent, draws=2000, seed=number).regressions)
    assert flagged <= 11  # 5 % of 100 and three standard errors


def test_intervals_cover_a_planted_difference() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for number in range(120):
        parent = rng.beta(2, 2, 150)
        model = np.clip(parent + rng.normal(0.04, 0.1, 150), -1, 2)
        found = paired.compare({"a": model}, {"a": parent}, draws=1000, seed=number).tasks["a"]
        covered += found.low <= 0.04 <= found.high
        assert found.family_low <= found.low <= found.value <= found.high <= found.family_high
    assert 106 <= covered <= 120  # 95 % of 120, and three standard errors


def test_a_fall_of_everything_shows_in_the_mean_where_no_task_shows_it_alone() -> None:
    rng = np.random.default_rng(8)
    parent = {str(task): scored(rng, 0.7, 150) for task in range(12)}
    model = {task: scores * (rng.random(150) > 0.06) for task, scores in parent.items()}
    found = paired.compare(model, parent, draws=4000)
    assert paired.MEAN in found.regressions


@pytest.mark.parametrize("other", [{"b": np.ones(3)}, {"a": np.ones(4)}, {}])
def test_other_items_are_not_compared(other: dict[str, paired.Array]) -> None:
    with pytest.raises(ValueError, match="not scored on the same"):
        paired.compare({"a": np.ones(3)}, other)


def test_a_relative_gain_is_the_quotient_of_means_and_its_interval_covers_a_planted_one() -> None:
    rng = np.random.default_rng(9)
    covered = 0
    for number in range(100):
        parent, model = scored(rng, 0.4, 200), scored(rng, 0.6, 200)
        found = paired.relative(model, parent, draws=1000, seed=number)
        assert found is not None
        assert found.value == pytest.approx(model.sum() / parent.sum() - 1)
        covered += found.low <= 0.5 <= found.high
    assert 88 <= covered <= 100  # 95 % of 100, and three standard errors


def test_of_a_parent_that_scored_nothing_or_next_to_it_there_is_no_relative_gain() -> None:
    model = np.ones(40)
    assert paired.relative(model, np.zeros(40)) is None
    assert paired.relative(model, np.eye(40)[0]) is None
    told = paired.relative(model, np.concatenate([np.ones(10), np.zeros(30)]))
    assert told is not None
    assert told.value == 3.0
