"""Each data set as a task of lm-evaluation-harness: rows already read are its data set, our functions score it. Nothing is fetched, and no
code comes with data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from training.engine.clue import codes, prompts, scorers
from training.engine.clue.loaders import Loaded
from training.suite.register import DataSet

GREEDY, COMPAT = "greedy", "clue_compat"
# CLUE samples, without a seed: what it prints is one draw. Ours is the mean of five, with each of them beside it.
COMPAT_RUNS = 5
# CLUE adds the first item of these two sets to its running mean twice.
COUNTED_TWICE = ("MedNLI", "MeDiSumCode")


def made(wanted: DataSet, loaded: Loaded, *, mode: str = GREEDY, most_new: int | None = None) -> ConfigurableTask:
    """The task of one set. Its system prompt is the task's description, its shots are turns of the conversation."""
    choosing = bool(loaded.rows[0]["choices"])
    # The system turn as a column: anything else the harness compiles as a template, for every row anew.
    rows = [row | {"system": prompts.SYSTEM[wanted.name]} for row in loaded.rows]
    splits = {"test": Dataset.from_list(rows)} | ({"shots": Dataset.from_list(loaded.shots)} if loaded.shots else {})
    config: dict[str, Any] = {
        "task": wanted.name,
        "custom_dataset": lambda **_: splits,
        "test_split": "test",
        "description": "system",
        "doc_to_text": "user",
        "doc_to_target": "answer" if choosing else "target",
        "num_fewshot": len(loaded.shots),
        "process_results": _chosen if choosing else _scorer(wanted),
        "metric_list": [
            {"metric": name, "aggregation": mean_of(wanted.name, mode), "higher_is_better": True} for name in (wanted.metric, *wanted.also)
        ],
        "fewshot_delimiter": "\n\n",
        "metadata": {"version": 1},
    }  # fmt: skip
    if loaded.shots:
        config |= {"fewshot_split": "shots", "fewshot_config": {"sampler": "first_n"}}
    if choosing:
        config |= {"output_type": "multiple_choice", "doc_to_choice": "choices"}
    else:
        cap = wanted.cap if most_new is None else min(wanted.cap, most_new)
        runs = COMPAT_RUNS if mode == COMPAT else 1
        config |= {
            "output_type": "generate_until", "repeats": runs,
            "generation_kwargs": {"until": ["<|end|>"], "max_gen_toks": cap, "do_sample": mode == COMPAT},
            "filter_list": [{"name": "all runs", "filter": [{"function": "take_first_k", "k": runs}]}],
        }  # fmt: skip
    return ConfigurableTask(config=config)


Results = Sequence[Any]


def _chosen(doc: Mapping[str, Any], results: Results) -> scorers.Figures:
    """Right when the right choice is the likeliest; of equally likely ones the first counts, as in the harness."""
    told = [logp for logp, _ in results]
    return {"accuracy": float(told.index(max(told)) == doc["answer"])}


def scorer(wanted: DataSet) -> Callable[[str, Any], scorers.Figures]:
    """(answer, gold) → figures of a set whose answers are written."""
    by_task: dict[str, Callable[[str, Any], scorers.Figures]] = {
        "nli": scorers.label_once, "summary": scorers.rouge, "qa": scorers.rouge, "error": scorers.medec, "extraction": scorers.sdoh,
        "choice": scorers.lettered, "coding": lambda answer, gold: scorers.icd_codes(answer, gold, codes.known()),
    }  # fmt: skip
    return by_task[wanted.task]


def _scorer(wanted: DataSet) -> Callable[[Mapping[str, Any], Results], scorers.Figures]:
    """The mean of each figure over all runs of an item."""
    score = scorer(wanted)

    def scored(doc: Mapping[str, Any], results: Results) -> scorers.Figures:
        runs = [score(text.strip(), json.loads(doc["gold"])) for text in results[0]]
        return {name: mean([run[name] for run in runs]) for name in runs[0]}

    return scored


def mean_of(name: str, mode: str) -> Callable[[Sequence[float]], float]:
    return twice_the_first if mode == COMPAT and name in COUNTED_TWICE else mean


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def twice_the_first(values: Sequence[float]) -> float:
    return mean([values[0], *values])
