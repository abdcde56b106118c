"""The jobs of synthesis: a stage's rows go out as requests, and what comes back moves them, in the transaction that ends the job."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation import documents
from annotation.models import Sample, Split
from jobs import kinds
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job
from training import endpoints, launch, specs
from training.engine import rundir
from training.synthesis import parsing, requests, runs
from training.synthesis.models import (
    ItemState,
    PairState,
    Purpose,
    RunState,
    Stage,
    SynthesisAnswer,
    SynthesisItem,
    SynthesisPair,
    SynthesisRun,
    SynthesisStep,
)  # fmt: skip
from training.synthesis.parsing import Refused
from training.synthesis.trimming import Rules

QUEUE = "compute"
UNANSWERED = "unanswered"

Item = dict[str, Any]


def register(keep: Any, resume: Any, stage: Any) -> None:
    """Make the kinds known. `keep` and `resume` look after checkpoints of what is answered, `stage` reads a result's items."""
    for name, network, device in (("synthesise", False, False), ("synthesise-ask", True, False), ("synthesise-model", False, True)):
        kinds.register(
            kinds.Kind(
                name=name,
                queue=QUEUE,
                command=lambda job, folder: launch.command(folder),
                environment=_environment,
                prepare=_prepare,
                keep=keep,
                resume=resume,
                stage=stage,
                publish=_publish,
                again=_again,
                device=device,
                network=network,
            )
        )
    kinds.register(
        kinds.Kind(
            name="synthesis-trim",
            queue=QUEUE,
            command=_trim_command,
            environment=_environment,
            prepare=_prepare_trim,
            stage=stage,
            publish=_publish_trim,
            again=_again,
        )
    )


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
    answers = [item for item in staged if not item.get("error")]
    if run.state != RunState.STOPPED:
        match step.stage:
            case Stage.WRITE if run.purpose == Purpose.OUTPUTS:
                _outputs(run, step, answers)
            case Stage.WRITE:
                _written(step, answers)
            case Stage.JUDGE:
                _judged(step, answers)
            case Stage.REJECT:
                _spoilt(step, answers)
            case Stage.COMPARE:
                _compared(step, answers)
    told = result["metrics"]
    step.answered, step.tokens, step.prompt_tokens = len(answers), told.get("tokens", 0), told.get("prompt_tokens", 0)
    step.seconds = float(result.get("seconds", 0))
    step.save(update_fields=["answered", "tokens", "prompt_tokens", "seconds"])
    runs.advance(run=run, ending=job)
    return {"run": str(run.public_id), "answered": len(answers), "tokens": step.tokens, "prompt_tokens": step.prompt_tokens}


def _text(item: Item) -> str:
    # PostgreSQL stores no NUL, and a model may write one.
    return str(item["text"]).replace("\x00", "\ufffd")


def _note(item: SynthesisItem, stage: Stage, number: int, answer: Item, refused: str) -> SynthesisAnswer:
    return SynthesisAnswer(
        item=item, stage=stage, number=number, text=_text(answer), finish_reason=str(answer["finish_reason"])[:20], tokens=answer["tokens"],
        refused=refused,
    )  # fmt: skip


def _keep(notes: list[SynthesisAnswer]) -> None:
    """The last answer in a place stays: what was unanswered, or refused and asked again, was an answer too few."""
    SynthesisAnswer.objects.bulk_create(
        notes, batch_size=1000, update_conflicts=True, unique_fields=["item", "stage", "number"],
        update_fields=["text", "finish_reason", "tokens", "refused"],
    )  # fmt: skip


def _move(rows: list[Any], fields: list[str]) -> None:
    if rows:
        type(rows[0]).objects.bulk_update(rows, [*fields, "step", "tries"], batch_size=runs.AT_ONCE)


def _unanswered(row: Any, refused: str, dropped: str) -> None:
    """Asked again a few times, then given up."""
    row.step, row.tries = None, row.tries + 1
    if row.tries >= runs.TRIES:
        row.state, row.reason = dropped, refused


