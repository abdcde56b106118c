"""The merge lab: choose base, experts and method, turn the dials or write the YAML, look ahead, try it on twenty prompts, run it."""

from hashlib import sha256
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access
from accounts.access import TRAINERS, UserRequest
from modelhub.models import Kind, ModelVersion
from training import merge_chains, merge_checks, merge_forms, merge_presets, merge_texts, merges, runs
from training.merge_forms import LabForm
from training.models import MergeRecipe, Run
from training.preflight import Check


@require_http_methods(["GET", "POST"])
@access.allow(*TRAINERS)
def lab(request: UserRequest) -> HttpResponse:
    """The draft is the address. A POST says what is to be done with it; without a word, that it be read again, fields or YAML."""
    if request.method == "GET":
        form = LabForm(_begun(request))
        return render(request, "training/merge.html", _page(form, _written(form)))
    form, pane = _read(request.POST)
    done = request.POST.get("do", "")
    if done == "reset":
        return redirect(f"{reverse('training:merge')}?{_reset(form)}")
    if done in ("run", "preview", "save") and form.usable and not pane["problems"] and not pane["torn"]:
        if answer := _do(request, done, form):
            return answer
    elif done in ("run", "preview", "save"):
        form.add_error(None, "Nothing was started: something is missing or wrong, as marked.")
    if request.htmx:
        return _followed(request, form, pane)
    page = _page(form, pane)
    return render(request, "training/merge.html", page, status=422 if done and done != "read" else 200)


def _begun(request: UserRequest) -> QueryDict:
    """The draft of the address; of `?recipe=`, that recipe; of nothing, the newest base there is."""
    if named := request.GET.get("recipe"):
        row = get_object_or_404(MergeRecipe, public_id=_uuid(named))
        recipe, models = merge_chains.of_row(row)
        base = next((name for name in models if name not in {given.model for given in recipe.inputs}), "")
        return merge_forms.of_recipe(recipe, models, seed=row.seed, base=base, cloned_from=str(row.public_id))
    data = request.GET.copy()
    if "base" not in data:
        # What experts were trained from: the newest model that has any.
        of_experts = ModelVersion.objects.usable().filter(child_edges__child__kind=Kind.EXPERT, kind=Kind.BASE)
        if found := of_experts.order_by("-pk").first() or ModelVersion.objects.usable().filter(kind=Kind.BASE).order_by("-pk").first():
            data["base"] = found.name
    return data


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404("No such recipe.") from None


# --- fields and YAML --------------------------------------------------------------------------------------------------------------


def _read(data: QueryDict) -> tuple[LabForm, dict[str, Any]]:
    """The form and the YAML pane of what was sent. Whichever of the two was changed since it was drawn says what is meant.

    When both were, nothing is thrown away: the pane is `torn` until its reader says which counts (`side`).
    """
    form = LabForm(data)
    text = data.get("yaml", "").replace("\r\n", "\n")
    was = str(data.get("yaml_was", ""))
    told = bool(was)
    typed = told and _digest(text) != was
    turned = told and form.digest() != data.get("fields_was", "")
    side = data.get("side", "")
    if not typed or side == "fields":
        return form, _written(form, kept=text if told and not typed else "")
    if turned and side != "yaml":
        return form, _pane(text, was=was, fields=data.get("fields_was", ""), torn=True)
    try:
        found = merge_texts.read(text)
    except merge_texts.Unreadable as wrong:
        return form, _pane(text, was=was, fields=data.get("fields_was", ""), problems=wrong.problems)
    told_again = merge_forms.of_recipe(
        found.recipe, found.versions, seed=form.seed_or_usual, base=data.get("base", ""), cloned_from=data.get("cloned_from", "")
    )
    told_again["name"] = data.get("name", "")
    form = LabForm(told_again)
    return form, _written(form, kept=text) | {"notes": found.notes, "ruled": True}


def _written(form: LabForm, *, kept: str = "") -> dict[str, Any]:
    """The pane of what the form says; the text as it stands when it means the same, with its comments and its order."""
    if form.recipe is None:
        return _pane(kept, was=_digest(kept), fields=form.digest())
    text = kept if kept and merge_texts.means(kept, form.recipe) else merge_texts.write(form.recipe)
    return _pane(text, was=_digest(text), fields=form.digest())


def _pane(text: str, *, was: str, fields: str, problems: list[tuple[int | None, str]] | None = None, torn: bool = False) -> dict[str, Any]:
    return {
        "text": text, "was": was, "fields": fields, "problems": problems or [], "torn": torn, "rows": min(40, text.count("\n") + 3),
        "notes": (), "ruled": False,
    }  # fmt: skip


def _digest(text: str) -> str:
    return sha256(text.strip().encode()).hexdigest()[:16]


def _reset(form: LabForm) -> str:
    """The address of the same models and method, every number where its table begins."""
    data = QueryDict(mutable=True)
    for name in ("base", "expert", "method", "cloned_from"):
        data.setlist(name, [value for value in form.data.getlist(name) if value])  # type: ignore[attr-defined]
    return data.urlencode()


# --- looking ahead ----------------------------------------------------------------------------------------------------------------


