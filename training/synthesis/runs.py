"""Synthesis runs: started, moved on step by step, paused, resumed and stopped. Rows hold the state; a job that is repeated changes nothing.

An item is drawn, written, judged and done; a pair is new, perhaps to be spoilt and compared, ready and stored, or dropped with a reason.
Each job holds rows of one stage and moves them in the transaction that ends it; then `advance` asks for the next. One job of a stage runs
at a time, so a server's limits are kept by the one child that asks it.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from json import dumps
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import samples
from annotation.models import Corpus, Document, OutputKind, Sample, Source
from annotation.records import ImportRefused
from jobs import submissions
from jobs.models import WAITING, Job
from modelhub import tokens
from modelhub.models import ModelVersion
from training import endpoints, specs
from training.engine.grammar import grid
from training.engine.grammar.grid import ERRORS
from training.synthesis import backends, prompts
from training.synthesis.backends import Backend
from training.synthesis.models import (
    ItemState,
    PairState,
    Purpose,
    RunState,
    Stage,
    SynthesisItem,
    SynthesisPair,
    SynthesisRun,
    SynthesisStep,
)  # fmt: skip

MOST_SAMPLES = 50_000
# Rows of one UPDATE: a worker's transaction may not idle for ten seconds (jobs/patience.py), and building a long one takes a while.
AT_ONCE = 100
# Rows a job holds: few enough that one which fails for good costs little.
CHUNKS = {backends.GRAMMAR: 500, backends.ENDPOINT: 100, backends.MODEL: 100}
# Instructions drawn for each that will be needed, as some will be refused or dropped.
SPARE = {backends.GRAMMAR: 1.05, backends.ENDPOINT: 1.4, backends.MODEL: 1.4}
PAIRS = 3.5  # of an instruction, on average
DRAWS = 5  # of the judge
ENOUGH = 3  # of them have to be sound
TRIES = 3
CHECKPOINT_SECONDS = 5.0
TOKENS = {Stage.WRITE: 3000, Stage.JUDGE: 900, Stage.REJECT: 1200, Stage.COMPARE: 500}


class NotStarted(Exception):
    """What was asked for cannot be synthesised; `field` of the form and a sentence say why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


class NotPossible(Exception):
    """The run is not in a state in which this can be done."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What samples are asked for. Empty selections mean the whole grid. `spoilt` is the share that gets a rejected output, 0…1."""

    count: int
    tasks: Sequence[str] = ()
    documents: Sequence[str] = ()
    formats: Sequence[str] = ()
    difficulties: Sequence[str] = ()
    least: float = 1.0
    spoilt: float = 0.0
    max_new_tokens: int | None = None

    def items(self, generator: Backend) -> int:
        return math.ceil(self.count * SPARE[generator.kind] / PAIRS)

    def selection(self) -> dict[str, Sequence[str]]:
        whole = {"tasks": grid.TASKS, "documents": tuple(grid.DOCUMENTS), "formats": grid.FORMATS, "difficulties": grid.DIFFICULTIES}
        return {name: tuple(one for one in every if one in (getattr(self, name) or every)) for name, every in whole.items()}


