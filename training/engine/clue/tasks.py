"""Each data set as a task of lm-evaluation-harness, said once: what we ask ourselves, and what a written pack's YAML says (pack.py). Rows
already read are its data set, our functions score it. Nothing is fetched, and no code comes with data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.task import ConfigurableTask

from training.engine.clue import prompts, scorers
from training.engine.clue.loaders import Loaded
from training.suite.register import DataSet

GREEDY, COMPAT = "greedy", "clue_compat"
# CLUE samples, without a seed: what it prints is one draw. Ours is the mean of five, with each of them beside it.
COMPAT_RUNS = 5
# CLUE adds the first item of these two sets to its running mean twice.
COUNTED_TWICE = ("MedNLI", "MeDiSumCode")
GROUP = "rounds_clue"
HARNESS = "lm-eval 0.4.13"

# By the kind of a set whose answers are written: what scores one answer, and by which name the harness calls it.
WRITTEN: dict[str, tuple[Callable[[str, Any], scorers.Figures], str]] = {
    "nli": (scorers.label_once, "score_label"), "summary": (scorers.rouge, "score_rouge"), "qa": (scorers.rouge, "score_rouge"),
    "error": (scorers.medec, "score_medec"), "extraction": (scorers.sdoh, "score_sdoh"), "choice": (scorers.lettered, "score_letter"),
    "coding": (scorers.coded, "score_codes"),
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """One of ours in `scorers`, by its name: YAML says `!function scorers.NAME`."""

    name: str


def named(wanted: DataSet) -> str:
    """A task's name, which none of the harness's own has."""
    return f"{GROUP}_{re.sub(r'[^a-z0-9]+', '_', wanted.name.lower())}"


def definition(wanted: DataSet, loaded: Loaded, *, mode: str = GREEDY, most_new: int | None = None) -> dict[str, Any]:
    """The task of one set, but for its rows. Its system prompt is the task's description, its shots are turns of the conversation."""
    choosing = bool(loaded.rows[0]["choices"])
    twice = mode == COMPAT and wanted.name in COUNTED_TWICE
    config: dict[str, Any] = {
        "task": named(wanted),
        "test_split": "test",
        "description": "system",
        "doc_to_text": "user",
        "doc_to_target": "answer" if choosing else "target",
        "num_fewshot": len(loaded.shots),
        "process_results": Function("chosen" if choosing else WRITTEN[wanted.task][1]),
        "metric_list": [
            {"metric": name, "aggregation": Function("twice_the_first" if twice else "mean"), "higher_is_better": True}
            for name in (wanted.metric, *wanted.also)
        ],
        "fewshot_delimiter": "\n\n",
        "metadata": {"version": 1},
    }  # fmt: skip
    if loaded.shots:
        config |= {"fewshot_split": "shots", "fewshot_config": {"sampler": "first_n"}}
    if choosing:
        return config | {"output_type": "multiple_choice", "doc_to_choice": "choices"}
    cap = wanted.cap if most_new is None else min(wanted.cap, most_new)
    runs = COMPAT_RUNS if mode == COMPAT else 1
    return config | {
        "output_type": "generate_until", "repeats": runs,
        "generation_kwargs": {"until": ["<|end|>"], "max_gen_toks": cap, "do_sample": mode == COMPAT},
        "filter_list": [{"name": "all runs", "filter": [{"function": "take_first_k", "k": runs}]}],
    }  # fmt: skip


def made(wanted: DataSet, loaded: Loaded, *, mode: str = GREEDY, most_new: int | None = None) -> ConfigurableTask:
    """The task with its rows, which are in memory."""
    splits = scorers.splits(loaded.rows, loaded.shots, prompts.SYSTEM[wanted.name])
    config = called(definition(wanted, loaded, mode=mode, most_new=most_new), lambda one: getattr(scorers, one.name))
    return ConfigurableTask(config=config | {"custom_dataset": lambda **_: splits})


def called(value: Any, how: Callable[[Function], Any]) -> Any:
    """A definition in which every function is what ``how`` makes of it."""
    if isinstance(value, Function):
        return how(value)
    if isinstance(value, Mapping):
        return {name: called(one, how) for name, one in value.items()}
    return [called(one, how) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def scorer(wanted: DataSet) -> Callable[[str, Any], scorers.Figures]:
    """(answer, gold) → figures of a set whose answers are written."""
    return WRITTEN[wanted.task][0]


def mean_of(name: str, mode: str) -> Callable[[Sequence[float]], float]:
    return scorers.twice_the_first if mode == COMPAT and name in COUNTED_TWICE else scorers.mean
