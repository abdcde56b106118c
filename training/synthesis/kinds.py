"""The jobs of synthesis: a stage's rows go out as requests, and what comes back moves them, in the transaction that ends the job."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.models import Sample, Split
from jobs import kinds
from jobs.errors import Unprepared
from jobs.models import Job
from training import endpoints, launch, specs
from training.engine import rundir
from training.synthesis import answers, requests, runs
from training.synthesis.models import ItemState, PairState, RunState, SynthesisRun, SynthesisStep
from training.synthesis.trimming import Rules

QUEUE = "compute"

Item = dict[str, Any]


def register(keep: Any, resume: Any, stage: Any) -> None:
    """Make the kinds known. `keep` and `resume` look after checkpoints of what is answered, `stage` reads a result's items."""
    alike: dict[str, Any] = {"queue": QUEUE, "environment": _environment, "stage": stage, "again": _again}
    asks: dict[str, Any] = alike | {
        "command": lambda job, folder: launch.command(folder), "prepare": _prepare, "keep": keep, "resume": resume, "publish": _publish,
    }  # fmt: skip
    kinds.register(kinds.Kind(name="synthesise", **asks))
    kinds.register(kinds.Kind(name="synthesise-ask", network=True, **asks))
    kinds.register(kinds.Kind(name="synthesise-model", device=True, **asks))
    kinds.register(kinds.Kind(name="synthesis-trim", command=_trim_command, prepare=_prepare_trim, publish=_publish_trim, **alike))


def _environment(job: Job) -> dict[str, str]:
    return launch.environment() | (endpoints.environment(job) if "endpoint" in job.spec else {})


def step_of(job: Job) -> SynthesisStep:
    return SynthesisStep.objects.select_related("run").get(job=job)


def _again(failed: Job, job: Job) -> None:
    """The job that repeats a failed one holds what that held; a run that was paused meanwhile stays so."""
    SynthesisStep.objects.filter(job=failed).update(job=job)


def _prepare(job: Job, folder: Path) -> None:
    step = step_of(job)
    if step.run.corpus is not None:
        try:
            runs.may_see(runs.backend_of(step.run, step.stage), step.run.corpus)
        except runs.NotStarted as no:
            # Struck off the operator's list since it was asked for: not one document goes out.
            raise Unprepared("documents_not_listed", no.message) from None
    rundir.create(folder, specs.engine_spec(job), {"prompts.jsonl": requests.rows(step)})


# --- what comes back -------------------------------------------------------------------------------------------------------------------


def _publish(job: Job, result: dict[str, Any], staged: list[Item]) -> dict[str, Any]:
    step = step_of(job)
    # The run first: whoever pauses or stops it waits, and whoever did is seen.
    run = SynthesisRun.objects.select_for_update(of=("self",)).get(pk=step.run_id)
    sound = [item for item in staged if not item.get("error")]
    if run.state != RunState.STOPPED:
        answers.take(run, step, sound)
    told = result["metrics"]
    step.answered, step.tokens, step.prompt_tokens = len(sound), told.get("tokens", 0), told.get("prompt_tokens", 0)
    step.seconds = float(result.get("seconds", 0))
    step.save(update_fields=["answered", "tokens", "prompt_tokens", "seconds"])
    runs.advance(run=run, ending=job)
    return {
        "run": str(run.public_id), "answered": len(sound), "resumed": told.get("resumed", 0), "tokens": step.tokens,
        "prompt_tokens": step.prompt_tokens,
    }  # fmt: skip


# --- trimming --------------------------------------------------------------------------------------------------------------------------


def _trim_command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", "training.synthesis.trimming", str(folder)]


def _prepare_trim(job: Job, folder: Path) -> None:
    """Candidates, rules and what they must not resemble, as files: the child knows no database."""
    step = step_of(job)
    inputs = folder / rundir.INPUTS
    inputs.mkdir(parents=True, exist_ok=True)
    rules = Rules(most=step.run.options["count"], least=step.run.options["least"])
    (inputs / "rules.json").write_text(json.dumps(rules.__dict__), encoding="utf-8")
    rundir.write_jsonl(inputs / "candidates.jsonl", _candidates(step))
    rundir.write_jsonl(inputs / "evaluation.jsonl", ({"text": text} for text in _held_out()))
    rundir.write_jsonl(inputs / "named.jsonl", ({"text": text} for text in named_texts()))


def _held_out() -> Iterator[str]:
    """Inputs and outputs of the evaluation split, of any source."""
    rows = Sample.objects.filter(split=Split.EVALUATION, withdrawn_at__isnull=True).values_list("input", "output")
    for both in rows.iterator(chunk_size=2000):
        yield from filter(None, both)


def _candidates(step: SynthesisStep) -> Iterator[Item]:
    for pair in step.pairs.select_related("item").order_by("item__number", "number").iterator(chunk_size=2000):
        item = pair.item
        yield {
            "id": pair.pk, "place": [item.number, pair.number], "stratum": [item.task_type, item.document_type, item.output_format],
            "mean": item.mean or 0.0, "instruction": item.instruction, "input": pair.input, "output": pair.output,
        }  # fmt: skip


def named_texts() -> Iterator[str]:
    """Every text in the operator's evaluation files: lines, or of JSON Lines all strings in them. Raises Unprepared without one of them."""
    for name in settings.ROUNDS_EVALUATION_TEXTS:
        try:
            with Path(name).open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    yield from _strings(line.strip())
        except OSError:
            raise Unprepared("no_evaluation_file", f"An evaluation file in the settings cannot be read: {Path(name).name}.") from None


def _strings(line: str) -> Iterator[str]:
    if not line:
        return
    try:
        waiting = [json.loads(line)] if line[0] in "{[" else [line]
    except ValueError:
        waiting = [line]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value.split()) > 3:
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _publish_trim(job: Job, result: dict[str, Any], staged: list[Item]) -> dict[str, Any]:
    step = step_of(job)
    run = SynthesisRun.objects.select_for_update(of=("self",)).get(pk=step.run_id)
    reasons = {int(row["id"]): str(row["reason"])[:40] for row in staged}
    held = list(step.pairs.all())
    answers.only({pair.pk for pair in held}, reasons)
    if run.state != RunState.STOPPED:
        for pair in held:
            why = reasons.get(pair.pk, "lost")
            pair.state, pair.reason, pair.step = (PairState.DROPPED, why, None) if why else (PairState.READY, "", None)
        answers.move(held, ["state", "reason"])
        run.items.filter(state=ItemState.JUDGED).update(state=ItemState.DONE)
        runs.choose_spoilt(run, [pair.pk for pair in held if pair.state == PairState.READY])
    step.answered, step.seconds = len(staged), float(result.get("seconds", 0))
    step.save(update_fields=["answered", "seconds"])
    runs.advance(run=run, ending=job)
    return {"run": str(run.public_id), **result["metrics"]}
