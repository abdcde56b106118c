"""How large an increase of harm the flags of a study still allow, against closed forms, the test it inverts, and a planted truth."""

import math
import random

import pytest

from training.evidence import harm


def votes(both: int, ours: int, theirs: int, neither: int) -> list[dict[str, object]]:
    kinds = [(True, True)] * both + [(True, False)] * ours + [(False, True)] * theirs + [(False, False)] * neither
    return [{"major_challenger": one, "major_champion": other} for one, other in kinds]


@pytest.mark.parametrize("n", [50, 100, 150, 400])
def test_without_a_disagreement_the_bound_is_z2_over_n_plus_z2(n: int) -> None:
    z2 = 1.6448536269514722**2
    assert harm.upper_bound(0, 0, n) == pytest.approx(z2 / (n + z2), abs=1e-9)


def test_at_the_bound_the_score_is_minus_z() -> None:
    # b = 12, c = 5 of 200. Written out: the restricted maximum q of the second kind's share solves 2n q² + B q + C = 0.
    b, c, n = 12, 5, 200
    delta = harm.upper_bound(b, c, n)
    linear, constant = -b - c + (2 * n - b + c) * delta, -c * delta * (1 - delta)
    q = (-linear + math.sqrt(linear**2 - 8 * n * constant)) / (4 * n)
    assert 2 * n * q**2 + linear * q + constant == pytest.approx(0, abs=1e-9)
    assert (b - c - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta))) == pytest.approx(-1.6448536, abs=1e-6)
    assert (12 - 5) / 200 < delta < 0.08


def test_many_events_agree_with_the_plain_interval() -> None:
    # Agresti's approval ratings, 150 and 86 of 1600 changed their minds: 64/1600 + 1.96 · √(236 − 64²/1600)/1600 = 0.0587.
    assert harm.upper_bound(150, 86, 1600, z=1.959964) == pytest.approx(0.0587, abs=5e-4)


def test_it_is_wrong_one_time_in_twenty_on_a_planted_increase() -> None:
    # 4 % against 1 %, apart from one another: the true increase of 3 points is excluded wrongly in about 5 % of studies.
    draw, wrong, studies, n = random.Random(5), 0, 1500, 300
    for _ in range(studies):
        ours = [draw.random() < 0.04 for _ in range(n)]
        theirs = [draw.random() < 0.01 for _ in range(n)]
        only_ours = sum(one and not other for one, other in zip(ours, theirs, strict=True))
        only_theirs = sum(other and not one for one, other in zip(ours, theirs, strict=True))
        wrong += harm.upper_bound(only_ours, only_theirs, n) < 0.03
    assert 0.03 < wrong / studies < 0.07


def test_no_event_in_n_only_says_below_three_in_n() -> None:
    hundred, more = harm.of_votes(votes(0, 0, 0, 100)), harm.of_votes(votes(0, 0, 0, 101))
    assert (hundred.upper, hundred.excluded) == (0.03, False)
    assert more.upper == pytest.approx(3 / 101)
    assert more.excluded


def test_what_both_have_says_nothing_of_the_difference() -> None:
    told = harm.of_votes(votes(20, 0, 0, 380))
    assert (told.n, told.challenger, told.champion, told.value) == (400, 20, 20, 0.0)
    assert told.upper == pytest.approx(harm.upper_bound(0, 0, 400))


def test_four_hundred_at_three_percent_each_are_enough_and_one_hundred_are_not() -> None:
    assert harm.of_votes(votes(0, 12, 12, 376)).excluded
    assert not harm.of_votes(votes(0, 3, 3, 94)).excluded


def test_nothing_seen_excludes_nothing() -> None:
    assert (harm.of_votes([]).upper, harm.of_votes([]).excluded) == (1.0, False)
    with pytest.raises(ValueError):
        harm.upper_bound(3, 3, 5)