@transaction.atomic
def start(
    *, name: str, wanted: Wanted, generator: Backend, judge: Backend, seed: int, licence: str, actor: User | None, override: str = ""
) -> SynthesisRun:
    """Draw the grid and ask for the first texts. Raises NotStarted, naming the field that is wrong."""
    _check_name(name, licence)
    if not 1 <= wanted.count <= MOST_SAMPLES:
        raise NotStarted("count", f"From 1 to {MOST_SAMPLES:,} samples.")
    if generator.family.casefold() == judge.family.casefold() and not override.strip():
        raise NotStarted("judge", f"Both are of the family {judge.family}: choose a judge of another, or write down why not.")
    _check_room("generator", generator, prompts.WRITE, wanted.max_new_tokens or TOKENS[Stage.WRITE])
    _check_room("judge", judge, prompts.JUDGE + prompts.scale(), wanted.max_new_tokens or TOKENS[Stage.JUDGE])
    chosen = wanted.selection()
    options = {
        "count": wanted.count, **{key: list(value) for key, value in chosen.items()}, "least": wanted.least, "spoilt": wanted.spoilt,
        "max_new_tokens": wanted.max_new_tokens,
    }  # fmt: skip
    run = SynthesisRun.objects.create(
        name=name, generator=generator.as_json(), judge=judge.as_json(), options=options, seed=seed, licence=licence, created_by=actor,
        override=override.strip()[:300], prompts=prompts.used("write", "judge", *(("reject", "compare") if wanted.spoilt else ())),
    )  # fmt: skip
    cells = grid.draw(count=wanted.items(generator), seed=seed, **chosen)
    SynthesisItem.objects.bulk_create(
        (
            SynthesisItem(
                run=run, number=number, task_type=cell.task, document_type=cell.document, part=cell.part, difficulty=cell.difficulty,
                output_format=cell.format, temperature=cell.temperature, examples=cell.examples,
            )
            for number, cell in enumerate(cells, start=1)
        ),
        batch_size=2000,
    )  # fmt: skip
    audit.record(
        actor, "synthesis.started", run, items=len(cells), samples=wanted.count, generator=generator.label, judge=judge.label,
        override=bool(run.override),
    )  # fmt: skip
    advance(run=run)
    return run


@transaction.atomic
def read_documents(
    *, name: str, corpus: Corpus, kinds: Sequence[str], generator: Backend, seed: int, actor: User | None, most: int | None = None
) -> SynthesisRun:
    """Ask for task outputs (arXiv 2505.10717, section 3.1.2) of live documents that lack them. Raises NotStarted.

    A server sees no document but of corpora that the operator has listed for it.
    """
    _check_name(name, corpus.licence)
    if unknown := set(kinds) - set(OutputKind.values):
        raise NotStarted("kinds", f"Unknown: {', '.join(sorted(unknown))}.")
    may_see(generator, corpus)
    lacking = [(document, kind) for kind in OutputKind.values if kind in kinds for document in _lacking(corpus, kind)[:most]]
    if not lacking:
        raise NotStarted("corpus", "Every document has these outputs already.")
    run = SynthesisRun.objects.create(
        name=name, purpose=Purpose.OUTPUTS, generator=generator.as_json(), options={"kinds": list(kinds)}, seed=seed,
        licence=corpus.licence, corpus=corpus, created_by=actor, prompts=prompts.used("outputs"),
    )  # fmt: skip
    SynthesisItem.objects.bulk_create(
        (SynthesisItem(run=run, number=number, task_type=kind, document_id=pk) for number, (pk, kind) in enumerate(lacking, start=1)),
        batch_size=2000,
    )
    audit.record(actor, "synthesis.started", run, items=len(lacking), corpus=corpus.name, generator=generator.label)
    advance(run=run)
    return run


def _lacking(corpus: Corpus, kind: str) -> "QuerySet[Document, int]":
    return Document.objects.live().filter(corpus=corpus).exclude(outputs__kind=kind).order_by("digest").values_list("pk", flat=True)


def may_see(generator: Backend, corpus: Corpus) -> None:
    """Raises NotStarted for a server for which the operator has not listed the corpus: identifiable text never goes out."""
    if generator.kind == backends.ENDPOINT and corpus.name not in endpoints.about(generator.name).documents:
        raise NotStarted("generator", f"The operator has not listed the documents of {corpus.name} for the server {generator.name}.")


def _check_room(field: str, backend: Backend, prompt: str, answer: int) -> None:
    """Raises NotStarted for a model of ours that cannot hold our prompt and an answer at once: its jobs would fail, each of them."""
    if backend.kind != backends.MODEL:
        return
    version = ModelVersion.objects.get(public_id=backend.name)
    room, asked = tokens.context(version), tokens.counter(tokens.file_of(version)).count(prompt) + tokens.A_TURN
    if room and asked + answer > room:
        raise NotStarted(
            field,
            f"{backend.label} has room for {room:,} tokens, and our prompt takes {asked:,} of them before an answer of up to {answer:,}. "
            "Choose another, or shorter answers.",
        )


def _check_name(name: str, licence: str) -> None:
    if not name.strip() or len(name) > 80:
        raise NotStarted("name", "Name the run in 1 to 80 characters.")
    if SynthesisRun.objects.filter(name=name).exists() or Source.objects.filter(name=name).exists():
        raise NotStarted("name", "A run or a source has this name.")
    if not licence.strip() or len(licence) > 80:
        raise NotStarted("licence", "Name the licence in 1 to 80 characters.")


