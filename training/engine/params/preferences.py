"""What learning from preferences can be told: DPO on pairs, KTO on single answers. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from training.engine.params.language import Lora
from training.engine.params.limits import positive, share

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
    "discopop", "sigmoid_norm",
]  # fmt: skip
# The only losses of TRL 1.16 that read label_smoothing; with any other it is accepted and does nothing.
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How a long run is kept and watched, whatever it learns; training.engine.trainer does it.

    A checkpoint every ``checkpoint_steps`` (null: a fifth of the run), with held-out loss and the six fixed prompts answered in at
    most ``watch_tokens``; another, without, when the last is ``checkpoint_seconds`` old. ``early_stop`` (0: never) ends the run when
    held-out loss has not fallen for so many checkpoints, and keeps the best. The limits are watchdogs', null: not watched
    (training.engine.watchdogs).
    """

    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 600.0
    watch_tokens: int = 64
    early_stop: int = 0
    collapse_steps: int | None = 50
    margin_limit: float | None = 50.0
    falling_limit: float | None = 1.0

    def watch_problem(self) -> tuple[str, str] | None:
        if self.early_stop < 0:
            return "early_stop", "must not be negative"
        return positive(self, "checkpoint_steps", "checkpoint_seconds", "watch_tokens", "collapse_steps", "margin_limit", "falling_limit")


@dataclass(frozen=True, kw_only=True)
class Dpo(Watched):
    """Direct preference optimisation (arXiv 2305.18290) by TRL, on ``inputs/train.jsonl`` and, if there,
    ``inputs/validation.jsonl``; rows {"prompt", "chosen", "rejected"} of message lists, with "p_chosen" and "weight" (both 1 if left out).

    ``loss`` sigmoid is w·(−p·log σ(βΔ) − (1−p)·log σ(−βΔ)) with a row's own p and w; ``targets`` hard takes every p and w as 1. The
    other losses are TRL's by name and know neither, so they are refused with soft targets. ``label_smoothing`` is for the few losses that
    read it; ``ld_alpha`` (LD-DPO) weighs the tokens beyond the shorter answer's length, in policy and reference alike, so it needs
    ``reference`` live.

    ``max_length`` null takes the longest pair; a pair above a given one is an error, never a cut.
    ``nll_weight`` adds that much of the chosen answer's negative log likelihood per token. ``lora`` null trains all.
    ``warmup_share`` of the steps, when above 0, stands in place of ``warmup_steps``.
    ``reference`` stored computes the reference's log-probabilities once, before the first step, and keeps them for later runs.
    ``shared_prefix`` encodes a prompt once for both of its answers. ``length_window`` above 1 puts pairs of like length together,
    within so many batches' worth of shuffled pairs. ``replay`` is the share of an epoch that comes from ``inputs/replay.jsonl``.
    ``dtype`` bfloat16 holds a LoRA run's frozen weights in it, and computes in it when all weights are trained.
    """

    learning_rate: float
    beta: float = 0.1
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int | None = None
    lora: Lora | None = field(default_factory=Lora)
    warmup_steps: int = 0
    warmup_share: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    loss: Loss = "sigmoid"
    targets: Literal["soft", "hard"] = "hard"
    label_smoothing: float = 0.0
    ld_alpha: float | None = None
    nll_weight: float = 0.0
    weight_decay: float = 0.0
    gradient_checkpointing: bool = False
    minimum_pairs: int = 8
    reference: Literal["stored", "live"] = "stored"
    shared_prefix: bool = False
    length_window: int = 1
    replay: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"

    def problem(self) -> tuple[str, str] | None:
        for name in ("nll_weight", "warmup_steps", "label_smoothing", "weight_decay"):
            if getattr(self, name) < 0:
                return name, "must not be negative"
        wrong = self.silent() or self.watch_problem() or share(self, "warmup_share", "replay")
        return wrong or positive(
            self, "learning_rate", "beta", "epochs", "max_steps", "batch_size", "gradient_accumulation", "max_length",
            "minimum_pairs", "length_window",
        )  # fmt: skip

    def silent(self) -> tuple[str, str] | None:
        """A setting that TRL would accept and then ignore, or apply to one side only."""
        if self.targets == "soft" and self.loss != "sigmoid":
            return "targets", f"soft targets would be ignored by the loss {self.loss}; only sigmoid reads them"
        if self.label_smoothing and self.loss not in SMOOTHED:
            instead = "set targets to soft, with each pair's own probability, instead" if self.loss == "sigmoid" else "leave it at 0"
            return "label_smoothing", f"would be ignored by the loss {self.loss}; {instead}"
        if self.label_smoothing >= 0.5:
            return "label_smoothing", "must be below 0.5"
        if self.loss == "exo_pair" and not self.label_smoothing:
            return "label_smoothing", "must be above 0 with the loss exo_pair; its paper takes 0.001"
        if self.ld_alpha is None:
            return None
        if not 0 <= self.ld_alpha <= 1:
            return "ld_alpha", "must be from 0 to 1"
        if self.targets == "soft":
            return "ld_alpha", "is not defined for soft targets"
        if self.reference == "stored":
            return "ld_alpha", "changes the reference's log-probabilities too, and stored ones are whole sums; set reference to live"
        if self.loss in ("ipo", "sigmoid_norm"):
            return "ld_alpha", f"and the loss {self.loss} would correct for length twice"
        return None


@dataclass(frozen=True, kw_only=True)
class Kto(Watched):
    """Kahneman-Tversky optimisation (arXiv 2402.01306) by TRL, on ``inputs/kto.jsonl``; rows {"prompt", "completion", "label"}: single
    answers, wanted or not, so that a pair whose both sides are unacceptable teaches too.

    ``desirable_weight`` and ``undesirable_weight`` weigh the two losses; the paper keeps the ratio of weight times count between 1 and 4/3.
    ``batch_size`` is at least 2: the divergence is estimated from a batch's answers set against each other's prompts.
    """

    learning_rate: float
    beta: float = 0.1
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int | None = None
    lora: Lora | None = field(default_factory=Lora)
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    warmup_share: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.0
    gradient_checkpointing: bool = False
    minimum_pairs: int = 8
    length_window: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def problem(self) -> tuple[str, str] | None:
        if self.weight_decay < 0:
            return "weight_decay", "must not be negative"
        if self.batch_size < 2:
            return "batch_size", "must be at least 2"
        wrong = self.watch_problem() or share(self, "warmup_share")
        return wrong or positive(
            self, "learning_rate", "beta", "epochs", "max_steps", "gradient_accumulation", "max_length", "desirable_weight",
            "undesirable_weight", "minimum_pairs", "length_window",
        )  # fmt: skip
