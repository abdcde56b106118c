"""Merges of whole models. Only a search for SLERP's t, which has to ask the candidates questions, loads transformers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.engine.attempt import Attempt, Outcome
from training.engine.merging import folders, operators
from training.engine.recipes import Input, Recipe, resolve
from training.engine.spec import Slerp


def run(attempt: Attempt) -> Outcome:
    torch.set_num_threads(attempt.spec.threads)
    params = attempt.spec.params
    if isinstance(params, Slerp):
        return _slerp(attempt, params)
    assert isinstance(params, Recipe)
    sources = {name: attempt.source(name) for name in params.models()}
    count = _merge(attempt, params, sources, attempt.output)
    return Outcome({"tensors": count, "experts": len(params.inputs)}, model=True)


def _slerp(attempt: Attempt, params: Slerp) -> Outcome:
    sources = {name: attempt.source(name) for name in ("base", "expert")}
    candidates = params.t if isinstance(params.t, list) else [params.t]
    if len(candidates) == 1:
        count = _merge_slerp(attempt, sources, candidates[0], attempt.output)
        return Outcome({"t": candidates[0], "tensors": count}, model=True)
    from training.engine.kinds import questions  # transformers from here on

    assert params.validation is not None
    scores = {}
    for t in candidates:
        folder = attempt.folder / "candidates" / str(t)
        count = _merge_slerp(attempt, sources, t, folder)
        scores[t] = questions.validation_score(attempt, folder, params.validation, params.questions)
        attempt.events.metric(len(scores), "validation", scores[t])
    # Equal scores: the larger t, which keeps more of what the expert was made for.
    best = max(candidates, key=lambda t: (scores[t], t))
    shutil.move(attempt.folder / "candidates" / str(best), attempt.output)
    shutil.rmtree(attempt.folder / "candidates")
    return Outcome({"t": best, "validation": {str(t): score for t, score in scores.items()}, "tensors": count}, model=True)


def _merge_slerp(attempt: Attempt, sources: Mapping[str, Path], t: float, output: Path) -> int:
    recipe = Recipe(method="slerp", base="base", inputs=(Input("expert"),), parameters={"t": t})
    return _merge(attempt, recipe, sources, output)


def _merge(attempt: Attempt, recipe: Recipe, sources: Mapping[str, Path], output: Path) -> int:
    layers = folders.layers(next(iter(sources.values())))

    def combine(name: str, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        base = None if recipe.base is None else tensors[recipe.base]
        parts = operators.Parts(name, base, [tensors[entry.model] for entry in recipe.inputs], [entry.model for entry in recipe.inputs])
        return operators.combine(resolve(recipe, name, layers), parts, seed=attempt.spec.seed)

    return folders.merge(sources, output, combine, _watch(attempt))


def _watch(attempt: Attempt) -> Any:
    def on_tensor(done: int, total: int) -> None:
        attempt.check()
        if done == total or done % 10 == 0:
            attempt.events.progress("merging", done, total)

    return on_tensor
