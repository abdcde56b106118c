"""The study's verdict: honest under peeking at every judgement, decided in reasonable time, and nothing but the standard library."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from training.evidence import verdict
from training.evidence.verdict import BETTER, UNDECIDED, WORSE


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (7, 3), (60, 40), (10, 90)])
def test_e_is_the_mixture_likelihood_ratio(wins: int, losses: int) -> None:
    mixture, _ = quad(lambda p: p**wins * (1 - p) ** losses * 2 * beta.pdf(p, 10, 10), 0.5, 1, epsabs=0, epsrel=1e-10)
    assert math.exp(verdict.log_e(wins, losses)) == pytest.approx(mixture / 0.5 ** (wins + losses), rel=1e-7)


def test_e_is_fair_under_no_difference() -> None:
    """Its mean over all ways n fair coins can fall is 1, whatever n."""
    for n in (1, 5, 40):
        mean = math.fsum(math.comb(n, wins) * 0.5**n * math.exp(verdict.log_e(wins, n - wins)) for wins in range(n + 1))
        assert mean == pytest.approx(1, rel=1e-9)
        chances = [math.comb(n, wins) * 0.4**wins * 0.6 ** (n - wins) for wins in range(n + 1)]
        worse = math.fsum(chance * math.exp(verdict.log_e(wins, n - wins)) for wins, chance in enumerate(chances))
        assert worse < 1  # and a model that is worse has even less of it


def studies(rate: float, count: int, seed: int, ties: float = 0.2) -> list[verdict.Verdict]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        draw = rng.random(verdict.MOST)
        outcomes = np.where(draw < ties, 0, np.where(rng.random(verdict.MOST) < rate, 1, -1))
        found.append(verdict.follow(outcomes.tolist()))
    return found


def test_peeking_at_every_judgement_seldom_promotes_an_equal_model() -> None:
    """`benchmarks/promotion.py` runs a thousand; the bound here is 5 % of 200 and three standard errors."""
    found = studies(0.5, 200, seed=1)
    assert sum(one.verdict == BETTER for one in found) <= 19
    assert sum(one.verdict != UNDECIDED for one in found) <= 19


def test_a_better_and_a_worse_model_are_told_apart() -> None:
    better, worse = studies(0.65, 60, seed=2), studies(0.35, 60, seed=3)
    assert sum(one.verdict == BETTER for one in better) >= 50
    assert sum(one.verdict == WORSE for one in worse) >= 50
    assert not any(one.verdict == WORSE for one in better)


def test_nothing_is_decided_too_early_or_by_too_few() -> None:
    landslide = [1] * 200
    assert verdict.follow(landslide[:149]).verdict == UNDECIDED
    assert verdict.follow(landslide[:149]).more == 1
    assert verdict.follow(landslide).decided_at == 150
    assert verdict.follow(landslide, raters=2).verdict == UNDECIDED


def test_what_comes_after_the_decision_changes_nothing() -> None:
    found = verdict.follow([1] * 150 + [-1] * 150)
    assert (found.verdict, found.decided_at, found.wins, found.losses) == (BETTER, 150, 150, 150)
    assert max(found.e_better, found.e_worse) < 1


def test_the_forecast_is_about_right_at_the_pace_seen() -> None:
    more = verdict.more_needed(36, 24, 15)
    assert more is not None
    share = 60 / 75
    wins, losses = 36 + round(more * share * 0.575), 24 + round(more * share * 0.425)  # 0.575: 46 of 80, with the prior
    assert verdict.log_e(wins, losses) == pytest.approx(math.log(20), abs=0.3)
    assert verdict.more_needed(30, 30, 10) is None


def test_an_outcome_is_a_win_a_loss_or_a_tie() -> None:
    with pytest.raises(ValueError, match="judgement 2"):
        verdict.follow([1, 2])


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(verdict.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__", "math", "collections.abc", "dataclasses"}


def test_raw_votes_decide_no_earlier_than_the_third_rater_speaks() -> None:
    votes = [{"rater": "ab"[number % 2], "in_favour": "challenger"} for number in range(200)]
    assert verdict.follow_votes(votes).verdict == UNDECIDED
    late = [*votes[:180], {"rater": "c", "in_favour": "challenger"}, *votes[180:]]
    found = verdict.follow_votes(late)
    assert (found.verdict, found.decided_at, found.wins) == (BETTER, 181, 201)
    early = [{"rater": "c", "in_favour": "tie"}, *votes]
    assert (verdict.follow_votes(early).decided_at, verdict.follow_votes(early).ties) == (150, 1)
    lost = [vote | {"in_favour": "champion"} for vote in early]
    assert verdict.follow_votes(lost).verdict == WORSE
