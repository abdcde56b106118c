"""What became of recipes: the list, a recipe with its merges, heat map and retention, a preview's texts, and two recipes side by side."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import User
from annotation.models import CampaignState, Membership, Pair
from jobs import advice
from training import merge_chains, merge_drafts, merge_reports, merge_texts
from training.models import MergePreview, MergePreviewAnswer, MergeRecipe, Run

A_PAGE = 50


@require_safe
@access.allow(*TRAINERS)
def recipe_list(request: UserRequest) -> HttpResponse:
    page = Paginator(MergeRecipe.objects.for_list(), A_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/merge_recipes.html", {"page": page})


@require_safe
@access.allow(*TRAINERS)
def recipe(request: UserRequest, public_id: UUID) -> HttpResponse:
    """One recipe: what it says, what came of it. While a merge of it is under way htmx asks whether it still is."""
    row = get_object_or_404(MergeRecipe.objects.for_list(), public_id=public_id)
    runs = sorted(row.runs.all(), key=lambda run: -run.pk)
    alive = [run for run in runs if not run.job.ended]
    if request.htmx:
        seen = request.GET.get("seen", "")
        if not alive and seen:
            return HttpResponseClientRefresh()
        return (
            HttpResponse(status=204)
            if seen == _seen(runs)
            else render(request, "training/merge_recipe.html#merges", {"row": row, "runs": runs, "alive": alive, "seen": _seen(runs)})
        )
    done = [run for run in runs if run.output]
    shown = next((run for run in done if str(run.pk) == request.GET.get("run")), done[0] if done else None)
    made, models = merge_chains.of_row(row)
    flat, read = merge_chains.flattened(made, models)
    metrics = shown.output.metrics if shown and shown.output else {}
    order = [given.model for given in made.inputs]
    return render(request, "training/merge_recipe.html", {
        "row": row, "runs": runs, "alive": alive, "seen": _seen(runs), "shown": shown, "numbers": _numbers(row),
        "yaml": merge_texts.write(made), "steps": sorted(flat.steps), "read": len(read),
        "report": merge_reports.report(metrics, metric=request.GET.get("metric", ""), expert=request.GET.get("expert", ""), order=order),
        "retention": merge_reports.retention(metrics, order=order),
        "previews": row.previews.select_related("job", "beside"),
        "others": MergeRecipe.objects.exclude(pk=row.pk).order_by("-pk")[:20],
    })  # fmt: skip


def _seen(runs: list[Run]) -> str:
    return "-".join(f"{run.pk}.{run.job.state}.{run.job.phase}.{run.job.progress_done}" for run in runs)


def _numbers(row: MergeRecipe) -> dict[str, Any]:
    """The recipe's parameters as a table: a row an expert, a column a parameter; and those that all of them share."""
    made, _ = merge_chains.of_row(row)
    names = [entry.name for entry in made.table.per_input]
    return {
        "title": made.table.title, "meaning": made.table.meaning, "source": made.table.source, "names": names,
        "inputs": [(given.model, [merge_drafts.said(given.parameters[name]) for name in names]) for given in made.inputs],
        "shared": [(name, merge_drafts.said(value)) for name, value in made.parameters.items()]
        + [(name, value) for name, value in made.variants.items()] + [("saved as", made.out_dtype)],
    }  # fmt: skip


# --- previews ---------------------------------------------------------------------------------------------------------------------


@require_safe
@access.allow(*TRAINERS)
def preview(request: UserRequest, public_id: UUID) -> HttpResponse:
    found = get_object_or_404(MergePreview.objects.select_related("job", "recipe__base", "beside"), public_id=public_id)
    seen = f"{found.job.state}-{found.job.phase}-{found.job.progress_done}"
    page = {"preview": found, "job": found.job, "seen": seen, "advice": advice.for_code(found.job.error_code)}
    if request.htmx:
        if request.GET.get("seen") == seen:
            return HttpResponse(status=204)
        return HttpResponseClientRefresh() if found.job.ended else render(request, "training/merge_preview.html#progress", page)
    answers, hidden = _readable(request.user, found)
    return render(request, "training/merge_preview.html", page | {"answers": answers, "hidden": hidden})


