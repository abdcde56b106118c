"""What a run's curves say, in plain words. Pure; imports nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

Curve = Sequence[tuple[int, float]]

# A fall of the chosen answers' log-probability by more than this share is the first sign of likelihood displacement.
CHOSEN_FALL = 0.10
MARGIN_TOO_LARGE = 20.0
ENOUGH = 10

EXPLODED = (
    "The margin has exploded: the model leaves its reference far behind. Stop, and start again with a lower learning rate or a higher beta."
)
DISPLACED = (
    "The chosen answers are becoming less likely by more than a tenth. "
    "The model learns what to avoid, not what to say: compare the texts before trusting the accuracy."
)


@dataclass(frozen=True)
class Verdict:
    """`level` is good, warning, danger or quiet (too early to say)."""

    level: str
    text: str


def verdict(curves: Mapping[str, Curve], *, beta: float = 0.1) -> Verdict:
    """The most worrying thing the curves show, else how it goes. Curves are (step, value), by TRL's metric names;
    `beta` is DPO's."""
    loss = _values(curves, "loss")
    if not loss:
        return Verdict("quiet", "No measurements yet. The first comes with the first step.")
    if len(loss) < ENOUGH:
        return Verdict("quiet", f"{len(loss)} steps so far: too early to say.")
    margins, accuracies = _values(curves, "rewards/margins"), _values(curves, "rewards/accuracies")
    if margins and abs(_tail(margins)) > MARGIN_TOO_LARGE:
        return Verdict("danger", EXPLODED)
    # The reward is beta times what the log-probability gained on the reference: free of which pairs a batch happened to hold.
    rewards, chosen = _values(curves, "rewards/chosen"), _values(curves, "logps/chosen")
    if rewards and chosen and _tail(rewards) / beta < -CHOSEN_FALL * abs(fmean(chosen)):
        return Verdict("warning", DISPLACED)
    if _tail(loss) > 1.5 * _head(loss):
        return Verdict("danger", "The loss rises: training has become unstable. Stop, and lower the learning rate.")
    if accuracies:
        share = _tail(accuracies)
        if share >= 0.6:
            return Verdict(
                "good", f"It learns to tell the sides apart: it orders {share:.0%} of the latest training pairs as the raters did."
            )
        return Verdict(
            "warning",
            f"It does not tell the sides apart yet: it orders {share:.0%} of the latest training pairs as the raters did; a coin 50%.",
        )
    if _tail(loss) < _head(loss):
        return Verdict("good", "The loss falls steadily.")
    return Verdict("warning", "The loss does not fall.")


def _values(curves: Mapping[str, Curve], name: str) -> list[float]:
    return [value for _, value in curves.get(name, ())]


def _head(values: Sequence[float]) -> float:
    return fmean(values[: max(1, len(values) // 10)])


def _tail(values: Sequence[float]) -> float:
    """The mean of the last fifth: single steps of a small batch jump about."""
    return fmean(values[-max(1, len(values) // 5) :])
