"""The mini-suite asked of a model: every item greedily in batches, scored, and kept as ``suite.json`` with a file of answers a task."""

from __future__ import annotations

import hashlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.engine import decoding, models, tokens
from training.engine.answers import Answer, Pace, Place
from training.engine.attempt import Attempt, Outcome
from training.engine.sampling import Sampling
from training.engine.spec import Suite
from training.suite import mini
from training.suite.results import SuiteResult, TaskResult, file_of


def run(attempt: Attempt) -> Outcome:
    params = attempt.spec.params
    assert isinstance(params, Suite)
    models.set_threads(attempt.spec.threads, attempt.spec.seed)
    model, tokenizer = models.load_to_write(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    asked = mini.items()
    prompts = [tokens.encode_chat(tokenizer, mini.messages(item), generation_prompt=True) for item in asked]
    # Static batches on a GPU as well: continuous ones are made anew every time, and in bfloat16 an answer may hang on its batch.
    decoder = decoding.Decoder(
        attempt, model, tokenizer, Sampling(temperature=0.0), max_new_tokens=params.max_new_tokens, batch_size=params.batch_size
    )
    alone = [at for name in mini.TASKS for at in [at for at, item in enumerate(asked) if item.task == name][: params.alone]]
    answers, pace = _answered(attempt, decoder, prompts, total=len(prompts) + len(alone))
    waited = _alone(attempt, decoder, [prompts[at] for at in alone], done=len(prompts))
    result = SuiteResult(
        suite="mini", model=models.digest(attempt.source("policy")), seed=attempt.spec.seed,
        settings=mini.settings(
            items=asked, max_new_tokens=params.max_new_tokens, template=str(tokenizer.chat_template),
            arithmetic=f"{str(model.dtype).removeprefix('torch.')} on {model.device.type}",
        ),
        tasks=write(attempt.output, asked, answers), tokens_per_s=round(pace.tokens_per_second, 1),
        p50_latency_ms=round(statistics.median(waited), 1), peak_rss_mb=_peak_mb(),
    )  # fmt: skip
    (attempt.output / "suite.json").write_text(result.to_json(), encoding="utf-8")
    return Outcome({
        "scores": {name: {"metric": one.metric, "score": one.score, "n": one.n} for name, one in result.tasks.items()},
        "tokens": pace.tokens, "cut": sum(answer.finish_reason == "length" for answer in answers), "asked_alone": len(waited),
        "tokens_per_second": result.tokens_per_s, "p50_latency_ms": result.p50_latency_ms,
        **({"peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)} if model.device.type == "cuda" else {}),
    })  # fmt: skip


def _answered(attempt: Attempt, decoder: decoding.Decoder, prompts: Sequence[list[int]], *, total: int) -> tuple[list[Answer], Pace]:
    """An answer a prompt in their order, and how fast they came."""
    pace = Pace(attempt, phase="evaluating", done=0, total=total)
    answers: dict[Place, Answer] = {}
    for found in decoder.answers(prompts):
        answers |= found
        pace.add(found.values())
    pace.say()
    return [answers[index, 0] for index in range(len(prompts))], pace


def _alone(attempt: Attempt, decoder: decoding.Decoder, prompts: Sequence[list[int]], *, done: int) -> list[float]:
    """Milliseconds that each prompt, asked by itself of a model that is warm, waits for its whole answer."""
    waited = []
    for number, prompt in enumerate(prompts, start=1):
        begun = time.perf_counter()
        for _ in decoder.answers([prompt]):
            pass
        waited.append(1000 * (time.perf_counter() - begun))
        attempt.events.progress("evaluating", done + number, done + len(prompts))
    return waited


def write(output: Path, asked: Sequence[mini.Item], answers: Sequence[Answer]) -> dict[str, TaskResult]:
    """Score the answers and write them, a file a task; the same answers give the same bytes."""
    output.mkdir(exist_ok=True)
    found = {}
    for name, (_, metric, _) in mini.TASKS.items():
        rows: list[dict[str, Any]] = [
            {"id": item.id, "answer": answer.text, "score": mini.score(item, answer.text), "finish_reason": answer.finish_reason}
            for item, answer in zip(asked, answers, strict=True)
            if item.task == name
        ]
        text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()
        (output / file_of(name)).write_bytes(text)
        scores = [row["score"] for row in rows]
        found[name] = TaskResult(
            metric=metric, higher_is_better=True, n=len(scores), score=statistics.fmean(scores), items=scores,
            outputs_sha256=hashlib.sha256(text).hexdigest(),
        )  # fmt: skip
    return found


def _peak_mb() -> float:
    """The most memory this process has held so far, in MiB: libraries, model and keys and values together."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024), 1)
