"""A suite of CLUE+'s tasks asked of one model, and what came of it as files: ``suite.json`` and one file of answers a task."""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate

from training.engine.clue import meaning, prompts, scorers, tasks
from training.engine.clue.loaders import Loaded
from training.engine.clue.meaning import Means
from training.suite.register import SETS, DataSet
from training.suite.results import SuiteResult, TaskResult, file_of

# What each run of a set scored by itself, where answers are sampled and the score is the mean of several: a name → scores.
RUNS = "runs.json"
# The mean of every figure of a set, those beside its metric too: a name → figure → mean.
FIGURES = "figures.json"


def ask(
    lm: Any, loaded: Mapping[str, Loaded], *, output: Path, model: str, seed: int, mode: str = tasks.GREEDY,
    limit: int | None = None, most_new: int | None = None, means: Means | None = None, peak: Callable[[], float] | None = None,
    check: Callable[[], None] = lambda: None,
) -> SuiteResult:  # fmt: skip
    """Ask every set in turn, the first ``limit`` rows of each where it is given. Items are in the sets' own fixed order.

    ``means`` are what BERTScore and UMLS-F1 are computed by, ``check`` is asked on the way there. ``peak``, asked when all is done, gives
    this process's peak of memory in MB. ``suite.json`` says under settings all that decides a score; the same model, sets and settings
    give the same bytes of answers.
    """
    output.mkdir(parents=True, exist_ok=True)
    # Its warnings quote documents.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    samples: dict[str, list[dict[str, Any]]] = {}
    cut: dict[str, int] = {}
    for name, copy in loaded.items():
        task, before = tasks.made(SETS[name], copy, mode=mode, most_new=most_new), getattr(lm, "cut", 0)
        told = evaluate(
            lm, {"tasks": {task.task_name: task}, "groups": {}, "group_map": {}}, limit=limit, bootstrap_iters=0, log_samples=True,
            apply_chat_template=True, fewshot_as_multiturn=True,
        )  # fmt: skip
        assert told is not None
        samples[name] = [_kept(SETS[name], one) for one in sorted(told["samples"][task.task_name], key=lambda one: one["doc_id"])]
        cut[name] = getattr(lm, "cut", 0) - before
    beside, by_what = meaning.figures(_said(samples), means or Means(), check=check)
    found, runs, all_figures = {}, {}, {}
    for name in loaded:
        found[name], runs[name], all_figures[name] = _result(name, samples[name], beside.get(name, []), output, mode)
    settings = {
        "mode": mode, "limit": limit, "decoding": {"temperature": lm.how.temperature} if hasattr(lm, "how") else {},
        "max_new_tokens": most_new,
        "template": lm.chat_template(True), "template_sha256": _digest(lm.chat_template(True)),
        "system": {name: prompts.SYSTEM[name] for name in loaded},
        "files": {name: copy.digests for name, copy in loaded.items()}, "cut": cut,
        "other_files": sorted(path for copy in loaded.values() for path in copy.differing), "harness": tasks.HARNESS,
        "runs": tasks.COMPAT_RUNS if mode == tasks.COMPAT else 1, **({"meaning": by_what} if by_what else {}),
    }  # fmt: skip
    seconds, latencies = getattr(lm, "seconds", 0.0), getattr(lm, "latencies", [])
    result = SuiteResult(
        suite="clue", model=model, seed=seed, settings=settings, tasks=found,
        tokens_per_s=round(lm.written / seconds, 1) if seconds else None,
        p50_latency_ms=round(statistics.median(latencies), 1) if latencies else None, peak_rss_mb=peak() if peak else None,
    )  # fmt: skip
    if by_run := {name: scores for name, scores in runs.items() if scores}:
        (output / RUNS).write_text(json.dumps(by_run, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    (output / FIGURES).write_text(json.dumps(all_figures, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    (output / "suite.json").write_text(result.to_json(), encoding="utf-8")
    return result


def _kept(wanted: DataSet, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Of an item what is still needed when all sets are asked: not its prompt, of which there are gigabytes."""
    names = ("filtered_resps", "doc_hash", "prompt_hash", "target_hash", wanted.metric, *wanted.also)
    return {key: sample[key] for key in names} | {"doc": {key: sample["doc"][key] for key in ("id", "choices", "gold")}}


def _said(samples: Mapping[str, list[dict[str, Any]]]) -> dict[str, meaning.Said]:
    """Of the sets that are compared by meaning too: what was said in each run, and the gold, item by item."""
    return {
        name: [(sample["filtered_resps"][0], json.loads(sample["doc"]["gold"])) for sample in told]
        for name, told in samples.items()
        if SETS[name].meaning
    }


def _result(
    name: str, samples: list[dict[str, Any]], beside: list[scorers.Figures], output: Path, mode: str
) -> tuple[TaskResult, list[float], scorers.Figures]:  # fmt: skip
    """The result, what each run scored, and the mean of every figure. A line of the answers' file has the digests of what was asked beside
    what was said."""
    wanted = SETS[name]
    rows, by_run = [], []
    for place, sample in enumerate(samples):
        # Of choices, the log probability of each; of texts, the text, or one a run.
        written = not sample["doc"]["choices"]
        said = sample["filtered_resps"][0] if written else [one[0] for one in sample["filtered_resps"]]
        figures = {key: sample[key] for key in (wanted.metric, *wanted.also)} | (beside[place] if beside else {})
        rows.append(
            {
                "id": sample["doc"]["id"], "answer": said[0] if written and len(said) == 1 else said,
                "doc_sha256": sample["doc_hash"], "prompt_sha256": sample["prompt_hash"], "target_sha256": sample["target_hash"], **figures,
            }
        )  # fmt: skip
        if written and len(said) > 1:
            by_run.append([tasks.scorer(wanted)(text.strip(), json.loads(sample["doc"]["gold"]))[wanted.metric] for text in said])
    text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()
    (output / file_of(name)).write_bytes(text)
    items = [float(row[wanted.metric]) for row in rows]
    combine = tasks.mean_of(name, mode)
    result = TaskResult(
        metric=wanted.metric, higher_is_better=True, n=len(items), score=combine(items), items=items,
        outputs_sha256=hashlib.sha256(text).hexdigest(),
    )  # fmt: skip
    return result, [combine(run) for run in zip(*by_run, strict=True)], {key: combine([row[key] for row in rows]) for key in figures}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
