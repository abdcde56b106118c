"""A LoRA adapter made of the difference of two models, with how near it comes to it by tensor. Loads no transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from training.engine import lifeline
from training.engine.attempt import Attempt, Outcome
from training.engine.merging import adapters
from training.engine.merging.report import module_of
from training.engine.recipes import layer_of
from training.engine.spec import Extract


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Extract)
    torch.set_num_threads(attempt.spec.threads)

    def check() -> None:
        attempt.check()
        lifeline.leave_unless_live(attempt.folder)

    told = adapters.extract(
        attempt.source("base"), attempt.source("expert"), attempt.output, rank=params.rank, check=check,
        on_tensor=lambda done, total: attempt.events.progress("extracting", done, total),
    )  # fmt: skip
    return Outcome(summed_up(told, params.rank), model=True)


def summed_up(told: Mapping[str, Mapping[str, float]], rank: int) -> dict[str, Any]:
    """As the version's metrics keep it. ``error`` is what is lost of the whole change, as a share of its length (Frobenius);
    ``error_of_matrices`` the same of the matrices that the adapter holds; ``not_held`` counts the changed tensors that it cannot hold."""
    held = [one for one in told.values() if one["error"] < 1]
    rows = [
        {"name": name, "layer": layer_of(name), "module": module_of(name), **one} for name, one in told.items()
    ]  # fmt: skip
    return {
        "rank": rank, "error": _left(told.values()), "error_of_matrices": _left(held), "held": len(held),
        "not_held": len(told) - len(held), "extraction": {"tensors": rows},
    }  # fmt: skip


def _left(those: Any) -> float:
    those = list(those)
    whole = math.hypot(*(one["norm"] for one in those))
    return math.hypot(*(one["norm"] * one["error"] for one in those)) / whole if whole else 0.0
