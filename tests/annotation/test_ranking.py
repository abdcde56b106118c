"""Davidson–Bradley–Terry against evalica and SciPy, and what may be said of ranks."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation import ranking
from annotation.estimates import Estimate, student95
from annotation.ranking import Vote, connected, plain, rank, rank_ranges

OUTCOMES = ("left", "right", "tie")


def judged(
    strengths: Sequence[float], n: int, *, side: float = 0.0, style: float = 0.0, ties: float = 0.7, seed: int = 0, each: int = 1
) -> list[Vote]:
    """n samples with one random pair of models each, judged `each` times, by the model's own probabilities."""
    rng = np.random.default_rng(seed)
    votes = []
    for sample in range(n):
        left, right = (int(model) for model in rng.choice(len(strengths), 2, replace=False))
        longer = float(rng.normal(0.1 * (left - right), 0.5))
        for _ in range(each):
            d = strengths[left] - strengths[right] + side + style * longer
            chances = np.array([math.exp(d / 2), math.exp(-d / 2), ties])
            votes.append(Vote(left, right, OUTCOMES[rng.choice(3, p=chances / chances.sum())], sample, longer))  # type: ignore[arg-type]
    return votes


def strengths_of(found: ranking.Ranking) -> dict[object, float]:
    return {place.model: place.strength.value or 0.0 for place in found.places}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_without_ties_side_and_length_it_is_evalicas_bradley_terry(seed: int, models: int) -> None:
    votes = judged(np.linspace(-0.5, 0.5, models).tolist(), 60 * models, ties=0.0, seed=seed)
    ours, theirs = rank(votes, side=False, style=False, floor=1), plain(votes)
    for place in ours.places:
        # The ridge (0.01 against hundreds of votes) pulls by far less than a point.
        assert place.elo.value == pytest.approx(theirs[place.model], abs=0.3)
    assert sum(theirs.values()) / models == pytest.approx(1000)


def test_the_fit_is_scipys() -> None:
    from scipy.optimize import minimize

    votes = judged([0.6, 0.1, -0.2, -0.5], 400, side=0.15, style=0.4, seed=3)

    def losses(x: np.ndarray) -> np.ndarray:
        d = np.array([x[vote.left] - x[vote.right] + x[4] + x[5] * vote.longer for vote in votes])  # type: ignore[index]
        logits = np.stack([d / 2, -d / 2, np.full(len(d), x[6])])
        return np.logaddexp.reduce(logits) - logits[[OUTCOMES.index(vote.outcome) for vote in votes], np.arange(len(votes))]

    best = minimize(lambda x: losses(x).sum() + ranking.RIDGE / 2 * x @ x, np.zeros(7), method="BFGS", options={"gtol": 1e-6})
    found = rank(votes, floor=1)
    # SciPy stops a little off the ridge's sum of 0, which is all that holds the common level.
    assert strengths_of(found) == {model: pytest.approx(best.x[model] - best.x[:4].mean(), abs=2e-5) for model in range(4)}
    assert found.side.value == pytest.approx(best.x[4], abs=2e-5)
    assert found.style.value == pytest.approx(best.x[5], abs=2e-5)
    assert found.ties == pytest.approx(math.exp(best.x[6]), abs=2e-5)
    assert sum(strengths_of(found).values()) == pytest.approx(0, abs=1e-6)

    # The sandwich, from first and second differences of that loss.
    h, steps = 1e-4, np.eye(7) * 1e-4
    scores = np.stack([(losses(best.x + i) - losses(best.x - i)) / (2 * h) for i in steps], axis=1)
    curvature = np.empty((7, 7))
    for a, i in enumerate(steps):
        for b, j in enumerate(steps):
            around = [losses(best.x + s * i + t * j).sum() * s * t for s in (1, -1) for t in (1, -1)]
            curvature[a, b] = math.fsum(around) / (4 * h * h)
    bread = np.linalg.inv(curvature + ranking.RIDGE * np.eye(7))
    half = student95(399) * np.sqrt(np.diag(bread @ scores.T @ scores @ bread) * 400 / 399)
    shown = {place.model: place.strength for place in found.places} | {4: found.side, 5: found.style}
    for position, estimate in shown.items():
        assert estimate.high - estimate.value == pytest.approx(half[position], rel=1e-3)  # type: ignore[operator, call-overload, index]


def test_what_was_planted_is_found_again() -> None:
    strengths = [0.6, 0.1, -0.2, -0.5]
    found = rank(judged(strengths, 6000, side=0.15, style=0.4, seed=1))
    assert [place.model for place in found.places] == [0, 1, 2, 3]
    assert [place.ranks for place in found.places] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    for place in found.places:
        assert place.strength.value == pytest.approx(strengths[place.model], abs=0.1)  # type: ignore[call-overload, index]
        assert place.elo.value == pytest.approx(1000 + 400 / math.log(10) * (place.strength.value or 0))
    assert found.side.low < 0.15 < found.side.high  # type: ignore[operator]
    assert found.style.low < 0.4 < found.style.high  # type: ignore[operator]
    assert found.ties == pytest.approx(0.7, abs=0.05)


def test_a_model_that_only_stood_left_is_not_stronger() -> None:
    rng = np.random.default_rng(8)
    votes = []
    for sample in range(3000):
        # Model 0 stands left nine times in ten, and clinicians favour the left; the models are equal.
        left, right = (0, 1) if rng.random() < 0.9 else (1, 0)
        votes.append(Vote(left, right, "left" if rng.random() < 0.58 else "right", sample))
    naive, honest = rank(votes, side=False), rank(votes)
    assert naive.places[0].model == 0
    assert naive.places[0].ranks == (1, 1)  # surely, and wrongly
    assert [place.ranks for place in honest.places] == [(1, 2), (1, 2)]
    assert honest.side.low > 0  # type: ignore[operator]


