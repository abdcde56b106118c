"""What curves say in plain words. No database."""

import math

import pytest

from training.health import Curve, verdict


def curve(*values: float) -> Curve:
    return [(step, value) for step, value in enumerate(values, start=1)]


LEVEL_LOSS = curve(*[0.69] * 20)


@pytest.mark.parametrize(
    ("curves", "level", "words"),
    [
        ({}, "quiet", "No measurements yet"),
        ({"loss": curve(0.69, 0.68)}, "quiet", "too early"),
        ({"loss": LEVEL_LOSS, "rewards/accuracies": curve(*[0.75] * 20)}, "good", "75%"),
        ({"loss": LEVEL_LOSS, "rewards/accuracies": curve(*[0.5] * 20)}, "warning", "does not tell the sides apart"),
        ({"loss": LEVEL_LOSS, "rewards/margins": curve(*[0.1] * 10, *[25.0] * 10)}, "danger", "exploded"),
        ({"loss": curve(*[0.69] * 10, *[1.4] * 10)}, "danger", "The loss rises"),
        ({"loss": curve(*[6.0 - step / 5 for step in range(20)])}, "good", "falls steadily"),
        ({"loss": LEVEL_LOSS, "logps/chosen": curve(*[-20.0] * 20), "rewards/chosen": curve(*[-0.3] * 20)}, "warning", "less likely"),
        ({"loss": LEVEL_LOSS, "logps/chosen": curve(*[-20.0] * 20), "rewards/chosen": curve(*[-0.1] * 20)}, "warning", "does not fall"),
        ({"loss": LEVEL_LOSS, "grad_norm": curve(*[1.0] * 19, math.nan)}, "danger", "no number"),
        ({"loss": curve(*[0.001] * 20), "rewards/accuracies": curve(*[1.0] * 20)}, "warning", "pairs occur twice"),
        ({"loss": LEVEL_LOSS, "eval_loss": [(5, 0.69), (10, 0.60), (15, 0.64), (20, 0.68)]}, "warning", "lowest at step 10"),
        ({"loss": LEVEL_LOSS, "eval_loss": [(5, 0.69), (10, 0.60), (15, 0.59), (20, 0.62)]}, "warning", "does not fall"),
        ({"loss": LEVEL_LOSS, "rewards/accuracies": curve(*[0.7] * 20), "eval_loss": [(5, 0.6), (10, 0.61)]}, "good", "70%"),
        ({"loss": LEVEL_LOSS, "kl": [(0, 0.0), (10, 1.7)]}, "warning", "1.7 nats a token"),
        ({"loss": LEVEL_LOSS, "sample_tokens": [(0, 40.0), (10, 80.0)]}, "warning", "2.0 times as long"),
        ({"loss": LEVEL_LOSS, "sample_tokens": [(0, 40.0), (10, 10.0)]}, "warning", "only 25% as long"),
        (
            {"loss": LEVEL_LOSS, "rewards/accuracies": curve(*[0.7] * 20), "eval_rewards/accuracies": [(20, 0.62)]}, "good",
            "70% of the latest training pairs, and 62% of held-out ones",
        ),
    ],
)  # fmt: skip
def test_it_names_the_most_worrying_thing(curves: dict[str, Curve], level: str, words: str) -> None:
    said = verdict(curves, beta=0.1, held_out=100)
    assert said.level == level
    assert words in said.text


def test_a_share_of_few_held_out_pairs_is_not_told() -> None:
    curves = {"loss": LEVEL_LOSS, "rewards/accuracies": curve(*[0.7] * 20), "eval_rewards/accuracies": [(20, 0.8)]}
    assert "held-out" not in verdict(curves, held_out=5).text
