"""When to stop a run that can no longer become good: a figure that is no number, a collapse, a chosen answer that gets less likely.

Standard library only: figures in, a decision out. A run stopped so keeps its last checkpoint, and is not tried again as it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.engine.errors import EngineError

NOT_FINITE, COLLAPSED, CHOSEN_FALLING = "not_finite", "collapsed", "chosen_falling"
# A loss this small with every pair right: nothing is left to learn, and the margins only grow.
NO_LOSS = 0.005
SMOOTHED = 10


class Stopped(EngineError):
    """A watchdog ended the run; ``code`` says which. The message names the step, the figure and what to change."""


@dataclass
class Watchdog:
    """Shown every step's figures, in order. A limit that is None is not watched.

    ``collapse_steps``: so many steps in a row with every pair right and a loss below 0.005 (a rate that is too high, or pairs that
    appear twice). ``margin_limit``: mean reward margin. ``falling_limit``: the share of its reference log-probability by which the
    chosen answer may fall, mean of ten steps; 0.5 takes log p = −40 to −60.
    """

    beta: float
    collapse_steps: int | None = None
    margin_limit: float | None = None
    falling_limit: float | None = None
    quiet: int = 0
    falls: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))

    def see(self, step: int, figures: Mapping[str, float]) -> None:
        """Raises ``Stopped`` when ``figures`` (metric names as in the events) of ``step`` leave no hope."""
        self._finite(step, figures)
        self._collapse(step, figures)
        self._falling(step, figures)

    def _finite(self, step: int, figures: Mapping[str, float]) -> None:
        for name in ("loss", "grad_norm"):
            if name in figures and not math.isfinite(figures[name]):
                raise Stopped(
                    f"step {step}: {name} is {figures[name]}, which is no number to go on from; "
                    "lower the learning rate, or train in float32",
                    code=NOT_FINITE,
                )

    def _collapse(self, step: int, figures: Mapping[str, float]) -> None:
        margin = figures.get("rewards/margins")
        if self.margin_limit is not None and margin is not None and margin > self.margin_limit:
            raise Stopped(
                f"step {step}: the mean margin is {margin:.1f}, the limit is {self.margin_limit:.1f}; "
                "lower the learning rate, raise beta, or train on soft targets",
                code=COLLAPSED,
            )
        alone = figures.get("rewards/accuracies") == 1.0 and figures.get("loss", math.inf) < NO_LOSS
        self.quiet = self.quiet + 1 if alone else 0
        if self.collapse_steps is not None and self.quiet >= self.collapse_steps:
            raise Stopped(
                f"step {step}: {self.quiet} steps in a row with every pair right and a loss below {NO_LOSS}; "
                "lower the learning rate or the epochs, and look for pairs that appear twice",
                code=COLLAPSED,
            )

    def _falling(self, step: int, figures: Mapping[str, float]) -> None:
        reward, logp = figures.get("rewards/chosen"), figures.get("logps/chosen")
        if reward is None or logp is None or self.falling_limit is None:
            return
        reference = logp - reward / self.beta
        self.falls.append(reward / self.beta / reference if reference else 0.0)
        share = sum(self.falls) / len(self.falls)
        if len(self.falls) == SMOOTHED and share > self.falling_limit:
            raise Stopped(
                f"step {step}: the chosen answers' log-probability fell by {share:.0%} of the reference's, the limit is "
                f"{self.falling_limit:.0%}; lower the learning rate, or add nll_weight",
                code=CHOSEN_FALLING,
            )
