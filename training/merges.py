"""Merges: a recipe kept by its content, tried on a few prompts, carried out, and recorded where a merge was asked for in another way."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation import prompts as rendering
from annotation.models import Prompt, Sample, Split
from jobs import submissions
from jobs.models import Job
from modelhub.models import Kind, ModelVersion
from training import merge_chains, merge_checks, merge_drafts, preflight, runs, specs
from training.engine import recipes
from training.engine.recipes import Recipe
from training.models import MergeInput, MergePreview, MergePreviewAnswer, MergeRecipe, Run

# Prompts of a preview, and the longest answer to one, in tokens.
PREVIEWED, PREVIEW_TOKENS = 20, 96
Versions = Mapping[str, ModelVersion]


class NoPrompts(Exception):
    """There is no sample of the train or validation split to preview on."""


def digest_of(recipe: Recipe, versions: Versions, *, seed: int) -> str:
    """SHA-256 of the recipe spelled out, with the artifacts of its models; the seed counts where the method draws at random."""
    told = {
        "recipe": recipes.as_json(merge_drafts.spelled(recipe)),
        "artifacts": {name: versions[name].artifact.digest for name in recipe.models()},
        **({"seed": seed} if recipe.table.random else {}),
    }
    return sha256(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()).hexdigest()


@transaction.atomic
def save(*, recipe: Recipe, versions: Versions, seed: int = 0, actor: User | None, cloned_from: MergeRecipe | None = None) -> MergeRecipe:
    """The recipe's row: the one that is there when the same was saved before. `versions` are its models, named in it by their own names."""
    recipe = merge_drafts.spelled(recipe)
    assert all(versions[name].name == name for name in recipe.models())
    digest = digest_of(recipe, versions, seed=seed)
    if same := MergeRecipe.objects.filter(digest=digest).first():
        return same
    try:
        with transaction.atomic():
            row = MergeRecipe.objects.create(
                digest=digest, method=recipe.method, base=versions[recipe.base] if recipe.base else None, params=recipes.as_json(recipe),
                seed=seed, created_by=actor, cloned_from=cloned_from,
            )  # fmt: skip
    except IntegrityError:
        # Somebody else saved the same between our look and our insert.
        return MergeRecipe.objects.get(digest=digest)
    MergeInput.objects.bulk_create(
        MergeInput(recipe=row, position=place, version=versions[given.model]) for place, given in enumerate(recipe.inputs)
    )
    audit.record(actor, "recipe.saved", row, method=recipe.method, digest=digest, inputs=len(recipe.inputs))
    row.refresh_from_db()
    return row


@transaction.atomic
def start(*, recipe: MergeRecipe, name: str, actor: User | None) -> Run:
    """Queue the merge; its model will have this name. Merged inputs are made anew from what they were merged of (training.merge_chains).

    Raises runs.Refused when its models do not go together, cannot be read, or the name is taken.
    """
    made, models = merge_chains.of_row(recipe)
    experts = [models[given.model] for given in made.inputs]
    found = [preflight.name_check(name), *merge_checks.agreement(recipe.base, experts)]
    if stops := [check for check in found if check.stops]:
        raise runs.Refused(stops)
    job = submissions.submit(
        kind="merge",
        label=f"Merge {name}",
        spec={
            "seed": recipe.seed,
            "params": recipe.params,
            "models": {model: {"version": version.pk} for model, version in models.items()},
            "inputs": {"retention": True},
            "flatten": True,
            "publish": {
                # An expert mixed with its base is that expert still.
                "kind": Kind.EXPERT if len(experts) == 1 else Kind.MERGED,
                "toy": any(version.toy for version in models.values()),
                "simulated": any(version.simulated for version in models.values()),
                "roles": {model: "base" if model == made.base else f"expert:{model}" for model in models},
                "notes": f"Merged by the recipe {recipe.digest[:12]}.",
            },
        },
        requested_by=actor,
        dedupe_key=f"run:{name}",
    )
    try:
        with transaction.atomic():
            run = Run.objects.create(job=job, name=name, params=recipe.params, seed=recipe.seed, recipe=recipe)
    except IntegrityError:
        raise runs.Refused([preflight.taken(name)]) from None
    audit.record(actor, "merge.started", run, recipe=recipe.digest, method=recipe.method)
    return run


