"""What became of recipes: the list, a recipe's page with heat map and retention, a preview's texts, two of them side by side."""

from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.test import Client

from accounts.models import User
from annotation.models import Prompt
from jobs.models import Job
from modelhub.models import Kind, ModelVersion
from tests.training import build
from training import merge_reports, merges
from training.engine import recipes
from training.models import MergePreview, MergeRecipe, Run

pytestmark = pytest.mark.django_db

EXPERTS = ("ward-clinical", "ward-pubmed")


def tensor(layer: int | None, module: str, *, delta: float, cosine: float, conflict: float, base: float = 10.0) -> dict[str, Any]:
    return {
        "name": f"{module}.{layer}", "layer": layer, "module": module, "numel": 100, "base_norm": base, "merged_norm": base + delta,
        "delta_norm": {"ward-clinical": delta, "ward-pubmed": delta / 2}, "cosine": {"ward-clinical": cosine, "ward-pubmed": None},
        "sign_conflict": conflict, "pairwise_cosine": 0.1, "kept": 0.5,
    }  # fmt: skip


METRICS: dict[str, Any] = {
    "tensors": 3,
    "merge_report": {
        "tensors": [
            tensor(0, "mlp.down_proj", delta=1.0, cosine=0.5, conflict=0.25),
            tensor(1, "mlp.down_proj", delta=2.0, cosine=0.75, conflict=0.5),
            tensor(None, "lm_head", delta=4.0, cosine=1.0, conflict=0.0),
        ]
    },
    "retention": {
        "questions": 48,
        "experts": {
            "ward-clinical": {"base": 0.2, "expert": 0.8, "merged": 0.65, "gain": 0.6, "kept": 0.75, "interval": [0.5, 1.0]},
            "ward-pubmed": {"base": 0.4, "expert": 0.4, "merged": 0.4, "gain": 0.0, "kept": None, "interval": None},
        },
    },
}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, ModelVersion]:
    base = build.version(tmp_path, "ward-base", Kind.BASE)
    return {base.name: base} | {name: build.version(tmp_path, name, Kind.EXPERT) for name in EXPERTS}


def recipe(models: dict[str, ModelVersion], actor: User, **parameters: Any) -> MergeRecipe:
    raw = {
        "method": "ties",
        "base": "ward-base",
        "inputs": [{"model": name, "parameters": {"weight": 1.0} | parameters} for name in EXPERTS],
    }
    return merges.save(recipe=recipes.parse(raw), versions=models, actor=actor)


@pytest.fixture
def merged(models: dict[str, ModelVersion], dan: User) -> Run:
    run = merges.start(recipe=recipe(models, dan), name="ward-merged", actor=dan)
    build.finish(run.job, metrics=METRICS)
    run.refresh_from_db()
    return run


def previewed(row: MergeRecipe, actor: User, said: str) -> MergePreview:
    preview = merges.preview(recipe=row, beside=merges.best_of(row), actor=actor)
    items = [{"id": str(pk), "texts": ["from the base", "from the expert", f"{said} {pk}"]} for pk in preview.job.spec["inputs"]["prompts"]]
    build.finish(preview.job, items=items)
    return preview


def test_a_recipe_does_not_change(models: dict[str, ModelVersion], dan: User) -> None:
    row = recipe(models, dan)
    with pytest.raises(ProgrammingError), transaction.atomic():
        MergeRecipe.objects.filter(pk=row.pk).update(method="linear")
    assert recipe(models, dan) == row
    assert recipe(models, dan, density=0.5) != row


def test_the_list_shows_digest_who_when_and_what_came_of_it(as_dan: Client, merged: Run, django_assert_num_queries: Any) -> None:
    assert merged.recipe is not None
    with django_assert_num_queries(9):
        page = as_dan.get("/merge/recipes/")
    for said in (merged.recipe.digest[:8], "dan", "ward-merged", "ward-clinical, ward-pubmed"):
        assert said in page.text


def test_the_page_draws_what_happened_in_which_layer(as_dan: Client, merged: Run, django_assert_num_queries: Any) -> None:
    assert merged.recipe is not None
    address = f"/merge/recipes/{merged.recipe.public_id}/"
    with django_assert_num_queries(14):
        page = as_dan.get(address)
    assert "Change by the expert: ward-clinical" in page.text
    assert "<title>mlp.down_proj, 1: 0.2</title>" in page.text
    assert "<title>lm_head, other: 0.4</title>" in page.text
    page = as_dan.get(address, {"metric": "conflict"})
    assert "<title>mlp.down_proj, 1: 0.5</title>" in page.text
    page = as_dan.get(address, {"metric": "nonsense", "expert": "ward-pubmed"})
    assert "<title>mlp.down_proj, 1: 0.1</title>" in page.text
    # No length, no angle: an empty chart that says so.
    assert "no measurements yet" in as_dan.get(address, {"metric": "cosine", "expert": "ward-pubmed"}).text
    assert as_dan.get(f"/models/{merged.output and merged.output.public_id}/").status_code == 200


def test_the_page_says_what_each_expert_kept_with_its_interval(as_dan: Client, merged: Run) -> None:
    assert merged.recipe is not None
    page = as_dan.get(f"/merge/recipes/{merged.recipe.public_id}/")
    assert "75 % (50 % to 100 %)" in page.text
    assert "the expert gained nothing to keep" in page.text


