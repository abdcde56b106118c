"""A search for a merge's numbers on validation questions: candidates in memory, a checkpoint a generation, the best one written out."""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine import models, recipes
from training.engine.attempt import Attempt, Outcome
from training.engine.kinds import merge
from training.engine.kinds.exam import Exam, validation_questions
from training.engine.merging import stream
from training.engine.merging.search import Blend, Genome, Score, Strategy, Tried, genome_of
from training.engine.merging.sources import DTYPES, Source
from training.engine.spec import Search

HISTORY = "history.json"


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Search)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    genome = genome_of(params)
    model, exam, blend = ready(attempt, genome.recipe, params.questions)
    found = _Search(attempt, params, genome, model, exam, blend)
    why = found.run()
    best = genome.at(found.best.point)
    told = _told(genome, best, found, why)
    return Outcome(_write(attempt, best) | told, model=True)


def ready(attempt: Attempt, recipe: recipes.Recipe, each: int) -> tuple[Any, Exam, Blend]:
    """(model, its validation questions, what puts merges into the model) of a recipe's models."""
    with ExitStack() as stack:
        made = stream.tree(recipe, {name: attempt.source(name) for name in recipe.models()}, stack, seed=attempt.spec.seed)
        layout = made.root.layout
        resident = {model: {name: stream.whole(source, name) for name in layout} for model, source in _read(made).items()}
    model, tokenizer = models.load(str(made.first))
    dtypes = {name: DTYPES[entry.dtype] for name, entry in layout.items()}
    blend = Blend(model, recipe, resident, dtypes=dtypes, keys=made.keys, layers=model.config.num_hidden_layers, seed=attempt.spec.seed)
    return model, Exam(tokenizer, validation_questions(each)), blend


def _read(made: stream.Tree) -> dict[str, Source]:
    """What the recipe and its steps are made of and is not made on the way: models, and adapters on the base."""
    found: dict[str, Source] = {}
    for node in made.nodes:
        named = {} if node.base is None or node.recipe.base is None else {node.recipe.base: node.base}
        found |= {name: source for name, source in (named | node.experts).items() if not isinstance(source, stream.Node)}
    return found


@dataclass
class _Search:
    """The loop: ask, merge, examine, tell, keep. ``tried`` also holds what is left of a generation that the budget cut short."""

    attempt: Attempt
    params: Search
    genome: Genome
    model: Any
    exam: Exam
    blend: Blend

    def __post_init__(self) -> None:
        params, attempt = self.params, self.attempt
        self.strategy = Strategy(self.genome.start, sigma=params.sigma, population=params.population, seed=attempt.spec.seed)
        self.tried: list[Tried] = []
        self.spent = 0.0
        if attempt.resume is not None:
            rows = json.loads((attempt.resume.path / HISTORY).read_text(encoding="utf-8"))
            self.tried = [Tried.of_json(row) for row in rows]
            self.strategy.replay(self.tried)
            self.spent = float(attempt.resume.state["seconds"])
            attempt.events.log(f"{len(rows)} evaluations of an earlier attempt are kept")
        self._began = time.monotonic() - self.spent

    @property
    def seconds(self) -> float:
        """Spent on evaluations, those of earlier attempts included."""
        return time.monotonic() - self._began

    @property
    def best(self) -> Tried:
        """Of equals the earliest: the start is only given up for something better."""
        return max(self.tried, key=lambda one: one.score.value)

    def run(self) -> str:
        """Search until the budget is spent. Returns why it ended: evaluations, seconds, asked (to stop and keep), or converged."""
        while not self.strategy.converged:
            generation = []
            for point in self.strategy.ask():
                if why := self._ended():
                    return why
                self.attempt.check()
                generation.append(self._try(point))
            self.strategy.tell(generation)
            self._keep()
        return "converged"

    def _ended(self) -> str:
        if not self.tried:
            return ""  # the start is always evaluated: without it nothing is known
        if len(self.tried) >= self.params.evaluations:
            return "evaluations"
        if self.params.seconds is not None and self.seconds >= self.params.seconds:
            return "seconds"
        return "asked" if self.attempt.asked_to_keep else ""

    def _try(self, point: list[float]) -> Tried:
        self.blend.become(self.genome.at(point))
        tried = Tried(point, self.exam.score(self.attempt, self.model))
        self.tried.append(tried)
        number, events = len(self.tried), self.attempt.events
        events.metric(number, "search_score", tried.score.accuracy)
        events.metric(number, "search_best", self.best.score.accuracy)
        events.progress("searching", number, self.params.evaluations)
        return tried

    def _keep(self) -> None:
        text = json.dumps([one.as_json() for one in self.tried], allow_nan=False)

        def fill(folder: Path) -> None:
            (folder / HISTORY).write_text(text, encoding="utf-8")

        self.attempt.checkpoint(step=len(self.tried), fill=fill, state={"seconds": self.seconds})


def _write(attempt: Attempt, recipe: recipes.Recipe) -> dict[str, Any]:
    """The merge itself by the code of a merge job, so that a job of this recipe writes the same files."""
    attempt.spec = dataclasses.replace(attempt.spec, kind="merge", params=recipe)
    attempt.resume = None  # of the search; to a merge it means nothing
    return merge.run(attempt).metrics


def _told(genome: Genome, best: recipes.Recipe, found: _Search, why: str) -> dict[str, Any]:
    """The recipe as a merge takes it, and what it and the start scored on the validation questions."""
    start = found.tried[0]
    return {
        "recipe": recipes.as_json(best),
        "start": recipes.as_json(genome.recipe),
        "validation": {"questions": start.score.questions, "start": _shown(start.score), "best": _shown(found.best.score)},
        "evaluations": len(found.tried),
        "best_evaluation": found.tried.index(found.best) + 1,
        "ended_by": why,
        "search_seconds": round(found.seconds, 1),
    }


def _shown(score: Score) -> dict[str, Any]:
    return {"accuracy": score.accuracy, "logp": score.logp, "domains": score.domains}
