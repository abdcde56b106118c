"""Merges of merges: a recipe evaluated from the models that were trained, so that numbers are rounded once and not at every merge."""

from collections.abc import Mapping
from dataclasses import replace

from modelhub.models import ModelVersion
from training import merge_drafts, preflight
from training.engine import recipes
from training.engine.recipes import MOST_INPUTS, Recipe
from training.models import MergeRecipe

Versions = Mapping[str, ModelVersion]


def flattened(recipe: Recipe, versions: Versions) -> tuple[Recipe, dict[str, ModelVersion]]:
    """(the same merge with its merged inputs made on the way, the models that then are read), by the names the recipe has for them.

    `versions` are by the recipe's names. An input stays as it is stored when no recipe made it, when one of the models it was made of is
    no longer here whole, and when it is the base: experts were trained from the base as it is stored.
    """
    steps: dict[str, Recipe] = {}
    read = dict(versions)
    for given in recipe.inputs:
        if given.model not in recipe.steps and (found := _made_of(versions[given.model], given.model)):
            ours, theirs = found
            if len(steps) + len(ours) <= MOST_INPUTS and not set(ours) & set(steps):
                steps |= ours
                read |= {name: version for name, version in theirs.items() if name not in steps}
    if not steps:
        return recipe, read
    made = replace(recipe, steps={**recipe.steps, **steps})
    return made, {name: read[name] for name in made.models()}


def _made_of(version: ModelVersion, name: str) -> tuple[dict[str, Recipe], dict[str, ModelVersion]] | None:
    """The steps that make `version`, the last of them called `name`, and the models they read by their names; None when it stays."""
    row = MergeRecipe.objects.filter(runs__output=version).select_related("base__artifact").first()
    if row is None:
        return None
    recipe, models = of_row(row)
    if not all(preflight.readable(model) for model in models.values()):
        return None
    steps: dict[str, Recipe] = {}
    for given in recipe.inputs:
        if deeper := _made_of(models[given.model], given.model):
            steps |= deeper[0]
            models |= deeper[1]
    steps[name] = replace(recipe, steps={}, out_dtype="same")
    return steps, models


def of_row(row: MergeRecipe) -> tuple[Recipe, dict[str, ModelVersion]]:
    """A stored recipe as the engine's, with its models by name. One query for the inputs."""
    versions = [given.version for given in row.inputs.select_related("version__artifact")]
    models = {version.name: version for version in (*([row.base] if row.base else []), *versions)}
    return merge_drafts.spelled(recipes.parse(row.params)), models  # in the table's order: the database keeps none
