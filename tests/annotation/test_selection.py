"""How pairs are chosen: determinism, probabilities that sum right, and information that beats chance."""

import random
import re
from collections import Counter
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import selection

WORDS = re.findall(
    r"\w+", "chest pain troponin normal aspirin dose mg daily no infarction ruled out fever cough sepsis lactate culture discharge home"
)


def texts(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=40)) for _ in range(count)]


def differences(count: int, seed: int = 1) -> selection.Features:
    rows = selection.embed(texts(2 * count, seed))
    return rows[:count] - rows[count:]


def test_a_random_draw_gives_everything_the_same_chance() -> None:
    drawn = selection.at_random(strata=["a"] * 30 + ["b"] * 10, limit=10, draw=random.Random(1))
    assert len({one.place for one in drawn}) == 10
    assert {one.probability for one in drawn} == {0.25}
    assert {one.selected_by for one in drawn} == {"random"}
    assert all(one.stratum == ("a" if one.place < 30 else "b") for one in drawn)
    # Drawn a thousand times, each of forty comes about a quarter of the time.
    seen = Counter(one.place for seed in range(1000) for one in selection.at_random(strata=["a"] * 40, limit=10, draw=random.Random(seed)))
    assert min(seen.values()) > 190
    assert max(seen.values()) < 310


def test_without_a_limit_everything_is_taken_in_random_order() -> None:
    drawn = selection.at_random(strata=[""] * 50, limit=None, draw=random.Random(1))
    assert sorted(one.place for one in drawn) == list(range(50))
    assert [one.place for one in drawn] != list(range(50))
    assert {one.probability for one in drawn} == {1.0}


def test_a_stratified_draw_takes_each_by_its_share() -> None:
    strata = ["summary"] * 70 + ["triage"] * 29 + ["coding"]
    drawn = selection.stratified(strata=strata, limit=10, draw=random.Random(3))
    assert Counter(one.stratum for one in drawn) == {"summary": 6, "triage": 3, "coding": 1}
    assert {one.stratum: one.probability for one in drawn} == {"summary": 6 / 70, "triage": 3 / 29, "coding": 1.0}


def test_a_stratified_draw_that_cannot_cover_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="2 pairs cannot cover 3 combinations"):
        selection.stratified(strata=["a", "b", "c"], limit=2, draw=random.Random(1))


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), data=st.data())
def test_a_stratified_draw_keeps_its_books(sizes: list[int], data: st.DataObject) -> None:
    strata = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    limit = data.draw(st.integers(len(sizes), len(strata)))
    drawn = selection.stratified(strata=strata, limit=limit, draw=random.Random(0))
    taken = Counter(one.stratum for one in drawn)
    assert len({one.place for one in drawn}) == len(drawn) == limit
    assert set(taken) == set(strata)
    # Over all candidates the probabilities sum to what was taken.
    chance = {one.stratum: one.probability for one in drawn}
    assert sum(chance[stratum] for stratum in strata) == pytest.approx(limit)
    for stratum, size in Counter(strata).items():
        assert taken[stratum] <= size
        assert taken[stratum] == 1 or taken[stratum] < limit * size / len(strata) + 1


def test_the_same_seed_draws_the_same() -> None:
    rows, strata = differences(60), ["a", "b"] * 30

    def draws(seed: int) -> list[list[selection.Draw]]:
        return [
            selection.at_random(strata=strata, limit=20, draw=random.Random(seed)),
            selection.stratified(strata=strata, limit=20, draw=random.Random(seed)),
            selection.informative(differences=rows, strata=strata, limit=20, draw=random.Random(seed)),
        ]

    assert draws(5) == draws(5)
    assert all(one != other for one, other in zip(draws(5), draws(6), strict=True))


def test_a_fifth_of_an_informative_draw_is_random_and_knows_its_chance() -> None:
    drawn = selection.informative(differences=differences(200), strata=["s"] * 200, limit=50, draw=random.Random(2))
    by_rule = {rule: [one for one in drawn if one.selected_by == rule] for rule in ("random", "informative")}
    assert [len(by_rule["random"]), len(by_rule["informative"])] == [10, 40]
    assert {one.probability for one in by_rule["random"]} == {10 / 200}
    assert {one.probability for one in by_rule["informative"]} == {1.0}
    assert len({one.place for one in drawn}) == 50
    # Mixed: who stops halfway has judged both.
    assert {one.selected_by for one in drawn[:15]} == {"random", "informative"}


def test_the_greedy_choice_takes_the_row_that_raises_the_determinant_most() -> None:
    """Every step against the definition, by brute force."""
    rows = differences(25)
    chosen: list[int] = [3]
    for picked in selection.d_optimal(rows, 8, given=[3]):
        best = max(set(range(25)) - set(chosen), key=lambda row: selection.log_determinant(rows, [*chosen, row]))
        assert picked == best
        chosen.append(picked)


def test_an_informative_draw_learns_more_than_a_random_one() -> None:
    rows = differences(500)
    informed = selection.log_determinant(rows, selection.d_optimal(rows, 60))
    chances = [selection.log_determinant(rows, random.Random(seed).sample(range(500), 60)) for seed in range(50)]
    assert informed > max(chances)


def test_near_duplicates_are_not_chosen_again_and_again() -> None:
    """One direction, seen a hundred times, is worth less than the others once."""
    rows = np.zeros((103, 4), dtype=np.float32)
    rows[:100, 0] = 1.0
    rows[100, 1], rows[101, 2], rows[102, 3] = 0.6, 0.6, 0.6
    assert {100, 101, 102} <= set(selection.d_optimal(rows, 4))


def test_a_text_is_a_direction_whatever_its_length() -> None:
    rows = selection.embed(["Aspirin 100 mg daily.", "Aspirin 100 mg daily. " * 20, "", "Keine Auffälligkeiten 🙂"])
    assert rows.shape == (4, 256)
    assert rows.dtype == np.float32
    assert (rows[0] @ rows[1]) / 2 > 0.8  # two parts of length 1
    assert not rows[2].any()
    assert np.linalg.norm(rows[3]) == pytest.approx(2**0.5, rel=1e-5)
    assert (rows[0] == selection.embed(["Aspirin 100 mg daily."])[0]).all()


def test_five_thousand_candidates_take_seconds() -> None:
    rows = differences(5000)
    started = perf_counter()
    drawn = selection.informative(differences=rows, strata=[""] * 5000, limit=1000, draw=random.Random(1))
    assert len(drawn) == 1000
    assert perf_counter() - started < 5