def _by_item(step: SynthesisStep, answers: list[Item]) -> Iterator[tuple[SynthesisItem, list[Item]]]:
    found: dict[str, list[Item]] = {}
    for answer in answers:
        found.setdefault(str(answer["id"]), []).append(answer)
    held = {str(item.pk): item for item in step.items.order_by("number")}
    _only(held.keys(), found.keys())
    for pk, item in held.items():
        yield item, sorted(found.get(pk, []), key=lambda answer: int(answer["n"]))


def _only(held: Any, found: Any) -> None:
    if foreign := set(found) - set(held):
        raise EngineFailed("bad_items", f"{len(foreign)} answers are to nothing that was asked.")


def _written(step: SynthesisStep, answers: list[Item]) -> None:
    moved, notes, pairs = [], [], []
    for item, found in _by_item(step, answers):
        moved.append(item)
        if not found:
            _unanswered(item, UNANSWERED, ItemState.REFUSED)
            continue
        item.step = None
        try:
            made = parsing.written(_text(found[0]))
        except Refused as refused:
            item.state, item.reason = ItemState.REFUSED, refused.reason
            notes.append(_note(item, Stage.WRITE, 0, found[0], refused.reason))
            continue
        item.state, item.instruction = ItemState.WRITTEN, made.instruction
        notes.append(_note(item, Stage.WRITE, 0, found[0], ""))
        pairs += [
            SynthesisPair(item=item, number=number, input=given, output=output) for number, (given, output) in enumerate(made.pairs, 1)
        ]
    _keep(notes)
    _move(moved, ["state", "reason", "instruction"])
    SynthesisPair.objects.bulk_create(pairs, batch_size=1000)


def _judged(step: SynthesisStep, answers: list[Item]) -> None:
    """Means over the sound draws; an instruction with too few of them is refused, for the reason most of its draws were."""
    moved, notes, refused_items = [], [], []
    for item, found in _by_item(step, answers):
        moved.append(item)
        draws, reasons = [], Counter[str]()
        for answer in found:
            why = ""
            try:
                draws.append(parsing.scores(_text(answer)))
            except Refused as refused:
                why = refused.reason
                reasons[why] += 1
            notes.append(_note(item, Stage.JUDGE, int(answer["n"]), answer, why))
        item.step = None
        if len(draws) >= runs.ENOUGH:
            item.scores = parsing.means(draws)
            item.mean = sum(item.scores.values()) / len(item.scores)
            item.state = ItemState.JUDGED
        elif not found:
            _unanswered(item, UNANSWERED, ItemState.REFUSED)
        else:
            item.state, item.reason = ItemState.REFUSED, f"judge {(reasons.most_common(1) or [('silent', 0)])[0][0]}"
        if item.state == ItemState.REFUSED:
            refused_items.append(item)
    _keep(notes)
    _move(moved, ["state", "reason", "scores", "mean"])
    SynthesisPair.objects.filter(item__in=refused_items).update(state=PairState.DROPPED, reason="not_judged")


def _by_pair(step: SynthesisStep, answers: list[Item]) -> Iterator[tuple[SynthesisPair, dict[int, Item]]]:
    """Each pair with its answers, by order where it was asked in two."""
    found: dict[str, dict[int, Item]] = {}
    for answer in answers:
        pk, _, order = str(answer["id"]).partition(":")
        found.setdefault(pk, {})[int(order or 0)] = answer
    held = {str(pair.pk): pair for pair in step.pairs.select_related("item").order_by("item__number", "number")}
    _only(held.keys(), found.keys())
    for pk, pair in held.items():
        yield pair, found.get(pk, {})


def _without(pair: SynthesisPair, note: str) -> None:
    """It stays a sample, but for the rejected output."""
    pair.rejected_output, pair.note, pair.state = "", note, PairState.READY


