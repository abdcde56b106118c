"""Merging one tensor: the operators of every method of training.engine.methods, in one table.

    resolved = recipes.resolve(recipe, name, layers)            # the numbers for this tensor
    survey = operators.survey(recipe, layers)                   # null unless the method has to see all tensors first
    while survey is not None and survey.open:                   # then: every tensor, in any order, once a pass
        for name in names:
            if survey.wants(name): survey.look(name, parts_of(name))
        survey.turn()
    at = operators.combined(resolved, parts, seed=seed, survey=survey)      # any chunk, from wherever the parts lie
    merged = operators.combine(resolved, parts, seed=seed, survey=survey)   # or all of it; float32, rounded by nobody yet

An operator looks at the whole tensor where it needs to know something of it (angles, thresholds, norms), a chunk at a time, and gives a
function from (start, stop) to those entries of the merge: the one way in which a merge in memory and a streamed one are computed. What is
held besides the inputs and the result is a few chunks. No mask depends on thread count or chunk size, and sums run over experts in the
recipe's order. Formulas: arXiv 2505.10717 section 3.1.3 and each method's own source; where mergekit or a paper differ: docs/merging.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from training.engine.merging import additive, spherical
from training.engine.merging.surveys import WholeVector
from training.engine.merging.work import Combined, Parts, Work, held
from training.engine.recipes import Recipe, Resolved, resolve

__all__ = ["OPERATORS", "Combined", "Parts", "Survey", "combine", "combined", "held", "survey"]

Survey = WholeVector


def survey(recipe: Recipe, layers: int) -> Survey | None:
    """What has to see all tensors before ``combine`` can merge one, if anything has to."""
    if recipe.method == "ties" and recipe.variant("trim") == "vector":
        # One density an expert: recipes.parse() has seen to it, so any tensor's name will do.
        return WholeVector([values["density"] for values in resolve(recipe, "", layers).inputs])
    return None


def combined(resolved: Resolved, parts: Parts, *, seed: int = 0, survey: Survey | None = None) -> Combined:
    """How to compute any chunk of the merged tensor, after whatever has to be looked at first. The parts' readers serve it from then on."""
    return OPERATORS[resolved.method](Work(resolved, parts, seed, survey))


def combine(resolved: Resolved, parts: Parts, *, seed: int = 0, survey: Survey | None = None) -> torch.Tensor:
    """The merged tensor, float32, in the parts' shape and not yet rounded to any other dtype. Inputs are not changed."""
    at, made = combined(resolved, parts, seed=seed, survey=survey), torch.empty(parts.n)
    for start, stop in parts.spans():
        made[start:stop] = at(start, stop)
    return made.view(parts.shape)


OPERATORS: dict[str, Callable[[Work], Combined]] = {
    "linear": additive.linear,
    "slerp": spherical.slerp,
    "task_arithmetic": lambda work: additive.summed(work, additive.whole(work)),
    "ties": lambda work: additive.voted(work, additive.trimmed(work)),
    "dare_linear": lambda work: additive.summed(work, additive.dare(work)),
    "dare_ties": lambda work: additive.voted(work, additive.dare(work)),
    "breadcrumbs": lambda work: additive.summed(work, additive.crumbs(work)),
    "breadcrumbs_ties": lambda work: additive.voted(work, additive.crumbs(work)),
    "model_stock": spherical.model_stock,
    "della": lambda work: additive.della(work, additive.voted),
    "della_linear": lambda work: additive.della(work, additive.summed),
    "nuslerp": spherical.nuslerp,
    "karcher": spherical.karcher,
    "sce": additive.sce,
}