# --- moving on -------------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def advance(*, run: SynthesisRun, ending: Job | None = None) -> None:
    """Ask for whatever is free to be done next; when nothing is left, store what is ready and end. Repeating it changes nothing.

    `ending` is the job in whose last transaction this is called.
    """
    run = SynthesisRun.objects.select_for_update().get(pk=run.pk)
    if run.state != RunState.RUNNING:
        return
    busy = set(run.steps.going().exclude(job=ending).values_list("stage", flat=True))
    asked = False
    for stage, free in _free(run):
        if stage not in busy and free.exists():
            _ask(run, stage, free)
            asked = True
    if asked or busy or run.items.filter(state__in=(ItemState.DRAWN, ItemState.WRITTEN)).exists():
        return
    if run.purpose == Purpose.SAMPLES:
        pairs = SynthesisPair.objects.filter(item__run=run)
        if pairs.filter(state__in=(PairState.TO_SPOIL, PairState.TO_COMPARE)).exists():
            return
        if new := list(pairs.filter(state=PairState.NEW).values_list("pk", "step")):
            # Held already: its job failed, and somebody has to say that it may be tried again.
            if all(step is None for _, step in new):
                _submit(run, Stage.TRIM, [pk for pk, _ in new], "synthesis-trim", {})
            return
        _store(run)
    run.state, run.ended_at = RunState.DONE, Now()
    run.save(update_fields=["state", "ended_at", "source"])
    audit.record(run.created_by, "synthesis.done", run, stored=SynthesisPair.objects.filter(item__run=run, sample__isnull=False).count())


def _free(run: SynthesisRun) -> list[tuple[Stage, "QuerySet[Any]"]]:
    """What waits for each stage and is held by no job."""
    items = run.items.filter(step=None)
    pairs = SynthesisPair.objects.filter(item__run=run, step=None)
    return [
        (Stage.WRITE, items.filter(state=ItemState.DRAWN).order_by("number")),
        (Stage.JUDGE, items.filter(state=ItemState.WRITTEN).order_by("number")),
        (Stage.REJECT, pairs.filter(state=PairState.TO_SPOIL).order_by("item__number", "number")),
        (Stage.COMPARE, pairs.filter(state=PairState.TO_COMPARE).order_by("item__number", "number")),
    ]


def backend_of(run: SynthesisRun, stage: str) -> Backend:
    return backends.from_json(run.judge if stage in (Stage.JUDGE, Stage.COMPARE) else run.generator)


def _ask(run: SynthesisRun, stage: Stage, free: "QuerySet[Any]") -> None:
    backend = backend_of(run, stage)
    temperature = 1.0
    if stage == Stage.WRITE:
        # One job has one temperature.
        temperature = free.values_list("temperature", flat=True)[0]
        free = free.filter(temperature=temperature)
    held = list(free.values_list("pk", flat=True)[: CHUNKS[backend.kind]])
    params: dict[str, Any] = {
        "temperature": temperature, "max_new_tokens": run.options.get("max_new_tokens") or TOKENS[stage],
        "n": DRAWS if stage == Stage.JUDGE else 1, "checkpoint_seconds": CHECKPOINT_SECONDS,
    }  # fmt: skip
    if backend.kind == backends.GRAMMAR:
        params["grammar"] = True
    elif backend.kind == backends.ENDPOINT and stage in prompts.SCHEMAS:
        params["schema"] = prompts.SCHEMAS[stage]
    params = specs.check("generate", params)
    del params["endpoint"]
    _submit(run, stage, held, backends.KINDS[backend.kind], {
        "of": "generate", "seed": run.seed % 2**32, "params": params,
        **({"endpoint": backend.name} if backend.kind == backends.ENDPOINT else {}),
        **({"models": {"policy": {"version": _version(backend)}}} if backend.kind == backends.MODEL else {}),
    })  # fmt: skip


def _version(backend: Backend) -> int:
    return int(ModelVersion.objects.values_list("pk", flat=True).get(public_id=backend.name))


