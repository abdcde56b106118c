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

from training.engine.clue import prompts, tasks
from training.engine.clue.loaders import Loaded
from training.suite.register import SETS
from training.suite.results import SuiteResult, TaskResult, file_of

# What each run of a set scored by itself, where answers are sampled and the score is the mean of several: a name → scores.
RUNS = "runs.json"


def ask(
    lm: Any, loaded: Mapping[str, Loaded], *, output: Path, model: str, seed: int, mode: str = tasks.GREEDY,
    limit: int | None = None, most_new: int | None = None, peak: Callable[[], float] | None = None,
) -> SuiteResult:  # fmt: skip
    """Ask every set in turn, the first ``limit`` rows of each where it is given. Items are in the sets' own fixed order.

    ``peak``, asked when all is done, gives this process's peak of memory in MB. ``suite.json`` says under settings all that decides a
    score; the same model, sets and settings give the same bytes of answers.
    """
    output.mkdir(parents=True, exist_ok=True)
    # Its warnings quote documents.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    found, runs = {}, {}
    cut: dict[str, int] = {}
    for name, copy in loaded.items():
        task, before = tasks.made(SETS[name], copy, mode=mode, most_new=most_new), getattr(lm, "cut", 0)
        told = evaluate(
            lm, {"tasks": {name: task}, "groups": {}, "group_map": {}}, limit=limit, bootstrap_iters=0, log_samples=True,
            apply_chat_template=True, fewshot_as_multiturn=True,
        )  # fmt: skip
        assert told is not None
        found[name], runs[name] = _result(name, told["samples"][name], output, mode)
        cut[name] = getattr(lm, "cut", 0) - before
    settings = {
        "mode": mode, "limit": limit, "decoding": {"temperature": lm.how.temperature} if hasattr(lm, "how") else {},
        "max_new_tokens": most_new,
        "template": lm.chat_template(True), "template_sha256": _digest(lm.chat_template(True)),
        "system": {name: prompts.SYSTEM[name] for name in loaded},
        "files": {name: copy.digests for name, copy in loaded.items()}, "cut": cut,
        "other_files": sorted(path for copy in loaded.values() for path in copy.differing), "harness": "lm-eval 0.4.13",
        "runs": tasks.COMPAT_RUNS if mode == tasks.COMPAT else 1,
    }  # fmt: skip
    seconds, latencies = getattr(lm, "seconds", 0.0), getattr(lm, "latencies", [])
    result = SuiteResult(
        suite="clue", model=model, seed=seed, settings=settings, tasks=found,
        tokens_per_s=round(lm.written / seconds, 1) if seconds else None,
        p50_latency_ms=round(statistics.median(latencies), 1) if latencies else None, peak_rss_mb=peak() if peak else None,
    )  # fmt: skip
    if by_run := {name: scores for name, scores in runs.items() if scores}:
        (output / RUNS).write_text(json.dumps(by_run, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    (output / "suite.json").write_text(result.to_json(), encoding="utf-8")
    return result


def _result(name: str, samples: list[dict[str, Any]], output: Path, mode: str) -> tuple[TaskResult, list[float]]:
    """The result, and what each run scored. A line of the answers' file has the digests of what was asked beside what was said."""
    wanted = SETS[name]
    rows, by_run = [], []
    for sample in sorted(samples, key=lambda one: one["doc_id"]):
        # Of choices, the log probability of each; of texts, the text, or one a run.
        written = not sample["doc"]["choices"]
        said = sample["filtered_resps"][0] if written else [one[0] for one in sample["filtered_resps"]]
        rows.append(
            {
                "id": sample["doc"]["id"], "answer": said[0] if written and len(said) == 1 else said,
                "doc_sha256": sample["doc_hash"], "prompt_sha256": sample["prompt_hash"], "target_sha256": sample["target_hash"],
            }
            | {key: sample[key] for key in (wanted.metric, *wanted.also)}
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
    return result, [combine(run) for run in zip(*by_run, strict=True)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