def _page(form: LabForm, pane: dict[str, Any]) -> dict[str, Any]:
    return {
        "form": form, "pane": pane, "address": f"{reverse('training:merge')}?{form.address()}", "offered": form.offered(),
        "paper": merge_presets.NOTES, "layout": _layout(form), **_ahead(form),
        "any": bool(form.chosen) or ModelVersion.objects.usable().exclude(kind=Kind.BASE).exists(), "recipes": MergeRecipe.objects.exists(),
    }  # fmt: skip


def _ahead(form: LabForm) -> dict[str, Any]:
    """The checks of what is chosen so far."""
    base, experts = form.chosen_base, form.chosen
    if base is None or not experts:
        return {"checks": [], "clear": False}
    others = [version for version in experts if version != base]
    checks = [*merge_checks.agreement(base, others), merge_checks.licences(base, others), *merge_checks.provenance(base, others)]
    if not any(check.stops for check in checks):
        checks += merge_checks.of_size(base, others, out_dtype=form.data.get("out_dtype", "same"))
    checks += [merge_checks.name(form.data.get("name", "").strip()), *_of_recipe(form), merge_checks.worker()]
    return {"checks": checks, "clear": form.usable and not any(check.stops for check in checks)}


def _of_recipe(form: LabForm) -> list[Check]:
    if form.recipe is None:
        return []
    models = form.models()
    found = []
    made, read = merge_chains.flattened(form.recipe, models)
    if made.steps:
        said = f"{len(made.steps)} of its models {'is a merge itself and is' if len(made.steps) == 1 else 'are merges themselves and are'}"
        found.append(
            Check("Merged inputs", "ok", f"{said} made anew: evaluated from the original experts, {len(read)} models, rounded once")
        )
    row = MergeRecipe.objects.filter(digest=merges.digest_of(form.recipe, models, seed=form.seed_or_usual)).first()
    same = Run.objects.filter(recipe=row, output__isnull=False).first() if row else None
    if same:
        found.append(Check("Not run before", "warn", f"{same.name} was made by this very recipe", "It would be the same model again."))
    return found


def _followed(request: UserRequest, form: LabForm, pane: dict[str, Any]) -> HttpResponse:
    """What changes while the reader goes on: the checks always; fields and YAML only where they are not as drawn."""
    page = _page(form, pane)
    # Drawn anew under the reader's hands only when other fields are wanted, or the text has set them.
    page["redrawn"] = pane["ruled"] or request.POST.get("drawn", "") != page["layout"]
    page["rechosen"] = pane["ruled"] or request.POST.get("drawn_base", "") != (form.chosen_base.name if form.chosen_base else "")
    response = render(request, "training/merge.html#followed", page)
    response.headers["HX-Replace-Url"] = page["address"]
    return response


def _layout(form: LabForm) -> str:
    """Changes when other fields are to be drawn."""
    return sha256(" ".join([form.data.get("method", ""), *(dial.key for dial in form.dials())]).encode()).hexdigest()[:16]


# --- doing ------------------------------------------------------------------------------------------------------------------------


def _do(request: UserRequest, done: str, form: LabForm) -> HttpResponse | None:
    """Save the recipe, and with it what was asked. None when it was refused, with the reason on the form."""
    assert form.recipe is not None
    # A preview has no name, and a recipe may be kept for another day.
    stops = [check for check in _ahead(form)["checks"] if check.stops and (check.name != "Name" or done == "run")]
    if stops and done != "save":
        form.add_error(None, "; ".join(f"{check.name}: {check.detail}. {check.fix}" for check in stops))
        return None
    if done == "run" and not form.cleaned_data.get("name"):
        form.add_error("name", "A merge needs a name to be found by.")
        return None
    row = merges.save(
        recipe=form.recipe, versions=form.models(), seed=form.seed_or_usual, actor=request.user,
        cloned_from=form.cleaned_data.get("cloned_from"),
    )  # fmt: skip
    try:
        if done == "run":
            run = merges.start(recipe=row, name=form.cleaned_data["name"], actor=request.user)
            messages.success(request, f"{run.name} is queued.")
        elif done == "preview":
            asked = merges.preview(recipe=row, beside=merges.best_of(row), actor=request.user)
            return redirect("training:merge-preview", asked.public_id)
        else:
            messages.success(request, "The recipe is saved.")
    except runs.Refused as refused:
        form.add_error(None, str(refused))
        return None
    except merges.NoPrompts:
        form.add_error(None, "There is nothing to preview on: import samples first. Nothing else was lost.")
        return None
    return redirect("training:merge-recipe", row.public_id)


@require_POST
@access.allow(*TRAINERS)
def paper(request: UserRequest) -> HttpResponse:
    """The paper's two steps of the base and experts that are ticked: each expert with the base, then all of them."""
    form = LabForm(request.POST)
    stem = form.cleaned_data.get("name") or ""
    if form.chosen_base is None or len(form.chosen) < 2:
        form.add_error(None, "The paper's two steps need a base and at least two experts.")
    elif not stem:
        form.add_error("name", "Give the merge a name: the models of both steps will be called after it.")
    else:
        try:
            made = merge_presets.start_paper(base=form.chosen_base, experts=form.chosen, name=stem, actor=request.user)
        except runs.Refused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{len(made)} merges are queued; {made[-1].name} waits for the others.")
            return redirect("training:run", made[-1].pk)
    return render(request, "training/merge.html", _page(form, _written(form)), status=422)
