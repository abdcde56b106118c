"""Completions by job: of our own models, or of servers that the operator allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import prompts as rendering
from annotation.models import GenerationBatch, Prompt, Sample, Split
from jobs import submissions
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, Kind, ModelVersion
from training import endpoints, preflight, specs
from training.engine import served
from training.engine.errors import EngineError
from training.engine.spec import Endpoint
from training.preflight import Check

Producer = ModelVersion | Endpoint
# Past batches a forecast is made from, the newest first.
PAST_BATCHES = 5
# How long a page waits for a server to say what it serves.
LOOK_SECONDS = 3.0


@dataclass(frozen=True)
class Preset:
    """Two producers and their temperatures that people compare often (product.md 2.9)."""

    name: str
    label: str
    first: ModelVersion
    second: ModelVersion
    temperatures: tuple[float, float]


class NothingMissing(Exception):
    """Every prompt of the batch has its answers, or its job has not ended."""


@transaction.atomic
def start(
    *, producer: Producer, decoding: dict[str, Any], prompts: Iterable[Prompt], actor: User | None, seed: int = 0, label: str = ""
) -> GenerationBatch:
    """Queue one producer answering `prompts` with one decoding. The batch fills when the job is done.

    Of a model it fills whole or not at all; a server may leave prompts unanswered, which `ask_again` asks again. `decoding` is the
    engine's: temperature, top_p, max_new_tokens, n. Raises SpecError for a wrong one.
    """
    wanted = [prompt.pk for prompt in prompts]
    if not wanted:
        raise ValueError("No prompts to answer.")
    params = specs.check("generate", decoding)
    for name in ("endpoint", "schema", "grammar"):
        del params[name]
    if isinstance(producer, Endpoint):
        told = params | {"endpoint": producer.name, "model": producer.model}
        batch = GenerationBatch.objects.create(system=producer.name, decoding=told, seed=seed, created_by=actor)
        who = {"endpoint": producer.name}
    else:
        batch = GenerationBatch.objects.create(version=producer, decoding=params, seed=seed, created_by=actor)
        who = {"version": str(producer.public_id)}
    job = _submit(batch, params, wanted, actor, label)
    audit.record(actor, "generation.started", batch, **who, prompts=len(wanted), job=str(job.public_id))
    return batch


def _submit(batch: GenerationBatch, params: dict[str, Any], prompts: list[int], actor: User | None, label: str) -> Job:
    asked = {"seed": batch.seed, "params": params, "inputs": {"batch": batch.pk, "prompts": prompts}}
    if batch.version is not None:
        spec = {**asked, "models": {"policy": {"version": batch.version.pk}}}
        job = submissions.submit(kind="generate", label=label or f"Generate with {batch.version.name}", spec=spec, requested_by=actor)
    else:
        spec = {**asked, "of": "generate", "endpoint": batch.system}
        job = submissions.submit(kind="ask", label=label or f"Ask {batch.system}", spec=spec, requested_by=actor)
    batch.origin = str(job.public_id)
    batch.pace = {}
    batch.save(update_fields=["origin", "pace"])
    return job


@transaction.atomic
def ask_again(*, batch: GenerationBatch, actor: User | None) -> Job:
    """Queue what a server left unanswered. Raises NothingMissing."""
    batch = GenerationBatch.objects.select_for_update(of=("self",)).select_related("version").get(pk=batch.pk)
    job = job_of(batch)
    if job is None or job.state != State.SUCCEEDED or not (missing := unanswered(batch, job)):
        raise NothingMissing
    params = {key: value for key, value in batch.decoding.items() if key not in ("endpoint", "model")}
    again = _submit(batch, params, missing, actor, "")
    audit.record(actor, "generation.asked_again", batch, prompts=len(missing), job=str(again.public_id))
    return again


def unanswered(batch: GenerationBatch, job: Job) -> list[int]:
    """Prompts of its last job that lack an answer."""
    if not job.result or not job.result.get("unanswered"):
        return []
    n = batch.decoding.get("n", 1)
    counted: dict[int, int] = {}
    for prompt in batch.completions.values_list("prompt", flat=True):
        counted[prompt] = counted.get(prompt, 0) + 1
    return [prompt for prompt in job.spec["inputs"]["prompts"] if counted.get(prompt, 0) < n]


def job_of(batch: GenerationBatch) -> Job | None:
    return Job.objects.filter(public_id=batch.origin).first() if batch.origin else None


def choose(*, counts: dict[str, int], **filters: Any) -> list[Prompt]:
    """The first `counts[split]` samples of each split that fit `filters`, rendered. By id: imports are in random order."""
    samples: list[Sample] = []
    for split in Split.values:
        if counts.get(split):
            samples += Sample.objects.usable().filter(split=split, **filters).order_by("pk")[: counts[split]]
    return rendering.render(samples=samples)


def presets() -> list[Preset]:
    """Those that this house has the models for, in the order of a first round and the ones after it."""
    champion, challenger = aliases.current(AliasName.CHAMPION), aliases.current(AliasName.CHALLENGER)
    found = []
    merged = ModelVersion.objects.usable().filter(kind=Kind.MERGED).order_by("-pk").first()
    edges = merged.parent_edges.filter(parent__kind=Kind.EXPERT).select_related("parent").order_by("pk") if merged else []
    expert = next((edge.parent for edge in edges if edge.parent is not None), None)
    if merged and expert:
        found.append(Preset("expert-merged", "An expert against the merge", expert, merged, (0.7, 0.7)))
    usual = champion or merged or ModelVersion.objects.usable().first()
    if usual:
        found.append(Preset("two-temperatures", "One model at two temperatures", usual, usual, (0.3, 0.9)))
    if champion:
        found.append(Preset("self-play", "The champion against itself", champion, champion, (0.9, 0.9)))
        if challenger and challenger != champion:
            found.append(Preset("challenger", "The champion against the challenger", champion, challenger, (0.7, 0.7)))
    return found


@dataclass(frozen=True)
class Forecast:
    """What answering will take, from `batches` past batches of the same producer."""

    tokens: int
    seconds: float
    batches: int


def forecast(producer: Producer, *, completions: int) -> Forecast | None:
    """Tokens and seconds for so many answers; None for a producer that has answered nothing yet."""
    who: dict[str, Any] = {"system": producer.name} if isinstance(producer, Endpoint) else {"version": producer}
    past = [
        pace for pace in GenerationBatch.objects.filter(**who).order_by("-pk").values_list("pace", flat=True) if pace.get("completions")
    ]
    past = [pace for pace in past[:PAST_BATCHES] if pace["tokens"] and pace["tokens_per_second"]]
    if not past:
        return None
    answered, tokens = sum(pace["completions"] for pace in past), sum(pace["tokens"] for pace in past)
    writing = sum(pace["tokens"] / pace["tokens_per_second"] for pace in past)
    starting = max(0.0, sum(pace["seconds"] for pace in past) - writing) / len(past)
    return Forecast(round(tokens / answered * completions), starting + writing / answered * completions, len(past))


def checks(*, producers: Sequence[Producer]) -> list[Check]:
    """What has to be true before prompts are answered: each producer once, and a worker."""
    found: list[Check] = []
    for place, producer in enumerate(producers):
        if producer in producers[:place]:
            continue
        if isinstance(producer, Endpoint):
            found += _reachable(producer)
        elif not preflight.readable(producer):
            found.append(Check("Model files", "stop", f"{producer.name} cannot be read whole from the store", "Import or build it again."))
        else:
            found.append(Check("Model files", "ok", f"{producer.name} is whole"))
    worker = preflight.worker()
    return [*found, replace(worker, state="warn") if worker.stops else worker]  # jobs wait for one


def _reachable(endpoint: Endpoint) -> list[Check]:
    """Whether it is there now and serves what the settings say, and where texts would go."""
    host = urlsplit(endpoint.url).hostname or ""
    goes = Check(
        "Texts go to", "warn", f"{host}, the server behind {endpoint.name}", "Prompts leave this house's own machines if it is not one."
    )
    try:
        offered = served.Server(endpoint, key=endpoints.key(endpoint.name)).models(timeout=LOOK_SECONDS)
    except served.Failed as failed:
        return [goes, Check("Server answers", "warn", f"{endpoint.name} does not say what it serves now: {failed.code}", "Start it first.")]
    except (EngineError, OSError) as problem:
        said = problem.message if isinstance(problem, EngineError) else type(problem).__name__
        return [goes, Check("Server answers", "stop", said, "Ask your administrator to mend the settings.")]
    if offered and endpoint.model not in offered:
        detail = f"{endpoint.name} serves {', '.join(name[:60] for name in offered[:5])}, and not {endpoint.model}"
        return [goes, Check("Server answers", "stop", detail, "Ask your administrator to name a model that it serves.")]
    return [goes, Check("Server answers", "ok", f"{endpoint.name} serves {endpoint.model}")]
