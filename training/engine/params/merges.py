"""What a search or a preview of a merge, the SLERP that chooses its t, and an extraction can be told. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from training.engine import recipes
from training.engine.params.language import Domain
from training.engine.params.limits import positive

# Validation questions a toy domain has at least: two attributes of sixteen facts in one wording.
MOST_QUESTIONS = 32
# A larger adapter is none that others would take (modelhub.adapters).
MOST_RANK = 4096


@dataclass(frozen=True, kw_only=True)
class Slerp:
    """SLERP of ``base`` (t = 0) and ``expert`` (t = 1). A list of t is searched on ``validation``'s questions.

    Every other merge, a SLERP with its t by layer or module among them, is a ``Recipe``."""

    method: Literal["slerp"]
    t: float | list[float]
    validation: Domain | None = None
    questions: int = 48

    def problem(self) -> tuple[str, str] | None:
        candidates = self.t if isinstance(self.t, list) else [self.t]
        if not candidates or not all(0 <= t <= 1 for t in candidates):
            return "t", "must be numbers from 0 to 1"
        if len(candidates) > 1 and self.validation is None:
            return "validation", "is needed to choose among several t"
        return positive(self, "questions")


@dataclass(frozen=True, kw_only=True)
class Search:
    """CMA-ES over the numbers of one merge, on ``questions`` validation questions of each toy domain; the best merge found is the output.
    Evaluation questions are never asked.

    ``recipe`` is a merge's (training.engine.recipes) and where the search starts; what is not searched stays as it is there. ``ranges``
    names what is searched of every input, such as weight, each with its lowest and highest value; ``each`` gives every input numbers of
    its own. It ends after ``evaluations`` merges (the start is the first) or ``seconds`` of evaluating, whichever comes first, or when
    the strategy has converged. ``population`` null is 4 + 3 ln n for n numbers; ``sigma`` is the first step, as a share of the ranges.
    """

    recipe: dict[str, Any]
    ranges: dict[str, list[float]]
    each: bool = True
    evaluations: int = 200
    seconds: float | None = None
    population: int | None = None
    sigma: float = 1 / 6
    questions: int = 32

    def problem(self) -> tuple[str, str] | None:
        try:
            recipe = recipes.parse(self.recipe, "recipe")
        except recipes.BadRecipe as wrong:
            return wrong.problems[0]
        known = {entry.name: entry for entry in recipe.table.per_input}
        if not self.ranges:
            return "ranges", f"must name what is searched: {', '.join(known) or f'{recipe.method} has nothing that can be'}"
        for name, ends in self.ranges.items():
            if name not in known:
                return f"ranges.{name}", f"is nothing that {recipe.method} has for every input; known are {', '.join(known) or 'none'}"
            if len(ends) != 2 or ends[0] >= ends[1]:
                return f"ranges.{name}", "must be two numbers, the lowest and the highest value"
            for end in ends:
                if problem := known[name].problem(end):
                    return f"ranges.{name}", problem
            for value in starts_of(recipe, name):
                if value is None:
                    return f"recipe.{name}", "has no single number to start from: a list or a filter cannot be searched"
                if not ends[0] <= value <= ends[1]:
                    return f"ranges.{name}", f"does not hold {value:g}, from where the search starts"
        if self.questions > MOST_QUESTIONS:
            return "questions", f"must be at most {MOST_QUESTIONS}: the smallest domain has no more in that wording"
        if self.population is not None and self.population < 4:
            return "population", "must be at least 4"
        return positive(self, "evaluations", "seconds", "sigma", "questions")


def starts_of(recipe: recipes.Recipe, name: str) -> list[float | None]:
    """One parameter of every input, in order, where it is a single number for all layers and modules, else None."""
    found: list[float | None] = []
    for entry in recipe.inputs:
        default = recipe.table.parameter(name).default
        setting = entry.parameters.get(name, recipe.parameters.get(name, default))
        found.append(None if setting is None or isinstance(setting, tuple) else float(setting))
    return found


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A merge made in the attempt's own folder and thrown away, and ``inputs/prompts.jsonl`` ({"id", "messages"}) answered greedily: by the
    models named in ``beside``, in that order, and then by the merge.

    ``recipe`` is a merge's (training.engine.recipes).
    """

    recipe: dict[str, Any]
    beside: list[str]
    max_new_tokens: int = 96
    batch_size: int = 20

    def problem(self) -> tuple[str, str] | None:
        try:
            recipes.parse(self.recipe, "recipe")
        except recipes.BadRecipe as wrong:
            return wrong.problems[0]
        return positive(self, "max_new_tokens", "batch_size")


@dataclass(frozen=True, kw_only=True)
class Extract:
    """The LoRA adapter of ``rank`` that comes nearest to what makes ``expert`` of ``base``: the way back of a merge
    (training.engine.merging.adapters)."""

    rank: int

    def problem(self) -> tuple[str, str] | None:
        return ("rank", f"must be at most {MOST_RANK}") if self.rank > MOST_RANK else positive(self, "rank")