@transaction.atomic
def preview(*, recipe: MergeRecipe, beside: ModelVersion, actor: User | None) -> MergePreview:
    """Queue the merge in a folder that is thrown away, and twenty prompts answered by it, by its base and by `beside`. Makes no model.

    Prompts of the validation split, else of the train split: a gate's own prompts are not looked at. One preview of a recipe beside one
    expert is under way at a time. Raises NoPrompts, and runs.Refused as `start` does.
    """
    made, models = merge_chains.of_row(recipe)
    experts = [models[given.model] for given in made.inputs]
    if stops := [check for check in merge_checks.agreement(recipe.base, experts) if check.stops]:
        raise runs.Refused(stops)
    prompts = previewed()
    if not prompts:
        raise NoPrompts
    base = made.base or _measured_from(models, beside)
    job = submissions.submit(
        kind="preview",
        label=f"Preview {recipe.method} beside {beside.name}",
        spec={
            "seed": recipe.seed,
            "params": specs.check("preview", {"recipe": recipe.params, "beside": [base, beside.name], "max_new_tokens": PREVIEW_TOKENS}),
            "models": {model: {"version": version.pk} for model, version in models.items()},
            "inputs": {"prompts": [prompt.pk for prompt in prompts]},
            "flatten": True,
        },
        requested_by=actor,
        dedupe_key=f"preview:{recipe.digest}:{beside.pk}",
    )
    row, new = MergePreview.objects.get_or_create(job=job, defaults={"recipe": recipe, "beside": beside})
    if new:
        audit.record(actor, "merge.previewed", row, recipe=recipe.digest, beside=str(beside.public_id), prompts=len(prompts))
    return row


def _measured_from(models: Versions, beside: ModelVersion) -> str:
    """What stands for the base of a merge that knows none: the first whole model, another than `beside` where there is one."""
    whole = [name for name, version in models.items() if version.kind != Kind.ADAPTER]
    return next((name for name in whole if name != beside.name), whole[0])


def previewed() -> list[Prompt]:
    """The prompts of a preview: the same ones every time, so that two previews can be laid side by side."""
    samples: list[Sample] = []
    for split in (Split.VALIDATION, Split.TRAIN):
        if len(samples) < PREVIEWED:
            found = Sample.objects.usable().filter(split=split).order_by("pk")
            samples += found[: PREVIEWED - len(samples)]
    return rendering.render(samples=samples)


def fill_preview(*, preview: MergePreview, items: list[dict[str, Any]]) -> None:
    """Keep what was answered: items {"id", "texts": [base, expert, merge]} in the order of the prompts asked."""
    MergePreviewAnswer.objects.bulk_create(
        MergePreviewAnswer(
            preview=preview, position=place, prompt_id=int(item["id"]),
            **dict(zip(("base", "expert", "merged"), (_stored(text) for text in item["texts"]), strict=True)),
        )
        for place, item in enumerate(items)
    )  # fmt: skip


def _stored(text: str) -> str:
    # PostgreSQL stores no NUL, and a model may write one.
    return text.replace("\x00", "\ufffd")


def recorded(*, job: Job, metrics: Mapping[str, Any], actor: User | None) -> MergeRecipe | None:
    """The recipe of a merge that was asked for without one (a family's), now that all its models are there. None for what says no recipe.

    A SLERP that was offered several t has the one that was chosen, and a search the recipe it found.
    """
    versions = {name: specs.version_of(reference) for name, reference in job.spec["models"].items()}
    params = dict(metrics["recipe"] if job.kind == "search" else job.spec["params"])
    if params.get("method") == "slerp" and "t" in params:
        params = {"method": "slerp", "base": "base", "inputs": [{"model": "expert"}], "parameters": {"t": metrics.get("t", params["t"])}}
    try:
        recipe = recipes.parse(_renamed(params, {name: version.name for name, version in versions.items()}))
    except recipes.BadRecipe:
        return None
    return save(recipe=recipe, versions={version.name: version for version in versions.values()}, seed=int(job.spec["seed"]), actor=actor)


def _renamed(params: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The recipe's JSON with its models called as `names` says; steps keep their names."""
    made = dict(params)
    if "base" in made:
        made["base"] = names.get(made["base"], made["base"])
    made["inputs"] = [{**given, "model": names.get(given["model"], given["model"])} for given in made.get("inputs", [])]
    if "steps" in made:
        made["steps"] = {name: _renamed(step, names) for name, step in made["steps"].items()}
    return made


def best_of(recipe: MergeRecipe) -> ModelVersion:
    """The expert a preview is shown beside: the one that gained most over the base where a merge has measured that, else the heaviest.

    The first of equals.
    """
    made, models = merge_chains.of_row(recipe)
    known = _gains({models[given.model].name for given in made.inputs})
    weights = {given.model: _heaviest(given.parameters.get("weight")) for given in made.inputs}
    best = max(made.inputs, key=lambda given: (known.get(given.model, float("-inf")), weights[given.model]))
    return models[best.model]


def _gains(names: set[str]) -> dict[str, float]:
    """Each expert's gain over its base, as the newest merge of it has measured it."""
    found: dict[str, float] = {}
    measured = ModelVersion.objects.filter(metrics__has_key="retention", parent_edges__parent__name__in=names).distinct()
    for version in measured.order_by("-pk")[:20]:
        for name, row in (version.metrics["retention"] or {}).get("experts", {}).items():
            if name in names and isinstance(row.get("gain"), int | float):
                found.setdefault(name, float(row["gain"]))
    return found


def _heaviest(setting: Any) -> float:
    if isinstance(setting, tuple):
        return max((_heaviest(getattr(point, "value", point)) for point in setting), default=0.0)
    return float(setting or 0.0)
