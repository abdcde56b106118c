"""Dawid–Skene by hand and against planted raters; consistency with oneself on swapped repeats."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.estimates import Estimate, wilson
from annotation.reliability import Posterior, Repeat, Vote, dawid_skene, self_consistency, weights


def planted(accuracies: Sequence[float], items: int, each: int, seed: int = 0) -> tuple[list[Vote], dict[int, bool]]:
    rng = np.random.default_rng(seed)
    votes, truth = [], {}
    for item in range(items):
        truth[item] = bool(rng.random() < 0.5)
        for rater in rng.choice(len(accuracies), each, replace=False):
            right = rng.random() < accuracies[rater]
            votes.append(Vote(item, int(rater), "first" if right == truth[item] else "second"))
    return votes, truth


def test_one_step_by_hand() -> None:
    # Alice and Bob agree on item 1, Carol differs; Alice and Carol agree on item 2.
    votes = [Vote(1, "alice", "first"), Vote(1, "bob", "first"), Vote(1, "carol", "second")]
    votes += [Vote(2, "alice", "second"), Vote(2, "carol", "second")]
    found = dawid_skene(votes, floor=1)
    # Beginning at 0.8 (odds 4): item 1 is 4·4/4 = 4 to 1 for the first, P = 0.8; item 2 is 16 to 1 for the second, P = 1/17.
    one, two = 0.8, 1 / 17
    # M: (7 + expected right votes) / (8 + votes).
    alice, bob, carol = (7 + one + 1 - two) / 10, (7 + one) / 9, (7 + (1 - one) + 1 - two) / 10

    def log_posterior(accuracies: tuple[float, float, float]) -> float:
        a, b, c = accuracies
        likelihood = (a * b * (1 - c) + (1 - a) * (1 - b) * c) / 2 * ((1 - a) * (1 - c) + a * c) / 2
        return math.log(likelihood) + sum(7 * math.log(x) + math.log(1 - x) for x in accuracies)

    assert math.isclose(found.log_posterior[0], log_posterior((0.8, 0.8, 0.8)))
    assert math.isclose(found.log_posterior[1], log_posterior((alice, bob, carol)))
    assert found.converged


def test_it_ends_at_the_top_of_the_posterior() -> None:
    votes, _ = planted([0.9, 0.75, 0.6], 60, 2)
    found = dawid_skene(votes, floor=1)

    def log_posterior(accuracies: dict[object, float]) -> float:
        total = sum(7 * math.log(a) + math.log(1 - a) for a in accuracies.values())
        for item in {vote.item for vote in votes}:
            both = [1.0, 1.0]
            for vote in votes:
                if vote.item == item:
                    a = accuracies[vote.rater]
                    both = [both[0] * (a if vote.side == "first" else 1 - a), both[1] * (1 - a if vote.side == "first" else a)]
            total += math.log(sum(both) / 2)
        return total

    best = log_posterior(found.estimates)
    assert math.isclose(best, found.log_posterior[-1])
    for rater in found.estimates:
        for away in (-0.01, 0.01):
            assert log_posterior(found.estimates | {rater: found.estimates[rater] + away}) < best
    # The interval's width, from the curvature of that same function on the log-odds scale, by finite differences.
    names = list(found.estimates)
    middle = np.array([math.log(found.estimates[name] / (1 - found.estimates[name])) for name in names])

    def at(theta: np.ndarray) -> float:
        return log_posterior({name: 1 / (1 + math.exp(-t)) for name, t in zip(names, theta, strict=True)})

    h, steps = 1e-3, np.eye(3) * 1e-3
    curved = [
        [(at(middle + i + j) - at(middle + i - j) - at(middle - i + j) + at(middle - i - j)) / (4 * h * h) for j in steps] for i in steps
    ]
    spread = np.sqrt(np.diag(np.linalg.inv(-np.array(curved))))
    for name, theta, wide in zip(names, middle, spread, strict=True):
        assert math.isclose(found.accuracy[name].high or 0, 1 / (1 + math.exp(-(theta + 1.959964 * wide))), abs_tol=1e-4)


def test_it_tells_good_raters_from_coins() -> None:
    truth_of = [0.95, 0.85, 0.75, 0.5]
    votes, truth = planted(truth_of, 800, 3)
    found = dawid_skene(votes)
    for rater, accuracy in enumerate(truth_of):
        estimate = found.accuracy[rater]
        assert estimate.low is not None
        assert estimate.low < accuracy < estimate.high  # type: ignore[operator]
        assert estimate.high - estimate.low < 0.12  # type: ignore[operator]
    right = np.mean([(found.first[item] > 0.5) == truth[item] for item in truth])
    majority: dict[int, int] = {}
    for vote in votes:
        majority[vote.item] = majority.get(vote.item, 0) + (1 if vote.side == "first" else -1)  # type: ignore[call-overload, index]
    by_count = np.mean([(majority[item] > 0) == truth[item] for item in truth])
    assert right > by_count + 0.02
    # And it knows how sure it is: of items it calls 90 % or more, about as many are right as it says.
    sure = [item for item in truth if max(found.first[item], 1 - found.first[item]) > 0.9]
    said = np.mean([max(found.first[item], 1 - found.first[item]) for item in sure])
    assert abs(np.mean([(found.first[item] > 0.5) == truth[item] for item in sure]) - said) < 0.03


def test_ties_say_nothing_about_which_side_is_better() -> None:
    votes, _ = planted([0.9, 0.8, 0.7], 60, 2)
    ties = [Vote(item, "dan", "tie") for item in range(60)] + [Vote("only ties", 0, "tie")]
    with_ties, without = dawid_skene(votes + ties), dawid_skene(votes)
    assert with_ties.first == without.first | {"only ties": 0.5}
    assert with_ties.estimates == without.estimates
    assert with_ties.accuracy["dan"] == Estimate(None, None, None, 0, "n too small")
    assert dawid_skene([Vote(1, "alice", "tie")]) == Posterior(
        {1: 0.5}, {"alice": Estimate(None, None, None, 0, "n too small")}, {}, True, 0, []
    )


def test_alone_a_rater_stays_where_the_prior_puts_them_and_unshown() -> None:
    found = dawid_skene([Vote(item, "alice", "first") for item in range(100)])
    assert math.isclose(found.estimates["alice"], 7 / 8, abs_tol=1e-6)
    assert found.accuracy["alice"] == Estimate(None, None, None, 0, "n too small")
    shown = dawid_skene([Vote(item, "alice", "first") for item in range(100)] + [Vote(0, "bob", "first")], floor=1).accuracy["alice"]
    assert shown.high - shown.low > 0.3  # type: ignore[operator]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40))
def test_it_climbs_and_does_not_care_which_side_is_called_first(seed: int, raters: int, items: int) -> None:
    votes, _ = planted(np.linspace(0.55, 0.95, raters).tolist(), items, 2, seed)
    found = dawid_skene(votes)
    assert all(later >= earlier - 1e-9 for earlier, later in zip(found.log_posterior, found.log_posterior[1:], strict=False))
    assert found.converged
    turned = dawid_skene([vote._replace(side="second" if vote.side == "first" else "first") for vote in reversed(votes)])
    for item, first in found.first.items():
        assert math.isclose(first, 1 - turned.first[item], abs_tol=1e-5)


def test_a_repeat_is_not_a_second_witness() -> None:
    with pytest.raises(ValueError, match="twice"):
        dawid_skene([Vote(1, "alice", "first"), Vote(1, "alice", "first")])


def sure(accuracy: float, half: float) -> Estimate:
    return Estimate(accuracy, accuracy - half, accuracy + half, 100)


def test_a_vote_weighs_what_its_rater_is_worth() -> None:
    # Known for certain: edges 0.8, 0.4 and 0 over their mean, 0.4.
    certain = weights({"alice": sure(0.9, 0), "bob": sure(0.7, 0), "coin": sure(0.5, 0)})
    assert certain == pytest.approx({"alice": 2.0, "bob": 1.0, "coin": 0.0})
    # Not told apart: everybody weighs the same.
    assert weights({"alice": sure(0.85, 0.2), "bob": sure(0.75, 0.2)}) == {"alice": 1.0, "bob": 1.0}
    # In between: the edges' variance is 0.08, of which the squared standard error (0.2 / 1.96)² is chance.
    found = weights({"alice": sure(0.9, 0.1), "bob": sure(0.7, 0.1)})
    error = (0.2 / 1.959964) ** 2
    assert found["alice"] == pytest.approx((0.6 + 0.2 * (0.08 - error) / 0.08) / 0.6)
    assert found["alice"] + found["bob"] == pytest.approx(2)


def test_a_rater_nobody_knows_weighs_one() -> None:
    unknown = Estimate(None, None, None, 4, "n too small")
    assert weights({}) == {}
    assert weights({"alice": sure(0.9, 0), "new": unknown}) == {"alice": 1.0, "new": 1.0}
    assert weights({"alice": sure(0.9, 0), "bob": sure(0.7, 0), "new": unknown})["new"] == 1.0
    assert weights({"coin": sure(0.5, 0), "worse": sure(0.4, 0)}) == {"coin": 1.0, "worse": 1.0}


def test_swapped_repeats_separate_memory_of_content_from_habit_of_side() -> None:
    repeats = [
        *[Repeat("alice", "first_much", "first_much", True)] * 20,
        *[Repeat("alice", "first_much", "first_slightly", True)] * 5,  # the same side, not the same verdict
        *[Repeat("alice", "first_slightly", "second_slightly", True)] * 3,  # left, then left again
        *[Repeat("alice", "first_slightly", "second_slightly", False)] * 2,  # right, then right again
        *[Repeat("alice", "both_acceptable", "first_slightly", True)] * 10,
        *[Repeat("alice", "cannot_judge", "first_much", True)] * 9,  # no answer
    ]
    found = self_consistency(repeats)
    assert found.same == Estimate(0.5, *wilson(20, 40), 40)
    assert found.same_side == Estimate(25 / 30, *wilson(25, 30), 30)
    assert found.by_position == Estimate(5 / 30, *wilson(5, 30), 30)
    assert (found.left_both, found.right_both) == (3, 2)
    assert self_consistency(repeats[:20]).same.note == "n too small"
    assert self_consistency(repeats[:20], floor=10).same.value == 1.0