def _submit(run: SynthesisRun, stage: Stage, held: list[int], kind: str, spec: dict[str, Any]) -> None:
    number = run.steps.count() + 1
    job = submissions.submit(
        kind=kind, label=f"{stage.label}: {run.name}"[:120], spec={**spec, "synthesis": {"run": str(run.public_id), "step": number}},
        requested_by=run.created_by,
    )  # fmt: skip
    step = SynthesisStep.objects.create(run=run, stage=stage, job=job, asked=len(held))
    rows = SynthesisItem.objects if stage in (Stage.WRITE, Stage.JUDGE) else SynthesisPair.objects
    rows.filter(pk__in=held).update(step=step)


def _store(run: SynthesisRun) -> None:
    """All that is ready becomes samples under the run's own source, by the door that imports use."""
    ready = list(
        SynthesisPair.objects.filter(item__run=run, state=PairState.READY).select_related("item").order_by("item__number", "number")
    )
    while ready:
        try:
            with transaction.atomic():
                samples.import_jsonl(
                    file=BytesIO("".join(dumps(_sample(pair), ensure_ascii=False) + "\n" for pair in ready).encode()), source=run.name,
                    licence=run.licence, actor=run.created_by,
                )  # fmt: skip
            break
        except ImportRefused as refused:
            wrong = {problem.line for problem in refused.problems if problem.line}
            if not wrong:
                raise
            for place in wrong:
                SynthesisPair.objects.filter(pk=ready[place - 1].pk).update(state=PairState.DROPPED, reason="import_refused")
            ready = [pair for place, pair in enumerate(ready, start=1) if place not in wrong]
    if not ready:
        return
    run.source = Source.objects.get(name=run.name)
    stored = dict(Sample.objects.filter(source=run.source).values_list("external_id", "pk"))
    for pair in ready:
        # Some may be in quarantine, where they are no samples yet.
        pair.sample_id, pair.state = stored.get(_name(pair)), PairState.STORED
    SynthesisPair.objects.bulk_update(ready, ["sample", "state"], batch_size=AT_ONCE)


def _name(pair: SynthesisPair) -> str:
    return f"{pair.item.number}-{pair.number}"


def _sample(pair: SynthesisPair) -> dict[str, Any]:
    item = pair.item
    place = item.document_type if item.part == grid.WHOLE else f"{item.document_type}: {item.part}"
    row = {
        "id": _name(pair), "instruction": item.instruction, "input": pair.input, "output": pair.output, "task_type": item.task_type,
        "input_data": place, "output_format": item.output_format, "difficulty_level": item.difficulty, **item.scores,
    }  # fmt: skip
    return row | ({"rejected_output": pair.rejected_output, "error_type": pair.error_type} if pair.rejected_output else {})


def choose_spoilt(run: SynthesisRun, kept: Sequence[int]) -> None:
    """Of the pairs kept, the wanted share gets an error type, the best first as MediFlow-DPO takes them, dealt by the seed."""
    wanted = round(len(kept) * run.options["spoilt"])
    chance = random.Random(f"errors {run.seed}")  # noqa: S311 - reproducible, not secret
    spoil = list(SynthesisPair.objects.filter(pk__in=kept).order_by("-item__mean", "item__number", "number")[:wanted])
    for pair in spoil:
        pair.error_type, pair.state = chance.choice(ERRORS), PairState.TO_SPOIL
    SynthesisPair.objects.bulk_update(spoil, ["error_type", "state"], batch_size=AT_ONCE)


# --- by hand ---------------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def pause(*, run: SynthesisRun, actor: User | None) -> None:
    """Ask for nothing new: jobs that run end as usual, those that wait are cancelled. Raises NotPossible."""
    if not SynthesisRun.objects.filter(pk=run.pk, state=RunState.RUNNING).update(state=RunState.PAUSED):
        raise NotPossible("Only a run that goes on can be paused.")
    _cancel_waiting(run, actor)
    audit.record(actor, "synthesis.paused", run)


