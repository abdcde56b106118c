"""Experts from documents: a base that has read them, an expert a corpus, and how each answers about what nobody read."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation import documents
from annotation.models import Corpus, Group, OutputKind, Split
from jobs import submissions
from modelhub.models import Kind, ModelVersion
from training import preflight, presets, specs
from training.engine import presets as engine_presets
from training.models import Run
from training.preflight import Check
from training.runs import Refused

RECIPES = ("paper", "pit", "dapt")


def recipe_for(corpus: Corpus, recipe: str = "paper") -> str:
    """`pit` or `dapt`. As in the paper (arXiv 2505.10717, 3.1.2): plain pre-training for PubMed, pre-instruction tuning for the others."""
    if recipe == "paper":
        return "dapt" if corpus.group == Group.PUBMED else "pit"
    return recipe


def task_for(corpus: Corpus, wanted: str) -> str | None:
    """The task whose outputs are read: the recipe's, or the first that the corpus has any of; None when it has none."""
    kinds = [wanted, *(kind for kind in OutputKind.values if kind != wanted)]
    return next((kind for kind in kinds if documents.count(corpus, Split.TRAIN, with_output=kind)), None)


@transaction.atomic
def base(
    *, corpora: Sequence[Corpus], name: str, actor: User | None, preset: str = "demo", most: int | None = None, seed: int = 1
) -> Run:  # fmt: skip
    """Queue a tiny base with a tokenizer of its own, both made of the corpora's training documents. Raises KeyError, Refused."""
    params = specs.check("build-base", engine_presets.BUILD_BASE[preset])
    _refuse([*(_documents(corpus) for corpus in corpora), *_name(name)])
    return _queued(
        kind="build-base", label=f"Build {name}", params=params, models={}, corpora=corpora, most=most, seed=seed, preset=f"base-{preset}",
        # A model of this size knows nothing, whatever it has read.
        publish={"kind": Kind.BASE, "toy": True, "simulated": False, "roles": {}}, name=name, policy=None, waits_for=[], actor=actor,
    )  # fmt: skip


@transaction.atomic
def start(
    *, corpus: Corpus, policy: ModelVersion | Run, preset: str, name: str, actor: User | None, changes: dict[str, Any] | None = None,
    most: int | None = None, seed: int = 1,
) -> Run:  # fmt: skip
    """Queue an expert of `corpus` from `policy`, a version or the run that is making one, as the preset (of pit or pretrain) says.

    `most` takes so many of the training documents. Raises SpecError for a wrong parameter, KeyError for an unknown preset, and Refused
    when the corpus, the model or the name cannot be used.
    """
    chosen = presets.named(preset)
    params = presets.checked(chosen, {}) | (changes or {})
    if chosen.kind == "pit" and "outputs" not in (changes or {}):
        params["outputs"] = task_for(corpus, params["outputs"]) or params["outputs"]
    params = specs.check(chosen.kind, params)
    version = policy if isinstance(policy, ModelVersion) else policy.output
    checks = [_documents(corpus), *_name(name)]
    if chosen.kind == "pit":
        checks.append(_outputs(corpus, params["outputs"]))
    if version is not None and not preflight.readable(version):
        checks.append(Check("Model files", "stop", f"{version.name} cannot be read whole from the store", "Import or build it again."))
    _refuse(checks)
    reference = {"version": version.pk} if version else {"job": str(policy.job.public_id)} if isinstance(policy, Run) else {}
    return _queued(
        kind=chosen.kind, label=f"{'Teach' if chosen.kind == 'pit' else 'Pretrain'} {name}", params=params, models={"policy": reference},
        corpora=[corpus], most=most, seed=seed, preset=preset, name=name, policy=version,
        publish={"kind": Kind.EXPERT, "toy": bool(version and version.toy), "simulated": False, "roles": {"policy": "base"}},
        waits_for=[policy.job] if version is None and isinstance(policy, Run) else [], actor=actor,
    )  # fmt: skip


def _queued(
    *, kind: str, label: str, params: dict[str, Any], models: dict[str, Any], corpora: Sequence[Corpus], most: int | None, seed: int,
    preset: str, publish: dict[str, Any], name: str, policy: ModelVersion | None, waits_for: list[Any], actor: User | None,
) -> Run:  # fmt: skip
    read = [{"corpus": corpus.pk, "digest": corpus.digest, "most": most} for corpus in corpora]
    job = submissions.submit(
        kind=kind, label=label, requested_by=actor, waits_for=waits_for, dedupe_key=f"run:{name}",
        spec={"seed": seed, "params": params, "models": models, "inputs": {"corpora": read}, "publish": publish},
    )  # fmt: skip
    try:
        with transaction.atomic():
            run = Run.objects.create(job=job, name=name, preset=preset, params=params, seed=seed, policy=policy)
    except IntegrityError:
        # Somebody else took the name between our look and our insert.
        raise Refused([preflight.taken(name)]) from None
    audit.record(actor, "run.started", run, kind=kind, preset=preset, corpora=[reference["digest"] for reference in read])
    return run


def _refuse(checks: list[Check]) -> None:
    if stops := [check for check in checks if check.stops]:
        raise Refused(stops)


def _name(name: str) -> list[Check]:
    taken = Run.objects.filter(name=name).exists() or ModelVersion.objects.filter(name=name).exists()
    return [preflight.taken(name)] if taken else []


def _documents(corpus: Corpus) -> Check:
    if found := documents.count(corpus, Split.TRAIN):
        return Check("Documents", "ok", f"{found} to read in {corpus.name}")
    fix = f"{corpus.name} has no documents to train on. Import some: manage.py import_documents."
    return Check("Documents", "stop", "none to train on", fix)


def _outputs(corpus: Corpus, task: str) -> Check:
    if found := documents.count(corpus, Split.TRAIN, with_output=task):
        return Check("Task outputs", "ok", f"{found} documents have {task}")
    fix = f"No document of {corpus.name} has {task}. Import them with outputs, or take plain pre-training (dapt)."
    return Check("Task outputs", "stop", f"no document has {task}", fix)
