"""CMA-ES over a merge's parameters: which numbers are searched, the strategy that resumes by asking again, and models merged in memory.

The strategy is the library cmaes' (Hansen 2016, arXiv 1604.00772). What is kept of it is what it was told: a strategy with the same seed,
asked as often and told the same, goes on with the same candidates, so no state of the library's has to be stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from cmaes import CMA

from training.engine import recipes
from training.engine.errors import BadModel
from training.engine.merging import operators
from training.engine.recipes import Recipe
from training.engine.spec import Search, starts_of


@dataclass(frozen=True)
class Genome:
    """The searched numbers of a recipe as one point in [0, 1]^n: a coordinate an input and parameter, or one a parameter that all inputs
    share (``each`` false). ``ranges`` are in the order of their names."""

    recipe: Recipe
    ranges: Mapping[str, tuple[float, float]]
    each: bool

    @property
    def start(self) -> list[float]:
        """Where the recipe itself lies; of inputs that share a coordinate, the first one's."""
        columns = {name: starts_of(self.recipe, name) for name in self.ranges}
        owners = range(len(self.recipe.inputs)) if self.each else (0,)
        return [_place(columns[name][owner], *self.ranges[name]) for owner in owners for name in self.ranges]

    def at(self, point: Sequence[float]) -> Recipe:
        """The recipe with what ``point`` says, written at every input, in place of the searched numbers."""
        inputs, size = [], len(self.ranges)
        for number, entry in enumerate(self.recipe.inputs):
            own = point[number * size : (number + 1) * size] if self.each else point
            said = {
                name: low + min(1.0, max(0.0, x)) * (high - low) for (name, (low, high)), x in zip(self.ranges.items(), own, strict=True)
            }
            inputs.append(replace(entry, parameters=dict(entry.parameters) | said))
        return replace(self.recipe, inputs=tuple(inputs))


def _place(value: float | None, low: float, high: float) -> float:
    assert value is not None, "spec.Search refuses a start that is no number"
    assert low <= value <= high
    return (value - low) / (high - low)


def genome_of(params: Search) -> Genome:
    return Genome(recipes.parse(params.recipe), {name: (low, high) for name, (low, high) in sorted(params.ranges.items())}, params.each)


@dataclass(frozen=True)
class Score:
    """A candidate on the validation questions: share right by domain, and mean log-probability a token of the right answer."""

    domains: dict[str, float]
    logp: float
    questions: int

    @property
    def accuracy(self) -> float:
        return math.fsum(self.domains.values()) / len(self.domains)

    @property
    def value(self) -> float:
        """What is searched for: accuracy, and among equals likelihood. CMA-ES reads nothing but the order of values, so the likelihood can
        be squeezed into less than the one question by which two accuracies differ at least (domains have equally many): it breaks ties
        where accuracy is flat, and never outweighs a right answer."""
        return self.accuracy + math.exp(min(0.0, self.logp)) / (self.questions + 1)


@dataclass(frozen=True)
class Tried:
    """One evaluation. ``point`` is where, in the genome's coordinates; number 0 is the start."""

    point: list[float]
    score: Score

    def as_json(self) -> dict[str, Any]:
        return {"point": self.point, "domains": self.score.domains, "logp": self.score.logp, "questions": self.score.questions}

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(list(row["point"]), Score(dict(row["domains"]), float(row["logp"]), int(row["questions"])))


class Strategy:
    """CMA-ES from ``start``, a generation at a time; the first generation is the start alone.

    ``sigma`` is the first step size as a share of each range (mergekit-evolve begins with 1/6 as well).
    """

    def __init__(self, start: Sequence[float], *, sigma: float, population: int | None, seed: int) -> None:
        bounds = np.array([[0.0, 1.0]] * len(start))
        self._cma = CMA(mean=np.array(start, dtype=float), sigma=sigma, bounds=bounds, seed=seed, population_size=population)
        self._start: list[float] | None = list(start)

    @property
    def converged(self) -> bool:
        return bool(self._cma.should_stop())

    def ask(self) -> list[list[float]]:
        """The next generation's points."""
        if self._start is not None:
            return [self._start]
        return [[float(x) for x in self._cma.ask()] for _ in range(self._cma.population_size)]

    def tell(self, generation: Sequence[Tried]) -> None:
        """All of what ``ask`` gave, with what it was worth. From the start alone there is nothing to learn."""
        if self._start is not None:
            self._start = None
            return
        self._cma.tell([(np.array(one.point), -one.score.value) for one in generation])

    def replay(self, earlier: Sequence[Tried]) -> None:
        """Go where a strategy of the same seed stood that had been told ``earlier``, whole generations."""
        at = 0
        while at < len(earlier):
            size = len(self.ask())
            self.tell(earlier[at : at + size])
            at += size


class Blend:
    """A model in memory whose weights become any merge of its sources, which stay resident in float32.

    ``sources`` are the tensors of every model that recipes will read, by the models' names in them, ``keys`` what identifies each one's
    weights, and ``dtypes`` what a file of the merge would be rounded to. A recipe's steps are made once.
    """

    def __init__(
        self, model: torch.nn.Module, recipe: Recipe, sources: Mapping[str, Mapping[str, torch.Tensor]], *,
        dtypes: Mapping[str, torch.dtype], keys: Mapping[str, str], layers: int, seed: int,
    ) -> None:  # fmt: skip
        self._weights, self._sources, self._keys = dict(model.named_parameters()), dict(sources), dict(keys)
        self._layers, self._seed = layers, seed
        self._dtypes = dtypes
        if set(self._weights) != set(dtypes):
            raise BadModel("the model has other weights than its files")
        for name, step in recipe.steps.items():
            self._sources[name] = dict(self._merged(step))

    @torch.no_grad()
    def become(self, recipe: Recipe) -> None:
        """Put the merge of ``recipe``, which has the steps of the first one, into the model's weights."""
        for name, merged in self._merged(recipe):
            self._weights[name].copy_(merged.to(self._dtypes[name]))

    def _merged(self, recipe: Recipe) -> Iterator[tuple[str, torch.Tensor]]:
        inputs = [entry.model for entry in recipe.inputs]
        survey = operators.survey(recipe, self._layers)
        while survey is not None and survey.open:
            for name in self._weights:
                survey.look(name, self._parts(name, recipe.base, inputs))
            survey.turn()
        for name in self._weights:
            numbers = recipes.resolve(recipe, name, self._layers)
            yield name, operators.combine(numbers, self._parts(name, recipe.base, inputs), seed=self._seed, survey=survey)

    def _parts(self, name: str, base: str | None, inputs: Sequence[str]) -> operators.Parts:
        return operators.held(
            name, None if base is None else self._sources[base][name], [self._sources[model][name] for model in inputs],
            [self._keys[model] for model in inputs],
        )  # fmt: skip
