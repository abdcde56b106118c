"""Suites asked of models: queued once for the same settings, kept in a folder of their own and as rows, and two of them compared."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from jobs import submissions
from jobs.errors import EngineFailed
from jobs.models import ENDED, Job
from modelhub.models import ModelVersion
from training import specs
from training.models import Suite, SuiteRun
from training.suite import mini, paired
from training.suite.results import SuiteResult

# What an attempt says of its settings that tells how it went, and not what was asked.
TOLD = ("cut",)


class SuitesDiffer(Exception):
    """Two results that cannot be held against each other; the message says what they differ in."""


class NotAskable(Exception):
    """This cannot be asked of this model; the message says why."""


@transaction.atomic
def start(*, version: ModelVersion, actor: User | None, suite: str = Suite.MINI, seed: int = 0, again: bool = False) -> SuiteRun:
    """Queue the mini-suite for a version. The run that stands, or is under way, for the same settings is returned instead of a second;
    with `again` one that stands is asked anew.

    Raises NotAskable for an adapter and for CLUE+, which needs a folder of data (training.clue_runs.start).
    """
    if suite != Suite.MINI:
        raise NotAskable("CLUE+ needs a folder with your copies of its data sets: manage.py clue --model NAME --data FOLDER.")
    params = specs.check("suite", {})
    digest = settings_digest(suite=suite)
    return asked(
        version=version, suite=suite, digest=digest, params=params, seed=seed, actor=actor, label=f"Mini-suite of {version.name}",
        reuse=not again,
    )  # fmt: skip


@transaction.atomic
def asked(
    *, version: ModelVersion, suite: str, digest: str, params: dict[str, Any], seed: int, actor: User | None, label: str, reuse: bool
) -> SuiteRun:  # fmt: skip
    """The row and the job of a suite asked of a version. One that is under way for the same settings is returned as it is, and so is, with
    `reuse`, one that stands. Raises NotAskable for an adapter."""
    if version.kind == "adapter":
        raise NotAskable("An adapter is no model by itself: ask the model that it was put on.")
    # Whoever asks the same model waits here, so that nobody's look is older than somebody else's insert. A job that ends between the two
    # looks has published by the second.
    ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    mine = SuiteRun.objects.filter(version=version, suite=suite, settings_digest=digest).select_related("job", "version")
    if under_way := mine.exclude(job__state__in=ENDED).first():
        return under_way
    if reuse and (stands := mine.filter(finished_at__isnull=False).order_by("-finished_at").first()):
        return stands
    job = submissions.submit(
        kind="suite" if suite == Suite.MINI else "clue", label=label[:120], requested_by=actor,
        dedupe_key=f"{suite}:{version.pk}:{digest}",
        spec={"seed": seed, "params": params, "models": {"policy": {"version": version.pk}}, "inputs": {}},
    )  # fmt: skip
    # A failed job that was tried again has its row and this key.
    run, created = SuiteRun.objects.get_or_create(job=job, defaults={"version": version, "suite": suite, "settings_digest": digest})
    if created:
        audit.record(actor, "suite.asked", run, suite=suite, version=str(version.public_id), settings=digest)
    return run


def settings_digest(*, suite: str, params: dict[str, Any] | None = None, seed: int = 0) -> str:
    """SHA-256 of what is asked and how, as far as it is known before anybody is asked; without `params` by today's usual settings.

    What only the model's own machine knows (its chat template, its arithmetic) stands in the result, and `compare` looks there. The seed
    decides something in CLUE+ alone, whose questions and temperature draw by it.
    """
    if suite == Suite.MINI:
        params = specs.check("suite", params or {})
        told = mini.settings(items=mini.items(), max_new_tokens=params["max_new_tokens"], template="", arithmetic="")
        return submissions.digest_of({"suite": suite, "settings": told})
    params = specs.check("clue", {"data": "/"} | (params or {}))
    # How many are asked at a time, and where the copies lie, decide nothing; what was in them stands in the result.
    told = {name: value for name, value in params.items() if name not in ("data", "batch_size", "encoder", "encoder_layer", "umls")}
    # Nor where an encoder and UMLS lie; that there are some does.
    told |= {"encoder": params["encoder_layer"] or "two thirds up"} if params["encoder"] else {}
    told |= {"umls": True} if params["umls"] else {}
    return submissions.digest_of({"suite": suite, "settings": told, "seed": seed})


def standing(*, version: ModelVersion, suite: str = Suite.MINI) -> SuiteRun | None:
    """The newest finished run of a version by today's usual settings."""
    return SuiteRun.objects.standing(suite=suite, digest=settings_digest(suite=suite)).filter(version=version).first()


def result(run: SuiteRun) -> SuiteResult:
    """What a finished run said. Raises ValueError for one that has not finished."""
    if not run.results:
        raise ValueError(f"{run} has no result yet")
    return SuiteResult.of(run.results)


def compare(*, before: SuiteRun, after: SuiteRun) -> paired.Comparison:
    """How `after` stands to `before`, item by item: a positive difference says that `after` is better.

    Raises SuitesDiffer when the two were not asked the same in the same way, or one has no result.
    """
    for run in (before, after):
        if not run.results:
            raise SuitesDiffer(f"{run.version.name} has not been asked: the suite has not finished.")
    one, other = result(before), result(after)
    differ = _differing(one, other)
    if differ or before.settings_digest != after.settings_digest:
        named = ", ".join(differ) or "what was asked"
        raise SuitesDiffer(
            f"{before.version.name} and {after.version.name} were not asked in the same way ({named}): ask the older one again."
        )
    if {name: task.n for name, task in one.tasks.items()} != {name: task.n for name, task in other.tasks.items()}:
        raise SuitesDiffer(f"{before.version.name} and {after.version.name} did not answer the same tasks.")
    return paired.compare(scores(other), scores(one))


def scores(told: SuiteResult) -> dict[str, paired.Array]:
    """By task one score an item, more being better."""
    return {name: np.asarray(task.items) * (1 if task.higher_is_better else -1) for name, task in told.tasks.items()}


def _differing(one: SuiteResult, other: SuiteResult) -> list[str]:
    names = sorted((one.settings.keys() | other.settings.keys()) - set(TOLD))
    found = [name.replace("_", " ") for name in names if one.settings.get(name) != other.settings.get(name)]
    return found + (["seed"] if one.suite == "clue" and one.seed != other.seed else [])


# --- what becomes of a job ----------------------------------------------------------------------------------------------------------


def folder_of(job: Job) -> Path:
    """Where `suite.json` and the answers of a job are."""
    return Path(settings.DATA_DIR) / "suites" / str(job.public_id)


def keep(job: Job, output: Path) -> SuiteResult:
    """Copy an attempt's result and answers to where they stay. Raises EngineFailed when the result cannot be read back."""
    try:
        told = SuiteResult.from_json((output / "suite.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineFailed("bad_result", f"The suite's result cannot be read: {type(error).__name__}.") from error
    folder = folder_of(job)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An attempt that was published half is staged again: what lies there is replaced.
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(output, folder)
    return told


def fill(*, job: Job, told: SuiteResult) -> SuiteRun:
    """Write the result on the job's row, inside the transaction that ends it. Raises EngineFailed when it is another suite's."""
    run = SuiteRun.objects.select_for_update().get(job=job)
    if told.suite != run.suite:
        raise EngineFailed("bad_result", f"The result is of the suite {told.suite}, not of {run.suite}.")
    run.results, run.finished_at = told.as_json(), Now()
    run.save(update_fields=["results", "finished_at"])
    return run
