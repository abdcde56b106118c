"""The kinds of work this app gives the runner: how each is started, watched and published."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.models.functions import Now

from annotation import completions
from annotation.models import GenerationBatch, Snapshot
from jobs import kinds
from jobs.errors import EngineFailed
from jobs.models import Job
from modelhub import artifacts, versions
from modelhub.errors import NameTaken, Refused
from modelhub.imports import ROLE
from modelhub.models import Kind
from training import endpoints, evaluations, ingest, launch, loop_rounds, merges, replays, specs, studies, suiteruns
from training.engine import checkpoints, references, rundir
from training.engine.checkpoints import Torn
from training.engine.merging import journal
from training.engine.spec import MAKES_MODEL
from training.models import Evaluation, MergePreview, Run, SuiteRun
from training.suite.results import SuiteResult
from training.synthesis import kinds as synthesis

QUEUE = "compute"
Publish = Callable[[Job, dict[str, Any], Any], dict[str, Any]]
# Told to stop, trainings save what they have learned, and generations what they have written. The others end whole or not at all.
CAN_KEEP = MAKES_MODEL - {"build-base", "merge", "extract"} | {"generate", "ask"}


def register() -> None:
    """Make every kind of the engine known to the runner."""
    for name in sorted(MAKES_MODEL):
        kinds.register(_kind(name, stage=_stage_model, publish=_publish_model))
    kinds.register(_kind("generate", stage=_stage_items, publish=_publish_completions, ingest=ingest.generation))
    kinds.register(_kind("ask", stage=_stage_items, publish=_publish_completions, ingest=ingest.generation))
    kinds.register(_kind("evaluate", stage=_stage_items, publish=_publish_evaluation))
    kinds.register(_kind("preview", stage=_stage_items, publish=_publish_preview))
    for name in ("suite", "clue"):
        kinds.register(_kind(name, stage=_stage_suite, publish=_publish_suite))
    synthesis.register(keep=_keep, resume=_resume, stage=_stage_items)
    kinds.register(_kind("probe", stage=_stage_nothing, publish=_publish_probe))


def _kind(name: str, *, stage: Any, publish: Any, ingest: Any = ingest.events) -> kinds.Kind:
    return kinds.Kind(
        name=name, queue=QUEUE, command=lambda job, folder: launch.command(folder, specs.processes(job)), environment=_environment,
        prepare=specs.prepare, ingest=ingest, keep=_keep, resume=_resume, stage=stage, publish=_heard(publish),
        again=_again, device=name not in ("merge", "extract", "ask"), can_keep=name in CAN_KEEP, network=name == "ask",
    )  # fmt: skip


def _heard(publish: Publish) -> Publish:
    """`publish`, and the loop whose round waited for the job goes on after it."""

    def publish_and_tell(job: Job, result: dict[str, Any], staged: Any) -> dict[str, Any]:
        told = publish(job, result, staged)
        loop_rounds.listen(job)
        return told

    return publish_and_tell


def _environment(job: Job) -> dict[str, str]:
    return launch.environment() | (endpoints.environment(job) if job.kind == "ask" else {})


def _keep(job: Job, folder: Path, kept: Path, key: bytes) -> int | None:
    """Promote the attempt's newest checkpoint that verifies; the two newest stay. New reference log-probabilities go into their store.
    Of a merge, link what it has finished of its files."""
    references.bring(folder, specs.reference_store())
    if job.kind == "merge":
        return journal.hand_over(folder / checkpoints.FOLDER, kept, key)
    for path in checkpoints.named(folder / checkpoints.FOLDER):
        if _linked(path / checkpoints.MANIFEST, kept / path.name / checkpoints.MANIFEST):
            return checkpoints.step_of(path)
        try:
            made = checkpoints.keep(path, kept, key)
        except (Torn, FileNotFoundError):
            # Torn, or pruned by its writer while we looked: the one before it will do.
            continue
        checkpoints.prune(kept, key)
        return made.step
    return None


def _linked(one: Path, other: Path) -> bool:
    """Whether it was promoted before: then it verified. One of the same step that another attempt made is looked at again."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _resume(job: Job, kept: Path, folder: Path, key: bytes) -> int | None:
    """Link the newest kept checkpoint that verifies into the attempt; the engine verifies it again before it reads a byte."""
    if job.kind == "merge":
        return journal.hand_over(kept, folder / checkpoints.RESUME, key)
    newest = checkpoints.newest(kept, key)
    return checkpoints.keep(newest.path, folder / checkpoints.RESUME, key).step if newest else None


