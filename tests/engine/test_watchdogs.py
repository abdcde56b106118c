"""Runs that can no longer become good are stopped, and the message says what to change."""

import math

import pytest

from training.engine.watchdogs import Stopped, Watchdog


def dog() -> Watchdog:
    return Watchdog(beta=0.1, collapse_steps=3, margin_limit=50.0, falling_limit=0.5)


@pytest.mark.parametrize(("name", "value"), [("loss", math.nan), ("grad_norm", math.inf)])
def test_a_figure_that_is_no_number_stops_at_once(name: str, value: float) -> None:
    with pytest.raises(Stopped, match=rf"step 7: {name} is (nan|inf), .*lower the learning rate") as stopped:
        dog().see(7, {name: value})
    assert (stopped.value.code, stopped.value.retryable) == ("not_finite", False)


def test_every_pair_right_and_no_loss_for_long_is_a_collapse() -> None:
    watch, quiet = dog(), {"rewards/accuracies": 1.0, "loss": 0.001}
    watch.see(1, quiet)
    watch.see(2, quiet)
    watch.see(3, quiet | {"rewards/accuracies": 0.875})  # begins anew
    watch.see(4, quiet)
    watch.see(5, quiet)
    with pytest.raises(Stopped, match="step 6: 3 steps in a row with every pair right"):
        watch.see(6, quiet)


def test_an_exploding_margin_is_one_too() -> None:
    dog().see(1, {"rewards/margins": 50.0})
    with pytest.raises(Stopped, match=r"step 2: the mean margin is 50\.1, the limit is 50\.0") as stopped:
        dog().see(2, {"rewards/margins": 50.1})
    assert stopped.value.code == "collapsed"


def test_a_chosen_answer_that_becomes_unlikely_stops_the_run() -> None:
    watch = dog()
    for step in range(1, 10):
        watch.see(step, {"logps/chosen": -70.0, "rewards/chosen": -3.0})  # from −40 to −70, but for nine steps only
    with pytest.raises(
        Stopped, match="step 10: the chosen answers' log-probability fell by 75% of the reference's, the limit is 50%"
    ) as it:
        watch.see(10, {"logps/chosen": -70.0, "rewards/chosen": -3.0})
    assert it.value.code == "chosen_falling"


def test_a_good_run_and_one_without_limits_are_left_alone() -> None:
    watch, bold = dog(), Watchdog(beta=0.1)
    for step in range(100):
        watch.see(step, {"loss": 0.4, "rewards/accuracies": 0.9, "rewards/margins": 2.0, "logps/chosen": -45.0, "rewards/chosen": -0.5})
        bold.see(step, {"loss": 0.0, "rewards/accuracies": 1.0, "rewards/margins": 900.0, "logps/chosen": -900.0, "rewards/chosen": -80.0})
