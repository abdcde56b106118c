"""An adapter in merges: into its base for good, in the lab beside experts, and in a preview; and where it does not fit."""

from pathlib import Path

import pytest
from django.test import Client

from annotation import samples
from jobs.models import Job
from modelhub import versions
from modelhub.models import Kind, ModelVersion
from tests.journeys import toys
from tests.training import adapted, build
from training import adapters, merges, runs, specs
from training.models import MergePreview, MergeRecipe, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path: Path) -> ModelVersion:
    build.everything_runs()
    return adapted.base(tmp_path)


@pytest.fixture
def lora(base: ModelVersion, tmp_path: Path) -> ModelVersion:
    return adapted.adapter(tmp_path, base)


def page_of(version: ModelVersion) -> str:
    return f"/models/{version.public_id}/merge/"


def test_it_goes_into_its_base_by_a_recipe_like_any_other(as_dan: Client, base: ModelVersion, lora: ModelVersion) -> None:
    page = as_dan.get(page_of(lora))
    assert page.context["clear"]
    assert "lora: the base with what each adds" in page.text
    answer = as_dan.post(page_of(lora), {"name": "phi-with-lora"})
    row = MergeRecipe.objects.get()
    assert answer.headers["Location"] == f"/merge/recipes/{row.public_id}/"
    assert (row.method, row.base, [given.version for given in row.inputs.all()]) == ("task_arithmetic", base, [lora])
    assert sorted(specs.engine_spec(Job.objects.get()).models) == ["lora", "phi"]
    build.finish(Run.objects.get().job)
    made = ModelVersion.objects.get(name="phi-with-lora")
    assert sorted(made.parent_edges.values_list("role", flat=True)) == ["base", "expert:lora"]


def test_a_name_that_is_taken_stops_it(as_dan: Client, lora: ModelVersion) -> None:
    answer = as_dan.post(page_of(lora), {"name": "phi"})
    assert answer.status_code == 422
    assert "phi is taken" in answer.text
    assert not Job.objects.exists()


def test_an_adapter_whose_base_is_not_here_says_what_to_bring(as_dan: Client, lora: ModelVersion) -> None:
    stray = versions.register(name="stray", kind=Kind.ADAPTER, artifact=lora.artifact, actor=None)
    assert "is for a base that is not known here" in as_dan.get(page_of(stray)).text
    answer = as_dan.post(page_of(stray), {"name": "no"})
    assert answer.status_code == 422
    with pytest.raises(runs.Refused, match="Import the base"):
        adapters.merge_into_base(adapter=stray, name="no", actor=None)


def test_the_lab_offers_the_bases_own_adapters_and_no_others(
    as_dan: Client, base: ModelVersion, lora: ModelVersion, tmp_path: Path
) -> None:
    ward = adapted.expert(tmp_path)
    elsewhere = adapted.adapter(tmp_path, ward, "elsewhere")
    page = as_dan.get("/merge/", {"base": base.name, "expert": [ward.name, lora.name], "method": "ties"})
    assert {version.name for version, _ in page.context["form"].offered()} == {"ward", "lora"}
    assert page.context["clear"]
    # One that is named all the same is put on, and said to be a stranger.
    strange = as_dan.get("/merge/", {"base": base.name, "expert": [ward.name, elsewhere.name], "method": "ties"})
    assert "elsewhere was made for ward, and is put on phi" in strange.text


def test_one_that_does_not_fit_is_refused_before_anything_is_queued(
    as_dan: Client, base: ModelVersion, lora: ModelVersion, tmp_path: Path
) -> None:
    narrow = build.version(tmp_path, "narrow", Kind.BASE)
    recipe = {"method": "task_arithmetic", "base": narrow.name, "expert": [lora.name], "do": "preview"}
    answer = as_dan.post("/merge/", recipe)
    assert answer.status_code == 422
    assert "the base has no such module" in answer.text
    assert not Job.objects.exists()


def test_a_preview_beside_an_adapter_is_measured_from_a_whole_model(
    as_dan: Client, base: ModelVersion, lora: ModelVersion, tmp_path: Path
) -> None:
    samples.import_jsonl(file=toys.corpus(10), source="toy", licence="CC0-1.0", actor=None)
    sent = {"base": base.name, "expert": [lora.name], "method": "task_arithmetic", "do": "preview"}
    assert as_dan.post("/merge/", sent).status_code == 302
    preview = MergePreview.objects.get()
    assert preview.beside == lora
    assert preview.job.spec["params"]["beside"] == ["phi", "lora"]
    # A method that knows no base is shown beside another whole model, never beside an adapter that happens to stand first.
    ward = adapted.expert(tmp_path)
    grown = versions.register(name="grown", kind=Kind.EXPERT, artifact=base.artifact, actor=None)
    sent |= {"expert": [lora.name, grown.name, ward.name], "method": "linear", f"weight-{grown.pk}": "2"}
    assert as_dan.post("/merge/", sent).status_code == 302
    newest = MergePreview.objects.first()
    assert newest is not None
    assert newest.job.spec["params"]["beside"] == ["ward", "grown"]


def test_adapters_alone_are_no_merge(base: ModelVersion, lora: ModelVersion) -> None:
    from training.engine import recipes

    recipe = recipes.parse({"method": "linear", "inputs": [{"model": lora.name, "parameters": {"weight": 1.0}}]})
    row = merges.save(recipe=recipe, versions={lora.name: lora}, actor=None)
    with pytest.raises(runs.Refused, match="Choose the model it is for as the base"):
        merges.start(recipe=row, name="nothing", actor=None)
    assert not Job.objects.exists()
