"""Merges of whole models. Only what asks questions loads transformers: a search for SLERP's t, and what was kept of the experts."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from training.engine import lifeline
from training.engine.attempt import Attempt, Outcome
from training.engine.checkpoints import RESUME
from training.engine.merging import stream
from training.engine.recipes import Input, Recipe
from training.engine.spec import Slerp

# How often the supervisor hears that more is finished; it links what there is, and copies where it cannot.
ANNOUNCE_SECONDS = 20.0


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    if isinstance(params, Slerp):
        return _slerp(attempt, params)
    assert isinstance(params, Recipe)
    merged = _merge(attempt, params, attempt.output)
    return Outcome({**_told(merged), "experts": len(params.inputs), **_retained(attempt, params)}, model=True)


def _retained(attempt: Attempt, recipe: Recipe) -> dict[str, Any]:
    """What it kept of its experts, where questions came with it and there is a base to compare with."""
    if recipe.base is None or not (attempt.inputs / "retention.jsonl").exists():
        return {}
    from training.engine.kinds import retained  # transformers from here on

    attempt.events.progress("evaluating", 0, 1)
    return {"retention": retained.measured(attempt, attempt.source(recipe.base), attempt.output)}


def _told(merged: stream.Merged) -> dict[str, Any]:
    return {"tensors": merged.tensors, "resumed": merged.resumed, "merge_report": {"tensors": merged.report}}


def _slerp(attempt: Attempt, params: Slerp) -> Outcome:
    candidates = params.t if isinstance(params.t, list) else [params.t]
    if len(candidates) == 1:
        merged = _merge(attempt, _slerped(candidates[0]), attempt.output)
        return Outcome({"t": candidates[0], **_told(merged)}, model=True)
    from training.engine.kinds import questions  # transformers from here on

    assert params.validation is not None
    scores, made = {}, {}
    for t in candidates:
        folder = attempt.folder / "candidates" / str(t)
        made[t] = _merge(attempt, _slerped(t), folder)
        scores[t] = questions.validation_score(attempt, folder, params.validation, params.questions)
        attempt.events.metric(len(scores), "validation", scores[t])
    # Equal scores: the larger t, which keeps more of what the expert was made for.
    best = max(candidates, key=lambda t: (scores[t], t))
    shutil.move(attempt.folder / "candidates" / str(best), attempt.output)
    shutil.rmtree(attempt.folder / "candidates")
    return Outcome({"t": best, "validation": {str(t): score for t, score in scores.items()}, **_told(made[best])}, model=True)


def _slerped(t: float) -> Recipe:
    return Recipe(method="slerp", base="base", inputs=(Input("expert"),), parameters={"t": t})


def _merge(attempt: Attempt, recipe: Recipe, output: Path) -> stream.Merged:
    """Half a merge lies among the attempt's checkpoints: kept, given to the next attempt and cleared away as they are."""
    return stream.merge(
        recipe, {name: attempt.source(name) for name in recipe.models()}, output, staging=attempt.checkpoints,
        handed=attempt.folder / RESUME, key=attempt.key, seed=attempt.spec.seed, workers=workers(attempt.spec.threads),
        check=_check(attempt), on_tensor=_watch(attempt), on_sealed=_announce(attempt),
    )  # fmt: skip


def workers(threads: int) -> int:
    """Two at least where there are two cores: while one waits for the disk the other computes. They need a few megabytes each."""
    return max(threads, min(2, os.cpu_count() or 1))


def _check(attempt: Attempt) -> Any:
    def check() -> None:
        attempt.check()
        lifeline.leave_unless_live(attempt.folder)

    return check


def _watch(attempt: Attempt) -> Any:
    said = [-1]

    def on_tensor(done: int, total: int) -> None:
        if done != said[0]:
            attempt.events.progress("merging", done, total)
            said[0] = done

    return on_tensor


def _announce(attempt: Attempt) -> Any:
    last = [0.0]

    def on_sealed(done: int) -> None:
        if done and time.monotonic() - last[0] >= ANNOUNCE_SECONDS:
            attempt.events.checkpoint(done)
            last[0] = time.monotonic()

    return on_sealed
