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
from training.engine.clue.longhealth import Measured
from training.engine.clue.meaning import Means
from training.engine.spec import Clue
from training.suite.register import SETS


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Clue)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    model, tokenizer = models.load_to_write(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    loaded = loaders.everything(
        params.sets or list(SETS), Path(params.data), seed=attempt.spec.seed, allow_other_files=params.allow_other_files,
        all_of_them=bool(params.sets), ruler=Measured(tokenizer, models.training_context(model)), say=attempt.events.log,
        check=attempt.check,
    )  # fmt: skip
    means = Means(
        encoder=Path(params.encoder) if params.encoder else None,
        layer=params.encoder_layer,
        umls=Path(params.umls) if params.umls else None,
    )
    means.check()
    for lacking in means.lacking(list(loaded)):
        attempt.events.log(lacking)
    asked = lm.EngineLM(attempt, model, tokenizer, batch_size=params.batch_size, temperature=1.0 if params.mode == "clue_compat" else 0.0)
    result = asking.ask(
        asked, loaded, output=attempt.output, model=models.digest(attempt.source("policy")), seed=attempt.spec.seed, mode=params.mode,
        limit=params.limit, most_new=params.max_new_tokens, means=means, peak=_peak, check=attempt.check,
    )  # fmt: skip
    metrics = {
        "scores": {name: {"metric": one.metric, "score": one.score, "n": one.n} for name, one in result.tasks.items()},
        "absent": [name for name in params.sets or SETS if name not in loaded], "tokens_per_second": result.tokens_per_s,
        "p50_latency_ms": result.p50_latency_ms, "cut": result.settings["cut"], "other_files": result.settings["other_files"],
        "figures": json.loads((attempt.output / asking.FIGURES).read_text(encoding="utf-8")), "lacking": means.lacking(list(loaded)),
    }  # fmt: skip
    if (by_run := attempt.output / asking.RUNS).exists():
        metrics["runs"] = json.loads(by_run.read_text(encoding="utf-8"))
    rows: Iterator[dict[str, Any]] = (
        {"set": name, "item": place, "score": score} for name, one in result.tasks.items() for place, score in enumerate(one.items)
    )
    return Outcome(metrics, items=attempt.write_items(rows))


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
