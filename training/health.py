"""What a run's curves say, in plain words. Pure; imports nobody."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

Curve = Sequence[tuple[int, float]]

# A fall of the chosen answers' log-probability by more than this share is the first sign of likelihood displacement.
CHOSEN_FALL = 0.10
MARGIN_TOO_LARGE = 20.0
ENOUGH = 10
# Held-out pairs below this give no share that could be read.
FEW = 30
# Nats a token on the fixed prompts: beyond this hardly anything of the start model's way of writing is left.
FAR = 1.0
# Answers to the fixed prompts so many times longer or shorter than at the start.
DRIFT = 1.5
# Held-out loss above its lowest by this share of it: the pairs are being learnt by heart.
BY_HEART = 0.05

EXPLODED = (
    "The margin has exploded: the model leaves its reference far behind. Stop, and start again with a lower learning rate or a higher beta."
)
DISPLACED = (
    "The chosen answers are becoming less likely by more than a tenth. "
    "The model learns what to avoid, not what to say: compare the texts before trusting the accuracy."
)
NO_NUMBER = "A figure is no number any more (NaN). What is trained from here is worthless: stop, and lower the learning rate."
CERTAIN = (
    "Every training pair is ordered right and the loss is almost nothing. Either the learning rate is too high, or pairs occur twice: "
    "look at the held-out figures before you trust it."
)


@dataclass(frozen=True)
class Verdict:
    """`level` is good, warning, danger or quiet (too early to say)."""

    level: str
    text: str


def verdict(curves: Mapping[str, Curve], *, beta: float = 0.1, held_out: int = 0) -> Verdict:
    """The most worrying thing the curves show, else how it goes. Curves are (step, value), by TRL's metric names;
    `beta` is DPO's; `held_out` how many pairs the held-out figures are on, of which few say nothing."""
    loss = _values(curves, "loss")
    if not loss:
        return Verdict("quiet", "No measurements yet. The first comes with the first step.")
    if any(not math.isfinite(value) for name in ("loss", "grad_norm", "eval_loss") for value in _values(curves, name)):
        return Verdict("danger", NO_NUMBER)
    if len(loss) < ENOUGH:
        return Verdict("quiet", f"{len(loss)} steps so far: too early to say.")
    return _danger(curves, loss) or _warning(curves, loss, beta) or _course(curves, loss, held_out)


def _danger(curves: Mapping[str, Curve], loss: Sequence[float]) -> Verdict | None:
    margins = _values(curves, "rewards/margins")
    if margins and abs(_tail(margins)) > MARGIN_TOO_LARGE:
        return Verdict("danger", EXPLODED)
    if _tail(loss) > 1.5 * _head(loss):
        return Verdict("danger", "The loss rises: training has become unstable. Stop, and lower the learning rate.")
    return None


def _warning(curves: Mapping[str, Curve], loss: Sequence[float], beta: float) -> Verdict | None:
    # The reward is beta times what the log-probability gained on the reference: free of which pairs a batch happened to hold.
    rewards, chosen = _values(curves, "rewards/chosen"), _values(curves, "logps/chosen")
    if rewards and chosen and _tail(rewards) / beta < -CHOSEN_FALL * abs(fmean(chosen)):
        return Verdict("warning", DISPLACED)
    accuracies = _values(curves, "rewards/accuracies")
    if accuracies and _tail(accuracies) == 1 and _tail(loss) < 0.01:
        return Verdict("warning", CERTAIN)
    return _by_heart(curves.get("eval_loss", ())) or _far(curves) or _length(_values(curves, "sample_tokens"))


def _by_heart(held_out: Curve) -> Verdict | None:
    if len(held_out) < 3:
        return None
    step, lowest = min(held_out, key=lambda point: point[1])
    if held_out[-1][1] <= lowest * (1 + BY_HEART) or held_out[-2][1] <= lowest:
        return None
    said = f"Held-out loss was lowest at step {step} and has risen since: it learns its pairs by heart."
    return Verdict("warning", f"{said} Launch it again with fewer epochs, or let it stop early.")


def _far(curves: Mapping[str, Curve]) -> Verdict | None:
    divergence = _values(curves, "kl")
    if not divergence or divergence[-1] <= FAR:
        return None
    said = f"It has moved far from its start: {divergence[-1]:.1f} nats a token on the fixed prompts."
    return Verdict("warning", f"{said} Read its answers below; a higher beta holds it nearer.")


def _length(tokens: Sequence[float]) -> Verdict | None:
    if len(tokens) < 2 or not tokens[0]:
        return None
    times = tokens[-1] / tokens[0]
    if 1 / DRIFT <= times <= DRIFT:
        return None
    how = f"{times:.1f} times as long as" if times > 1 else f"only {times:.0%} as long as"
    return Verdict(
        "warning", f"Its answers to the fixed prompts are {how} at the start. Read them below: length is easily taken for quality."
    )


def _course(curves: Mapping[str, Curve], loss: Sequence[float], pairs: int) -> Verdict:
    accuracies, held_out = _values(curves, "rewards/accuracies"), _values(curves, "eval_rewards/accuracies")
    if accuracies:
        share = _tail(accuracies)
        beside = f", and {held_out[-1]:.0%} of held-out ones" if held_out and pairs >= FEW else ""
        if share >= 0.6:
            return Verdict(
                "good", f"It learns to tell the sides apart: it orders {share:.0%} of the latest training pairs{beside} as the raters did."
            )
        return Verdict(
            "warning",
            f"It does not tell the sides apart yet: it orders {share:.0%} of the latest training pairs{beside} as raters did; a coin 50%.",
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