def _again(failed: Job, job: Job) -> None:
    """The run, or the evaluation, goes on under the job that repeats it; what the failed one measured would only be mixed up with it."""
    for run in Run.objects.filter(job=failed):
        run.points.all().delete()
        run.samples.all().delete()
    Run.objects.filter(job=failed).update(job=job, pace={})
    Evaluation.objects.filter(job=failed).update(job=job)
    MergePreview.objects.filter(job=failed).update(job=job)
    if not SuiteRun.objects.filter(job=job).exists():  # somebody asked anew meanwhile: that is the job, and it has its row
        SuiteRun.objects.filter(job=failed).update(job=job)
    GenerationBatch.objects.filter(origin=str(failed.public_id)).update(origin=str(job.public_id), pace={})


@dataclass(frozen=True)
class StagedModel:
    """Whole weights, and the adapter that was merged into them where one was trained."""

    model: artifacts.Staged
    adapter: artifacts.Staged | None


def _stage_model(job: Job, result: dict[str, Any], folder: Path) -> StagedModel:
    references.bring(folder, specs.reference_store())
    beside = folder / rundir.ADAPTER
    try:
        model = artifacts.stage(folder=folder / _promised(result, "output"))
        return StagedModel(model, artifacts.stage(folder=beside) if beside.is_dir() else None)
    except Refused as refused:
        raise EngineFailed(refused.code, str(refused)) from refused


def _publish_model(job: Job, result: dict[str, Any], staged: StagedModel) -> dict[str, Any]:
    """Artifact, version, edges and the run's output, all inside the transaction that ends the job."""
    run = Run.objects.select_for_update().get(job=job)
    if run.replays_id is not None:
        # Its files have no row that names them, and go with the next collection.
        return replays.made(artifact=staged.model.digest, metrics=result["metrics"]) | _measures(result)
    wanted = job.spec["publish"]
    parents = [(specs.version_of(reference), wanted["roles"].get(name, name)) for name, reference in job.spec["models"].items()]
    if wanted["kind"] == Kind.ADAPTER:
        # What it is put on comes first: its tokenizer and architecture are the adapter's. The database keeps no order of a spec's keys.
        parents.sort(key=lambda parent: parent[1] != ROLE)
    try:
        version = versions.register(
            name=run.name,
            kind=wanted["kind"],
            artifact=artifacts.save(staged.model),
            adapter=artifacts.save(staged.adapter) if staged.adapter else None,
            parents=parents,
            sources=_sources(job, run),
            origin=str(job.public_id),
            licence=_licence([*(parent for parent, _ in parents), *(corpus for _, corpus in specs.corpora_of(job))]),
            toy=wanted["toy"] or any(parent.toy for parent, _ in parents),
            simulated=wanted["simulated"] or any(parent.simulated for parent, _ in parents),
            metrics=result["metrics"],
            notes=wanted.get("notes", ""),
            actor=job.requested_by,
        )
    except NameTaken as taken:
        raise EngineFailed("name_taken", str(taken)) from taken
    run.output = version
    named = dict(job.spec["models"])
    if run.policy is None and "policy" in named:
        run.policy = specs.version_of(named["policy"])
    if job.kind in ("merge", "search") and run.recipe is None:
        run.recipe = merges.recorded(job=job, metrics=result["metrics"], actor=job.requested_by)
    run.save(update_fields=["output", "policy", "recipe"])
    return {"version": str(version.public_id), "name": version.name, **_measures(result)}


def _sources(job: Job, run: Run) -> list[tuple[str, str, str, str]]:
    """What a version was made of besides other versions."""
    if isinstance(run.snapshot, Snapshot):
        return [("snapshot", run.snapshot.digest, run.snapshot.name, "preferences")]
    if corpora := specs.corpora_of(job):
        # Two corpora of the same contents are one source.
        return list({ref["digest"]: ("corpus", ref["digest"], corpus.name, "corpus") for ref, corpus in reversed(corpora)}.values())
    corpus = job.spec["publish"].get("corpus")
    # The toy corpora are generated from the seed: generator and seed say all there is to say about them.
    return [("corpus", job.spec_digest, corpus, "corpus")] if corpus else []


def _licence(made_of: list[Any]) -> str:
    names = {one.licence for one in made_of if one.licence}
    return " and ".join(sorted(names))[:60] if names else "Apache-2.0"


