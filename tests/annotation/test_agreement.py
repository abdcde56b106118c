"""Agreement against published values, evalica's alpha on random data, and what an interval must do."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreement import (
    GRADED,
    VERDICTS,
    Level,
    Rating,
    Table,
    Weights,
    after_majority_of_three,
    by_group,
    ceiling,
    decisive,
    flip_rate,
    flip_rate_by,
    gwet_ac1,
    gwet_ac2,
    krippendorff_alpha,
    margins,
    raw_agreement,
    tabulate,
)
from annotation.estimates import Estimate, bootstrap, clustered_share, share, student95, wilson
from annotation.models import Verdict

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C, and Gwet (2014) p. 120: four observers, twelve units.
FOUR = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
# Gwet (2014) p. 125, as in irrCAC's cac.raw5obser: five observers, fifteen units.
FIVE = ["112.001122.0131", "1130000.2110231", "203000222100221", ".13....0.10022.", "2..0001.2....31"]
# Gwet's cac.ben.gerry: two raters, twelve units.
TWO = ["aabbdcccedda", "babbbccce.dd"]


def table_of(observers: Sequence[str], categories: str) -> Table:
    rows = [Rating(unit, who, said) for who, line in enumerate(observers) for unit, said in enumerate(line) if said != "."]
    return tabulate(rows, tuple(categories))


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_krippendorffs(level: Level, published: float) -> None:
    found = krippendorff_alpha(table_of(FOUR, "12345"), level, floor=1)
    assert found.value is not None
    assert round(found.value, 3) == published
    assert found.n == 11  # the unit only one observer saw says nothing of agreement


@pytest.mark.parametrize(
    ("observers", "categories", "raw", "ac1", "alpha"),
    [(FOUR, "12345", 0.818, 0.775, 0.743), (FIVE, "0123", 0.616, 0.497, 0.481), (TWO, "abcde", 0.727, 0.661, 0.665)],
)
def test_ac1_is_gwets(observers: list[str], categories: str, raw: float, ac1: float, alpha: float) -> None:
    table = table_of(observers, categories)
    found = [raw_agreement(table, floor=1), gwet_ac1(table, floor=1), krippendorff_alpha(table, floor=1)]
    assert [round(estimate.value or 0, 3) for estimate in found] == [raw, ac1, alpha]


@pytest.mark.parametrize(("weights", "published"), [("identity", 0.775), ("linear", 0.859), ("quadratic", 0.914)])
def test_ac2_is_gwets(weights: Weights, published: float) -> None:
    assert round(gwet_ac2(table_of(FOUR, "12345"), weights, floor=1).value or 0, 3) == published


ratings = st.integers(2, 5).flatmap(
    lambda raters: st.lists(st.lists(st.integers(-1, 3), min_size=raters, max_size=raters), min_size=4, max_size=20)
)


@settings(max_examples=60, deadline=None)
@given(ratings, st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_equals_evalicas_on_any_data(units: list[list[int]], level: Level) -> None:
    import evalica

    units = units * 5  # so that redrawn samples seldom hold one category only
    rows = [Rating(unit, who, said) for unit, line in enumerate(units) for who, said in enumerate(line) if said >= 0]
    found = krippendorff_alpha(tabulate(rows, range(4)), level, floor=1, draws=20)
    table = tabulate(rows, range(4))
    if not table.overlapping or np.count_nonzero(table.counts[table.counts.sum(axis=1) >= 2].sum(axis=0)) < 2:
        assert found == Estimate(None, None, None, table.overlapping, "undefined")
        return
    frame = pd.DataFrame(np.array(units, dtype=float).T).replace(-1, np.nan)
    theirs = evalica.alpha(frame, distance=level).alpha
    if found.value is None:  # too many redrawn samples had one category only
        assert found.note == "undefined"
    else:
        assert math.isclose(found.value, theirs, abs_tol=1e-9)


def test_it_compares_content_and_leaves_other_answers_out() -> None:
    rows = [Rating(1, "alice", "first_much"), Rating(1, "bob", "first_slightly"), Rating(1, "carol", "cannot_judge")]
    assert tabulate(rows, VERDICTS).counts.tolist() == [[1, 1, 0, 0, 0, 0]]
    assert [rating.category for rating in decisive(rows)] == ["first", "first"]
    assert set(VERDICTS) == set(Verdict.values) - {"cannot_judge"}


def test_a_repeat_is_not_a_second_rater() -> None:
    with pytest.raises(ValueError, match="twice"):
        tabulate([Rating(1, "alice", "a"), Rating(1, "alice", "b")], "ab")


def votes(pairs: Sequence[tuple[str, str]], *, cluster: int = 1) -> Table:
    rows = [Rating(i, who, said, i // cluster) for i, pair in enumerate(pairs) for who, said in zip(("alice", "bob"), pair, strict=True)]
    return tabulate(rows, "ab")


@pytest.mark.parametrize("measure", [raw_agreement, krippendorff_alpha, gwet_ac1, gwet_ac2])
def test_under_thirty_overlapping_items_there_is_no_number(measure) -> None:  # type: ignore[no-untyped-def]
    assert measure(votes([("a", "a"), ("b", "a")] * 14)) == Estimate(None, None, None, 28, "n too small")
    assert measure(votes([("a", "a"), ("b", "a"), ("b", "b")] * 10)).value is not None


@pytest.mark.parametrize("measure", [raw_agreement, krippendorff_alpha, gwet_ac1, gwet_ac2])
def test_undefined_says_undefined(measure) -> None:  # type: ignore[no-untyped-def]
    alone = tabulate([Rating(i, "alice", "a") for i in range(50)], "ab")
    assert measure(alone) == Estimate(None, None, None, 0, "undefined")
    assert measure(tabulate([], "ab")).note == "undefined"
    unanimous = measure(votes([("a", "a")] * 50))
    if measure is raw_agreement:  # everybody did agree: that is a fact, and an interval says how surely
        assert unanimous.value == 1.0
        assert 0.90 < unanimous.low < 0.95
    else:
        assert unanimous == Estimate(None, None, None, 50, "undefined")


def test_one_dissent_among_many_leaves_alpha_undefined_and_ac1_high() -> None:
    table = votes([("a", "a")] * 99 + [("a", "b")])
    assert krippendorff_alpha(table).note == "undefined"
    found = gwet_ac1(table)
    assert found.note == "undefined"  # a third of the redrawn samples hold one category only
    table = votes([("a", "a")] * 95 + [("a", "b")] * 5)
    alpha, ac1 = krippendorff_alpha(table), gwet_ac1(table)
    assert alpha.value is not None
    assert ac1.value is not None
    assert alpha.value < 0 < 0.9 < ac1.value


def test_full_agreement_on_two_categories_is_not_certainty() -> None:
    found = krippendorff_alpha(votes([("a", "a"), ("b", "b")] * 20))
    assert found.value == 1.0
    assert found.low is not None
    assert 0.7 < found.low < 0.9


def test_dependent_items_widen_the_interval() -> None:
    pairs = ([("a", "a")] * 5 + [("a", "b")] * 5 + [("b", "b")] * 5) * 8
    alone, together = votes(pairs), votes(pairs, cluster=5)
    for measure in (raw_agreement, krippendorff_alpha, gwet_ac1):
        narrow, wide = measure(alone), measure(together)
        assert narrow.value == wide.value
        assert (wide.high or 0) - (wide.low or 0) > 1.7 * ((narrow.high or 0) - (narrow.low or 0))  # √5 in theory


def test_the_same_seed_gives_the_same_interval() -> None:
    table = votes([("a", "a"), ("b", "a"), ("b", "b")] * 20)
    assert krippendorff_alpha(table, seed=3) == krippendorff_alpha(table, seed=3)
    assert krippendorff_alpha(table, seed=3) != krippendorff_alpha(table, seed=4)


@pytest.mark.parametrize(
    ("agreement", "flips", "majority", "best"),
    [
        (0.60, 0.28, 0.19, 0.72),
        (0.65, 0.23, 0.13, 0.77),
        (0.70, 0.18, 0.09, 0.82),
        (0.75, 0.15, 0.06, 0.85),
        (0.80, 0.11, 0.04, 0.89),
        (0.85, 0.08, 0.02, 0.92),
    ],
)
def test_the_flip_rate_follows_from_agreement(agreement: float, flips: float, majority: float, best: float) -> None:
    found = flip_rate(Estimate(agreement, agreement - 0.05, agreement + 0.05, 200))
    assert found.value is not None
    assert round(found.value, 2) == flips
    assert round(after_majority_of_three(found.value), 2) == majority
    assert round(ceiling(found).value or 0, 2) == best
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert ceiling(found).low == 1 - found.high  # type: ignore[operator]


def test_there_is_no_flip_rate_below_one_half() -> None:
    assert flip_rate(Estimate(0.48, 0.4, 0.56, 100)) == Estimate(None, None, None, 100, "undefined")
    assert flip_rate(Estimate(None, None, None, 3, "n too small")).note == "n too small"
    assert flip_rate(Estimate(0.52, 0.45, 0.6, 100)).high == 0.5


def test_each_task_has_its_own_flip_rate() -> None:
    rng = np.random.default_rng(5)
    rows, task = [], {}
    for item in range(600):
        task[item] = "summary" if item % 2 else "triage"
        truth = bool(rng.random() < 0.5)
        for who in ("alice", "bob"):
            right = rng.random() > (0.2 if item % 2 else 0.08)
            rows.append(Rating(item, who, GRADED[0] if right == truth else GRADED[3], item))
    found = flip_rate_by(rows, task)
    assert list(found) == ["summary", "triage"]
    assert found["summary"].low < 0.2 < found["summary"].high  # type: ignore[operator]
    assert found["triage"].low < 0.08 < found["triage"].high  # type: ignore[operator]
    assert found["triage"].n == 300


def test_agreement_by_margin() -> None:
    rows = []
    for item in range(40):
        rows += [Rating(("clear", item), "alice", "first_much"), Rating(("clear", item), "bob", "first_slightly")]
        said = "first_slightly" if item % 2 else "second_slightly"
        rows += [Rating(("close", item), "alice", "first_slightly"), Rating(("close", item), "bob", said)]
    rows.append(Rating("tied", "alice", "both_acceptable"))
    found = by_group(decisive(rows), margins(rows), ("first", "second"), raw_agreement)
    assert {name: (estimate.value, estimate.n) for name, estimate in found.items()} == {"much": (1.0, 40), "slightly": (0.5, 40)}


# Wilson's interval: product.md 2.1 (60 % of 100, 200, 400), and values of Newcombe, Stat. Med. 17 (1998), table I.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high", "digits"),
    [
        (60, 100, 0.50, 0.69, 2),
        (120, 200, 0.53, 0.67, 2),
        (240, 400, 0.55, 0.65, 2),
        (81, 263, 0.2553, 0.3662, 4),
        (15, 148, 0.0624, 0.1605, 4),
        (0, 20, 0.0, 0.1611, 4),
        (1, 29, 0.0061, 0.1718, 4),
    ],
)
def test_wilsons_interval(hits: int, n: int, low: float, high: float, digits: int) -> None:
    assert tuple(round(end, digits) for end in wilson(hits, n)) == (low, high)


def test_students_t_is_the_tables() -> None:
    table = {4: 2.7764, 6: 2.4469, 9: 2.2622, 29: 2.0452, 99: 1.9842}
    assert all(abs(student95(freedom) - t) < 0.001 for freedom, t in table.items())


def test_independent_things_get_wilsons_interval_in_clusters_of_one() -> None:
    hits = np.array([1.0] * 120 + [0.0] * 80)
    clustered, plain = clustered_share(hits, np.ones(200)), share(120, 200)
    assert clustered.value == plain.value
    assert math.isclose(clustered.low or 0, plain.low or 0, abs_tol=0.001)
    # Every vote told twice is one vote: the interval of half as many.
    doubled = clustered_share(2 * hits, 2 * np.ones(200))
    assert math.isclose(doubled.low or 0, plain.low or 0, abs_tol=0.001)


def test_the_bootstrap_finds_the_textbooks_interval_of_a_mean() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(10, 2, 400)
    found = bootstrap(np.stack([values, np.ones(400)], axis=1), lambda totals: totals[:, 0] / totals[:, 1], draws=4000)
    assert found is not None
    half = 1.96 * values.std(ddof=1) / 20
    assert np.allclose(found, [values.mean() - half, values.mean() + half], atol=0.02)


def test_the_bootstrap_is_scipys_bca_on_skewed_data() -> None:
    from scipy.stats import bootstrap as theirs

    values = np.random.default_rng(3).exponential(1.0, 40) ** 2
    found = bootstrap(np.stack([values, np.ones(40)], axis=1), lambda totals: totals[:, 0] / totals[:, 1], draws=40_000)
    expected = theirs((values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1)).confidence_interval
    percentile = theirs((values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert found == pytest.approx(tuple(expected), rel=0.03)
    assert abs(percentile.high - expected.high) > 0.06 * expected.high  # the correction is no trifle here


def test_a_bootstrap_of_mostly_undefined_draws_has_no_interval() -> None:
    assert bootstrap(np.eye(3), lambda totals: np.where(totals[:, 0] > 0, 1.0, np.nan), draws=200) is None