def _spoilt(step: SynthesisStep, answers: list[Item]) -> None:
    moved, notes = [], []
    for pair, found in _by_pair(step, answers):
        moved.append(pair)
        pair.step = None
        if 0 not in found:
            pair.tries += 1
            if pair.tries >= runs.TRIES:
                _without(pair, UNANSWERED)
            continue
        why = ""
        try:
            pair.rejected_output = parsing.spoilt(_text(found[0]), error=pair.error_type, output=pair.output)
            pair.state, pair.tries = PairState.TO_COMPARE, 0
        except Refused as refused:
            why = refused.reason
            _without(pair, why)
        notes.append(_note(pair.item, Stage.REJECT, 10 * pair.number, found[0], why))
    _keep(notes)
    _move(moved, ["state", "note", "rejected_output"])


def _compared(step: SynthesisStep, answers: list[Item]) -> None:
    """A rejected output stays where a judge prefers the output in both orders; a flip is a tie, and a tie teaches nothing."""
    moved, notes = [], []
    for pair, found in _by_pair(step, answers):
        moved.append(pair)
        pair.step = None
        said: dict[int, str] = {}
        for order, answer in found.items():
            why = ""
            try:
                said[order] = parsing.better(_text(answer))
            except Refused as refused:
                why = refused.reason
            notes.append(_note(pair.item, Stage.COMPARE, 10 * pair.number + order, answer, why))
        if len(found) < 2:
            pair.tries += 1
            if pair.tries >= runs.TRIES:
                _without(pair, UNANSWERED)
        elif len(said) < 2:
            _without(pair, "comparison refused")
        else:
            pair.preferred = parsing.both_orders(said[0], said[1])
            pair.state = PairState.READY
            if pair.preferred != "output":
                _without(pair, "tie" if pair.preferred == "tie" else "preferred to the output")
    _keep(notes)
    _move(moved, ["state", "note", "rejected_output", "preferred"])


def _outputs(run: SynthesisRun, step: SynthesisStep, answers: list[Item]) -> None:
    """Outputs of documents; an output that has not the shape of its kind is refused."""
    moved, notes, rows = [], [], []
    for item, found in _by_item(step, answers):
        moved.append(item)
        if not found:
            _unanswered(item, UNANSWERED, ItemState.REFUSED)
            continue
        item.step = None
        why = ""
        try:
            assert item.document_id is not None
            rows.append((item.document_id, item.task_type, parsing.content(_text(found[0]), item.task_type)))
            item.state = ItemState.DONE
        except Refused as refused:
            why = refused.reason
            item.state, item.reason = ItemState.REFUSED, why
        notes.append(_note(item, Stage.WRITE, 0, found[0], why))
    assert run.corpus is not None
    wrong = documents.add_outputs(corpus=run.corpus, rows=rows, actor=run.created_by) if rows else set()
    for item in moved:
        if (item.document_id, item.task_type) in wrong:
            item.state, item.reason = ItemState.REFUSED, "wrong_shape"
    _keep(notes)
    _move(moved, ["state", "reason"])


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
    held_out = Sample.objects.filter(split=Split.EVALUATION, withdrawn_at__isnull=True).values_list("input", flat=True)
    rundir.write_jsonl(inputs / "evaluation.jsonl", ({"text": text} for text in held_out.iterator(chunk_size=2000)))
    rundir.write_jsonl(inputs / "named.jsonl", ({"text": text} for text in named_texts()))


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
    _only({pair.pk for pair in held}, reasons)
    if run.state != RunState.STOPPED:
        for pair in held:
            why = reasons.get(pair.pk, "lost")
            pair.state, pair.reason, pair.step = (PairState.DROPPED, why, None) if why else (PairState.READY, "", None)
        _move(held, ["state", "reason"])
        run.items.filter(state=ItemState.JUDGED).update(state=ItemState.DONE)
        runs.choose_spoilt(run, [pair.pk for pair in held if pair.state == PairState.READY])
    step.answered, step.seconds = len(staged), float(result.get("seconds", 0))
    step.save(update_fields=["answered", "seconds"])
    runs.advance(run=run, ending=job)
    return {"run": str(run.public_id), **result["metrics"]}