@transaction.atomic
def resume(*, run: SynthesisRun, actor: User | None) -> None:
    """Go on, with what failed jobs held as well. Raises NotPossible for a run that is over."""
    found = SynthesisRun.objects.select_for_update().get(pk=run.pk)
    if found.over:
        raise NotPossible("This run is over.")
    broken = list(found.steps.broken())
    found.items.filter(step__in=broken).update(step=None)
    SynthesisPair.objects.filter(item__run=found, step__in=broken).update(step=None)
    found.state = RunState.RUNNING
    found.save(update_fields=["state"])
    audit.record(actor, "synthesis.resumed", found)
    advance(run=found)


@transaction.atomic
def stop(*, run: SynthesisRun, actor: User | None) -> None:
    """End the run: nothing more is asked, and nothing of it becomes a sample. Answers stay for the audit. Raises NotPossible."""
    if not SynthesisRun.objects.filter(pk=run.pk, state__in=(RunState.RUNNING, RunState.PAUSED)).update(
        state=RunState.STOPPED, ended_at=Now()
    ):
        raise NotPossible("This run is over.")
    _cancel_waiting(run, actor)
    audit.record(actor, "synthesis.stopped", run)


def _cancel_waiting(run: SynthesisRun, actor: User | None) -> None:
    # Skipping what is locked: a job that is being published holds its row and waits for this run's.
    for job in Job.objects.select_for_update(skip_locked=True, of=("self",)).filter(synthesis_step__run=run, state__in=WAITING):
        submissions.cancel(job=job, actor=actor)


# --- reading ---------------------------------------------------------------------------------------------------------------------------


def counts(run: SynthesisRun) -> dict[str, Any]:
    """How many rows stand where, and why others do not: {"items": {state: n}, "pairs": {state: n}, "reasons": {stage: {reason: n}}}."""
    items = dict(run.items.values_list("state").annotate(n=Count("pk")).order_by())
    pairs = dict(SynthesisPair.objects.filter(item__run=run).values_list("state").annotate(n=Count("pk")).order_by())
    reasons: dict[str, dict[str, int]] = {}

    def note(where: str, found: Any) -> None:
        for reason, n in found:
            reasons.setdefault(where, {})[reason] = n

    refused = run.items.filter(state=ItemState.REFUSED).values_list("reason").annotate(n=Count("pk")).order_by("-n", "reason")
    dropped = SynthesisPair.objects.filter(item__run=run, state=PairState.DROPPED).values_list("reason").annotate(n=Count("pk"))
    noted = SynthesisPair.objects.filter(item__run=run).exclude(note="").values_list("note").annotate(n=Count("pk")).order_by("-n", "note")
    note("instructions refused", refused)
    note("pairs dropped", dropped.order_by("-n", "reason"))
    note("without a rejected output", noted)
    return {"items": items, "pairs": pairs, "reasons": reasons}


_MEASURED = ("asked", "answered", "prompt_tokens", "tokens", "seconds")


def spent(run: SynthesisRun) -> list[dict[str, Any]]:
    """What each stage took: {"stage", "jobs", "asked", "answered", "prompt_tokens", "tokens", "seconds", "price"}."""
    found: dict[str, dict[str, Any]] = {}
    for step in run.steps.all():
        row = found.setdefault(step.stage, {"stage": step.get_stage_display(), "jobs": 0, "price": 0.0, **dict.fromkeys(_MEASURED, 0)})
        row["jobs"] += 1
        for key in _MEASURED:
            row[key] += getattr(step, key)
        if step.stage != Stage.TRIM:
            row["price"] += backends.price(
                backend_of(run, step.stage), prompt_tokens=step.prompt_tokens, tokens=step.tokens, seconds=step.seconds
            )
    return list(found.values())


def coverage(run: SynthesisRun) -> dict[tuple[str, str], int]:
    """(task, document) → samples stored."""
    rows = (
        SynthesisPair.objects.filter(item__run=run, state=PairState.STORED)
        .values_list("item__task_type", "item__document_type")
        .annotate(n=Count("pk"))
        .order_by()
    )
    return {(task, document): n for task, document, n in rows}


def blocked(run: SynthesisRun) -> Job | None:
    """The failed job a running run waits behind, if any: somebody has to resume it."""
    if run.state != RunState.RUNNING or run.steps.going().exists():
        return None
    step = run.steps.broken().filter(Q(items__isnull=False) | Q(pairs__isnull=False)).select_related("job").last()
    return step.job if step else None
