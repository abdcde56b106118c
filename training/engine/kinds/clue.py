"""CLUE+'s tasks asked of a model, from a house's own copies of the data sets."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.engine import models
from training.engine.attempt import Attempt, Outcome
from training.engine.clue import asking, lm, loaders
from training.engine.clue.longhealth import Ruler
from training.engine.errors import InputError
from training.engine.spec import Clue
from training.suite.register import SETS


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Clue)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    model, tokenizer = models.load_to_write(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    loaded, absent = _read(attempt, params, Measured(tokenizer, models.training_context(model)))
    asked = lm.EngineLM(attempt, model, tokenizer, batch_size=params.batch_size, temperature=1.0 if params.mode == "clue_compat" else 0.0)
    result = asking.ask(
        asked, loaded, output=attempt.output, model=models.digest(attempt.source("policy")), seed=attempt.spec.seed, mode=params.mode,
        limit=params.limit, most_new=params.max_new_tokens, peak=_peak,
    )  # fmt: skip
    metrics = {
        "scores": {name: {"metric": one.metric, "score": one.score, "n": one.n} for name, one in result.tasks.items()},
        "absent": absent, "tokens_per_second": result.tokens_per_s, "p50_latency_ms": result.p50_latency_ms,
        "cut": result.settings["cut"], "other_files": result.settings["other_files"],
    }  # fmt: skip
    if (by_run := attempt.output / asking.RUNS).exists():
        metrics["runs"] = json.loads(by_run.read_text(encoding="utf-8"))
    rows: Iterator[dict[str, Any]] = (
        {"set": name, "item": place, "score": score} for name, one in result.tasks.items() for place, score in enumerate(one.items)
    )
    return Outcome(metrics, items=attempt.write_items(rows))


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _read(attempt: Attempt, params: Clue, ruler: Ruler) -> tuple[dict[str, loaders.Loaded], list[str]]:
    """The sets that were asked for, all of which must be there; else those that are there, and the names of those that are not."""
    loaded, absent = {}, []
    for name in params.sets or SETS:
        attempt.check()
        try:
            loaded[name] = loaders.load(
                SETS[name], Path(params.data), seed=attempt.spec.seed, allow_other_files=params.allow_other_files, ruler=ruler
            )
        except loaders.MissingSet as missing:
            if params.sets:
                raise
            absent.append(name)
            attempt.events.log(missing.message)
    if not loaded:
        raise InputError("none of the data sets is in the data folder")
    return loaded, absent


class Measured:
    """Texts in a model's own tokens; a prompt leaves room for the layout around it and for its answer."""

    ROOM = 128

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer, self.context = tokenizer, context - self.ROOM

    def count(self, text: str) -> int:
        return len(self._ids(text))

    def cut(self, text: str, most: int) -> str:
        return str(self.tokenizer.decode(self._ids(text)[:most]))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
