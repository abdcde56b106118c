"""Merging one tensor: ``combine`` is the way in, for every method of training.engine.methods.

    resolved = recipes.resolve(recipe, name, layers)            # the numbers for this tensor
    survey = operators.survey(recipe, layers)                       # null unless the method has to see all tensors first
    while survey is not None and survey.open:                   # then: every tensor, in any order, once a pass
        for name in names:
            if survey.wants(name): survey.look(name, parts_of(name))
        survey.turn()
    merged = operators.combine(resolved, parts, seed=seed, survey=survey)   # float32, rounded by nobody yet

Tensors come in any float dtype and shape and are taken to float32 a chunk at a time, so what is held besides the inputs and the result
is a few chunks. No mask depends on thread count or chunk size, and sums run over experts in the recipe's order. Formulas: arXiv
2505.10717 section 3.1.3 and each method's own source; where mergekit or a paper differ: docs/merging.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from training.engine.merging import additive, spherical
from training.engine.merging.spherical import TINY, slerp_shares
from training.engine.merging.surveys import WholeVector
from training.engine.merging.work import Parts, Work
from training.engine.recipes import Recipe, Resolved, resolve

__all__ = ["OPERATORS", "TINY", "Parts", "Survey", "combine", "slerp_shares", "survey"]

Survey = WholeVector


def survey(recipe: Recipe, layers: int) -> Survey | None:
    """What has to see all tensors before ``combine`` can merge one, if anything has to."""
    if recipe.method == "ties" and recipe.variant("trim") == "vector":
        # One density an expert: recipes.parse() has seen to it, so any tensor's name will do.
        return WholeVector([values["density"] for values in resolve(recipe, "", layers).inputs])
    return None


def combine(resolved: Resolved, parts: Parts, *, seed: int = 0, survey: Survey | None = None) -> torch.Tensor:
    """The merged tensor, float32, in the parts' shape and not yet rounded to any other dtype. Inputs are not changed."""
    assert len(parts.experts) == len(resolved.inputs)
    first = parts.experts[0]
    assert all(part.shape == first.shape for part in (*parts.experts, *([parts.base] if parts.base is not None else [])))
    return OPERATORS[resolved.method](Work(resolved, parts, seed, survey)).view(first.shape)


OPERATORS: dict[str, Callable[[Work], torch.Tensor]] = {
    "linear": additive.linear,
    "slerp": spherical.slerp,
    "task_arithmetic": lambda work: additive.summed(work, additive.whole(work)),
    "ties": lambda work: additive.voted(work, additive.trimmed(work)),
    "dare_linear": lambda work: additive.summed(work, additive.dare(work)),
    "dare_ties": lambda work: additive.voted(work, additive.dare(work)),
    "breadcrumbs": lambda work: additive.summed(work, additive.crumbs(work)),
    "breadcrumbs_ties": lambda work: additive.voted(work, additive.crumbs(work)),
    "model_stock": spherical.model_stock,
    "della": lambda work: additive.voted(work, additive.della(work), rows=True),
    "della_linear": lambda work: additive.summed(work, additive.della(work), rows=True),
    "nuslerp": spherical.nuslerp,
    "karcher": spherical.karcher,
    "sce": additive.sce,
}
