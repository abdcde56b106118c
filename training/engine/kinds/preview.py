"""A merge on trial: made in a folder of the attempt's own, asked a few prompts beside two models it is made of, and thrown away.

An adapter is no model by itself: where one is asked beside the merge, its base with it on is made in the same way.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine import recipes
from training.engine.attempt import Attempt, Outcome
from training.engine.kinds import merge
from training.engine.merging import adapters
from training.engine.spec import Preview


class Trial(Attempt):
    """A merge inside a preview: a folder of its own, and the outer attempt's word on when to stop."""

    def __init__(self, outer: Attempt, recipe: recipes.Recipe, name: str = "trial") -> None:
        folder = outer.folder / name
        folder.mkdir(exist_ok=True)
        models = {name: outer.spec.models[name] for name in recipe.models()}
        super().__init__(folder, dataclasses.replace(outer.spec, kind="merge", params=recipe, models=models), outer.events)
        self._outer = outer

    def check(self) -> None:
        self._outer.check()


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Preview)
    rows = attempt.rows("prompts.jsonl", id=str, messages=list)
    recipe = recipes.parse(params.recipe)
    trial = Trial(attempt, recipe)
    told = merge.run(trial)
    beside = [_whole(attempt, recipe, name, f"beside-{place}") for place, name in enumerate(params.beside)]
    from training.engine import models  # transformers from here on: a merge that fails need not wait for them

    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    folders = [*beside, trial.output]
    texts = [_answers(attempt, folder, rows, params, place * len(rows), len(folders) * len(rows)) for place, folder in enumerate(folders)]
    for place in [trial.folder, *(made.parent for made in beside if made.is_relative_to(attempt.folder))]:
        shutil.rmtree(place)
    items = [{"id": row["id"], "texts": [each[place] for each in texts]} for place, row in enumerate(rows)]
    return Outcome({"tensors": told.metrics.get("tensors"), "prompts": len(rows)}, items=attempt.write_items(items))


def _whole(attempt: Attempt, recipe: recipes.Recipe, name: str, made: str) -> Path:
    """The folder of one of the models to ask; of an adapter, one called ``made``, of it and the model that the merge puts it on."""
    if not adapters.is_adapter(attempt.source(name)):
        return attempt.source(name)
    base = next(model for model in recipe.models() if not adapters.is_adapter(attempt.source(model)))
    onto = recipes.Recipe(method="task_arithmetic", base=base, inputs=(recipes.Input(name, {"weight": 1.0}),))
    trial = Trial(attempt, onto, made)
    merge.run(trial)
    return trial.output


def _answers(attempt: Attempt, folder: Path, rows: Sequence[dict[str, Any]], params: Preview, done: int, total: int) -> list[str]:
    """One greedy answer a row. The model is gone before the next is loaded."""
    from training.engine import decoding, models, tokens

    model, tokenizer = models.load_to_write(str(folder))
    encoded = [tokens.encode_chat(tokenizer, row["messages"], generation_prompt=True) for row in rows]
    answers = decoding.generate(
        attempt, model, tokenizer, encoded, max_new_tokens=params.max_new_tokens, batch_size=params.batch_size, done=done, total=total
    )
    return [answer.text for answer in answers]