def _readable(user: User, found: MergePreview) -> tuple[list[MergePreviewAnswer], int]:
    """The answers `user` may read, and how many they may not: to prompts that they judge now, or by a model of a study they rate in, the
    models' names would tell too much."""
    answers = list(found.answers.select_related("prompt__sample"))
    if not MergePreview.objects.unblinded_for(user).filter(pk=found.pk).exists():
        return [], len(answers)
    judging = Membership.objects.filter(user=user, campaign__state__in=CampaignState.running()).values("campaign")
    blinded = set(
        Pair.objects.filter(campaign__in=judging, prompt__in=[each.prompt_id for each in answers]).values_list("prompt", flat=True)
    )
    kept = [each for each in answers if each.prompt_id not in blinded]
    return kept, len(answers) - len(kept)


# --- two of them --------------------------------------------------------------------------------------------------------------------


@require_safe
@access.allow(*TRAINERS)
def compare(request: UserRequest) -> HttpResponse:
    """Two recipes: what differs, what each kept of its experts, what each answered."""
    rows = [get_object_or_404(MergeRecipe.objects.for_list(), public_id=_uuid(named)) for named in request.GET.getlist("recipe")]
    if len(rows) != 2:
        messages.warning(request, "Two recipes are compared, no fewer and no more: tick two.")
        return redirect("training:merge-recipes")
    outputs = [next((run.output for run in sorted(row.runs.all(), key=lambda run: -run.pk) if run.output), None) for row in rows]
    kept = [merge_reports.retention(output.metrics) if output else None for output in outputs]
    return render(request, "training/merge_compare.html", {
        "rows": list(zip(rows, outputs, strict=True)), "differs": _differing(rows), "retention": _side_by_side(kept),
        "texts": _answered(request.user, rows),
    })  # fmt: skip


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404("No such recipe.") from None


def _flat(row: MergeRecipe) -> dict[str, str]:
    numbers = _numbers(row)
    flat = {"method": row.method, "base": row.base.name if row.base else "none", "seed": str(row.seed)}
    for model, values in numbers["inputs"]:
        # An expert without numbers of its own is there or is not.
        flat |= {f"{model}, {name}": value for name, value in zip(numbers["names"], values, strict=True)} or {model: "merged"}
    return flat | dict(numbers["shared"])


def _differing(rows: list[MergeRecipe]) -> list[tuple[str, list[str]]]:
    flats = [_flat(row) for row in rows]
    names = dict.fromkeys(name for flat in flats for name in flat)
    return [(name, values) for name in names if len(set(values := [flat.get(name, "–") for flat in flats])) > 1]


def _side_by_side(kept: list[merge_reports.Retention | None]) -> list[tuple[str, list[merge_reports.Kept | None]]]:
    """Each expert that either kept something of, with what each kept."""
    by_name = [{row.name: row for row in each.rows} if each else {} for each in kept]
    names = dict.fromkeys(name for rows in by_name for name in rows)
    return [(name, [rows.get(name) for rows in by_name]) for name in names]


def _answered(user: User, rows: list[MergeRecipe]) -> list[dict[str, Any]]:
    """Prompts that the newest finished preview of each has answered, with both answers and the base's."""
    newest = [MergePreview.objects.filter(recipe=row, answers__isnull=False).order_by("-pk").first() for row in rows]
    if any(each is None for each in newest):
        return []
    mine, theirs = ({each.prompt_id: each for each in _readable(user, found)[0]} for found in newest if found)
    return [
        {"prompt": answer.prompt, "base": answer.base, "merged": [answer.merged, theirs[pk].merged]}
        for pk, answer in mine.items()
        if pk in theirs
    ]
