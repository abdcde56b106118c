"""Completions of our own models, by job."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import prompts as rendering
from annotation.models import GenerationBatch, Prompt, Sample, Split
from jobs import submissions
from jobs.models import Job
from modelhub.models import ModelVersion
from training import specs


@transaction.atomic
def start(
    *, version: ModelVersion, decoding: dict[str, Any], prompts: Iterable[Prompt], actor: User | None, seed: int = 0, label: str = ""
) -> GenerationBatch:
    """Queue one producer answering `prompts` with one decoding. The batch fills when the job is done; it never half fills.

    `decoding` is the engine's: temperature, top_p, max_new_tokens, n. Raises SpecError for a wrong one.
    """
    params = specs.check("generate", decoding)
    wanted = [prompt.pk for prompt in prompts]
    if not wanted:
        raise ValueError("No prompts to answer.")
    batch = GenerationBatch.objects.create(version=version, decoding=params, seed=seed, created_by=actor)
    job = submissions.submit(
        kind="generate",
        label=label or f"Generate with {version.name}",
        spec={
            "seed": seed, "params": params, "models": {"policy": {"version": version.pk}},
            "inputs": {"batch": batch.pk, "prompts": wanted},
        },
        requested_by=actor,
    )  # fmt: skip
    batch.origin = str(job.public_id)
    batch.save(update_fields=["origin"])
    audit.record(actor, "generation.started", batch, version=str(version.public_id), prompts=len(wanted), job=str(job.public_id))
    return batch


def job_of(batch: GenerationBatch) -> Job | None:
    return Job.objects.filter(public_id=batch.origin).first() if batch.origin else None


def choose(*, counts: dict[str, int], **filters: Any) -> list[Prompt]:
    """The first `counts[split]` samples of each split that fit `filters`, rendered. By id: imports are in random order."""
    samples: list[Sample] = []
    for split in Split.values:
        if counts.get(split):
            samples += Sample.objects.filter(split=split, **filters).order_by("pk")[: counts[split]]
    return rendering.render(samples=samples)