def test_ranks_are_ranges_while_intervals_overlap() -> None:
    intervals = [(0.8, 1.2), (0.1, 0.5), (0.3, 0.6), (-1.0, -0.4)]
    shown = [Estimate((low + high) / 2, low, high, 50) for low, high in intervals]
    assert rank_ranges(shown) == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert rank_ranges([*shown, Estimate(None, None, None, 3, "n too small")])[-1] is None
    assert rank_ranges(shown, lambda i, j: (i, j) != (0, 1)) == [(1, 2), (1, 3), (2, 3), (4, 4)]
    assert rank_ranges([shown[0], Estimate(None, None, None, 3, "n too small"), shown[3]]) == [(1, 1), None, (2, 2)]


def test_six_equal_models_are_seldom_told_apart() -> None:
    told = sum(any(place.ranks != (1, 6) for place in rank(judged([0.0] * 6, 200, seed=seed)).places) for seed in range(100))
    assert told <= 9  # 6 in 100; by overlapping intervals alone 17


def test_few_votes_separate_nothing() -> None:
    found = rank(judged([0.1, 0.0, -0.1], 100, seed=2))
    assert {place.ranks for place in found.places} == {(1, 3)}


def test_a_model_with_few_votes_is_not_shown_but_still_counts() -> None:
    votes = judged([0.5, -0.5], 200) + [Vote(2, 0, "left", f"late {i}") for i in range(29)]
    found = rank(votes)
    assert found.places[-1] == ranking.Place(
        2, 29, Estimate(None, None, None, 29, "n too small"), Estimate(None, None, None, 29, "n too small"), None
    )
    assert all(place.strength.value is not None for place in found.places[:2])
    assert rank([*votes, Vote(2, 1, "right", "one more")]).places[0].model == 2


def test_models_never_compared_get_no_common_scale() -> None:
    apart = [vote._replace(left=f"b{vote.left}", right=f"b{vote.right}") for vote in judged([0, 0], 100)]
    votes = judged([0.5, -0.5], 100) + apart
    found = rank(votes)
    assert found.note == "not compared with all others"
    assert all(place.strength.value is None and place.ranks is None for place in found.places)
    assert plain(votes) == {}
    joined = [*votes, *[Vote(0, "b0", "left", ("c", i)) for i in range(5)]]
    assert rank(joined).note == ""


def test_comparisons_join_models_through_others() -> None:
    assert connected("abc", [("a", "b"), ("c", "b")])
    assert not connected("abcd", [("a", "b"), ("c", "d")])
    assert connected([], [])


@pytest.mark.parametrize("votes", [[], [Vote("a", "b", "left", 1)], [Vote("a", "b", "left", i % 2) for i in range(100)]])
def test_next_to_nothing_is_too_little(votes: list[Vote]) -> None:
    assert rank(votes).note == "n too small"


def test_all_ties_rank_nobody() -> None:
    votes = [Vote("a", "b", "tie" if i % 2 else "both_unacceptable", i) for i in range(100)]
    found = rank(votes)
    assert found.note == "undefined"
    assert found.both_unacceptable.value == 0.5


def test_both_unacceptable_is_a_tie_and_is_told_apart() -> None:
    votes = judged([0.3, -0.3], 300, seed=5)
    bad = [vote._replace(outcome="both_unacceptable") if vote.outcome == "tie" and i % 3 == 0 else vote for i, vote in enumerate(votes)]
    found, plainly = rank(bad), rank(votes)
    assert found.places == plainly.places
    assert plainly.both_unacceptable.value == 0
    assert found.both_unacceptable.value == sum(vote.outcome == "both_unacceptable" for vote in bad) / 300


def test_a_model_that_won_everything_has_a_finite_strength_and_a_place() -> None:
    votes = [Vote("best", "b", "left", i) if i % 2 else Vote("b", "best", "right", i) for i in range(60)]
    found = rank(votes)
    assert found.places[0].model == "best"
    assert found.places[0].strength.value is not None
    assert 1 < found.places[0].strength.value < 8


def test_votes_that_repeat_one_another_widen_the_interval_not_the_estimate() -> None:
    once = judged([0.3, 0.0, -0.3], 400, seed=6)
    thrice = [vote for vote in once for _ in range(3)]
    for one, three in zip(rank(once).places, rank(thrice).places, strict=True):
        assert one.strength.value == pytest.approx(three.strength.value, abs=1e-3)
        width = [(e.high or 0) - (e.low or 0) for e in (one.strength, three.strength)]
        assert width[0] == pytest.approx(width[1], rel=0.01)


def test_a_weight_of_two_is_two_votes() -> None:
    votes = judged([0.3, -0.3], 200, seed=7)
    heavy = [vote._replace(weight=2.0) for vote in votes]
    assert strengths_of(rank(heavy)) == pytest.approx(strengths_of(rank(votes + votes)))
    assert strengths_of(rank([*votes, Vote(1, 0, "left", "no", weight=0.0)])) == pytest.approx(strengths_of(rank(votes)))


@pytest.mark.parametrize("wrong", [Vote("a", "a", "left", 1), Vote("a", "b", "left", 1, weight=-1)])
def test_impossible_votes_are_refused(wrong: Vote) -> None:
    with pytest.raises(ValueError, match="different models"):
        rank([wrong])


def test_importing_the_statistics_loads_no_pandas() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom annotation import agreement, bias, estimates, power, ranking, reliability, resolution\n"
        "found = {'pandas', 'scipy', 'evalica', 'django', 'torch'} & set(sys.modules)\nassert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
