"""What curves say in plain words. No database."""

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
    ],
)
def test_it_names_the_most_worrying_thing(curves: dict[str, Curve], level: str, words: str) -> None:
    said = verdict(curves, beta=0.1)
    assert said.level == level
    assert words in said.text