def _stage_items(job: Job, result: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    path = folder / rundir.OUTPUT / _promised(result, "items")
    try:
        return list(_lines(path))
    except (OSError, ValueError) as error:
        raise EngineFailed("bad_items", f"The items of the result cannot be read: {type(error).__name__}.") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    # Not str.splitlines: model text may hold characters that it takes for line ends.
    with path.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise json.JSONDecodeError("not an object", line, 0)
            yield row


def _publish_completions(job: Job, result: dict[str, Any], staged: list[dict[str, Any]]) -> dict[str, Any]:
    batch = GenerationBatch.objects.get(pk=job.spec["inputs"]["batch"])
    asked = set(job.spec["inputs"]["prompts"])
    items = [
        {
            "prompt": int(row["id"]), "text": row["text"], "finish_reason": row["finish_reason"], "tokens": row["tokens"],
            "number": row["n"],
        }
        for row in staged
        if not row.get("error")
    ]  # fmt: skip
    if foreign := {item["prompt"] for item in items} - asked:
        raise EngineFailed("bad_items", f"{len(foreign)} completions are for prompts that were not asked.")
    completions.record(batch=batch, items=items)
    studies.answered(batch=batch)
    told = result["metrics"]
    batch.origin = str(job.public_id)
    batch.pace = {
        "completions": len(items) - told.get("resumed", 0), "tokens": told.get("tokens", 0), "seconds": result.get("seconds", 0),
        "tokens_per_second": told.get("tokens_per_second", 0),
    }  # fmt: skip
    batch.save(update_fields=["origin", "pace"])
    kept = {key: told[key] for key in ("unanswered", "tokens", "tokens_per_second", "served_models") if key in told}
    return {"batch": str(batch.public_id), "completions": len(items), **kept, **_measures(result)}


def _publish_evaluation(job: Job, result: dict[str, Any], staged: list[dict[str, Any]]) -> dict[str, Any]:
    evaluation = evaluations.of_job(job)
    evaluations.fill(evaluation=evaluation, metrics=result["metrics"], items=staged)
    evaluation.finished_at = Now()
    evaluation.save(update_fields=["results", "finished_at"])
    return {"evaluation": str(evaluation.public_id), **_measures(result)}


def _stage_suite(job: Job, result: dict[str, Any], folder: Path) -> SuiteResult:
    """The suite's result and the answers it was made of, into a folder of the job's own: they outlive the attempt."""
    return suiteruns.keep(job, folder / rundir.OUTPUT)


def _publish_suite(job: Job, result: dict[str, Any], staged: SuiteResult) -> dict[str, Any]:
    run = suiteruns.fill(job=job, told=staged)
    return {"suite": run.suite, "suite_run": str(run.public_id), **result["metrics"], **_measures(result)}


def _publish_preview(job: Job, result: dict[str, Any], staged: list[dict[str, Any]]) -> dict[str, Any]:
    """Its texts; the merge itself was thrown away."""
    asked = [str(pk) for pk in job.spec["inputs"]["prompts"]]
    if [item.get("id") for item in staged] != asked or any(len(item.get("texts", [])) != 3 for item in staged):
        raise EngineFailed("bad_items", "The answers are not to the prompts that were asked.")
    preview = MergePreview.objects.get(job=job)
    merges.fill_preview(preview=preview, items=staged)
    return {"preview": str(preview.public_id), "prompts": len(staged), **_measures(result)}


def _stage_nothing(job: Job, result: dict[str, Any], folder: Path) -> None:
    """A probe leaves figures and no files."""


def _publish_probe(job: Job, result: dict[str, Any], staged: None) -> dict[str, Any]:
    """What three steps took, and where: an estimate may only speak of that machine."""
    worker = job.history.order_by("-number").values_list("worker", flat=True).first() or ""
    return {"host": worker.partition(":")[0], **result["metrics"], **_measures(result)}


def _promised(result: dict[str, Any], key: str) -> str:
    name = result.get(key)
    if not isinstance(name, str) or "/" in name or name.startswith("."):
        raise EngineFailed("bad_result", f"The result names no {key}.")
    return name


def _measures(result: dict[str, Any]) -> dict[str, Any]:
    """What the attempt cost: seconds, megabytes and the versions of what computed it."""
    return {key: result[key] for key in ("seconds", "cpu_seconds", "peak_rss_mb", "environment") if key in result}