def test_two_tensors_in_one_place_are_one_square() -> None:
    both = [
        tensor(0, "norm", delta=3.0, cosine=0.0, conflict=0.0, base=3.0),
        tensor(0, "norm", delta=4.0, cosine=1.0, conflict=1.0, base=4.0),
    ]
    assert merge_reports.report({}) is None
    report = merge_reports.report({"merge_report": {"tensors": both}}, metric="delta")
    assert report is not None
    assert "norm, 0: 1<" in report.chart
    report = merge_reports.report({"merge_report": {"tensors": both}}, metric="cosine")
    assert report is not None
    assert "norm, 0: 0.5<" in report.chart


def test_while_it_runs_the_page_asks_and_then_loads_anew(as_dan: Client, models: dict[str, ModelVersion], dan: User) -> None:
    run = merges.start(recipe=recipe(models, dan), name="ward-merged", actor=dan)
    address = f"/merge/recipes/{run.recipe and run.recipe.public_id}/"
    page = as_dan.get(address)
    assert 'hx-trigger="every 1s"' in page.text
    seen = page.context["seen"]
    htmx = {"HX-Request": "true"}
    assert as_dan.get(address, {"seen": seen}, headers=htmx).status_code == 204
    Job.objects.filter(pk=run.job.pk).update(progress_done=1, progress_total=3, phase="merging")
    assert "1 of 3" in as_dan.get(address, {"seen": seen}, headers=htmx).text
    build.finish(run.job, metrics={})
    assert as_dan.get(address, {"seen": seen}, headers=htmx).headers["HX-Refresh"] == "true"


def test_a_preview_shows_three_answers_and_hides_what_its_reader_judges(
    as_dan: Client, dan: User, models: dict[str, ModelVersion], django_assert_num_queries: Any
) -> None:
    frozen = build.snapshot()
    preview = previewed(recipe(models, dan), dan, "from the merge")
    with django_assert_num_queries(6):
        page = as_dan.get(f"/merge/previews/{preview.public_id}/")
    for said in ("from the base", "from the expert", "from the merge"):
        assert page.text.count(said) == 20
    # Dan now judges one of its prompts in an open campaign: the models' names would tell him too much.
    judged = preview.answers.first()
    assert judged is not None
    campaign = frozen.campaign
    campaign.memberships.create(user=dan)
    type(campaign).objects.filter(pk=campaign.pk).update(state="open")
    page = as_dan.get(f"/merge/previews/{preview.public_id}/")
    hidden = page.context["hidden"]
    assert hidden == Prompt.objects.filter(pairs__campaign=campaign, pk__in=preview.answers.values("prompt")).distinct().count() > 0
    assert f"{hidden} of the answers" in page.text


def test_a_preview_that_failed_says_so_and_keeps_the_recipe(as_dan: Client, dan: User, models: dict[str, ModelVersion]) -> None:
    build.snapshot()
    preview = merges.preview(recipe=recipe(models, dan), beside=models["ward-pubmed"], actor=dan)
    assert "Waiting for a worker" in as_dan.get(f"/merge/previews/{preview.public_id}/").text
    Job.objects.filter(pk=preview.job.pk).update(state="failed", error_code="bad_model", error_detail="ward-pubmed: it is not whole")
    page = as_dan.get(f"/merge/previews/{preview.public_id}/")
    assert "ward-pubmed: it is not whole" in page.text
    assert "The recipe is kept" in page.text


def test_two_recipes_side_by_side_differ_in_what_differs(as_dan: Client, dan: User, models: dict[str, ModelVersion], merged: Run) -> None:
    build.snapshot()
    assert merged.recipe is not None
    other = recipe(models, dan, density=0.25)
    for row, said in ((merged.recipe, "one says"), (other, "another says")):
        previewed(row, dan, said)
    page = as_dan.get("/merge/recipes/compare/", {"recipe": [merged.recipe.public_id, other.public_id]})
    assert dict(page.context["differs"]) == {"ward-clinical, density": ["1", "0.25"], "ward-pubmed, density": ["1", "0.25"]}
    assert "one says" in page.text
    assert "another says" in page.text
    assert "tick two" in as_dan.get("/merge/recipes/compare/", {"recipe": [other.public_id]}, follow=True).text


def test_cloning_opens_the_lab_as_the_recipe_is(as_dan: Client, dan: User, models: dict[str, ModelVersion]) -> None:
    row = recipe(models, dan, density=[0.2, 0.8])
    page = as_dan.get("/merge/", {"recipe": str(row.public_id)})
    form = page.context["form"]
    assert merges.digest_of(form.recipe, form.models(), seed=0) == row.digest
    changed = as_dan.post("/merge/", {**{k: form.data.getlist(k) for k in form.data}, "lambda": "0.5", "do": "save"})
    assert changed.status_code == 302
    assert MergeRecipe.objects.exclude(pk=row.pk).get().cloned_from == row


def test_the_expert_that_gained_most_is_the_one_to_beat(models: dict[str, ModelVersion], dan: User, merged: Run) -> None:
    assert merged.recipe is not None
    assert merges.best_of(merged.recipe).name == "ward-clinical"
    heavy = recipe(models, dan, density=0.5)
    assert merges.best_of(heavy).name == "ward-clinical"
