"""Extracting an adapter: which bases are offered, what stands in the way, the job, and what its run and its version say."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry
from jobs.models import Job
from modelhub import versions
from modelhub.models import Kind, ModelVersion
from tests.training import adapted, build
from training import specs
from training.engine import spec
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path: Path) -> ModelVersion:
    build.everything_runs()
    return adapted.base(tmp_path)


@pytest.fixture
def ward(base: ModelVersion, tmp_path: Path) -> ModelVersion:
    return adapted.expert(tmp_path)


def page_of(version: ModelVersion) -> str:
    return f"/models/{version.public_id}/extract/"


def fields(measured_from: ModelVersion, **changes: Any) -> dict[str, Any]:
    return {"base": measured_from.public_id, "rank": 2, "name": "ward-lora", **changes}


def test_what_it_was_made_of_is_offered_first(as_dan: Client, base: ModelVersion, ward: ModelVersion) -> None:
    grown = versions.register(name="grown", kind=Kind.DPO, artifact=ward.artifact, parents=[(base, "policy")], actor=None)
    later = versions.register(name="later", kind=Kind.DPO, artifact=base.artifact, parents=[(grown, "policy")], actor=None)
    offered = as_dan.get(page_of(later)).context["bases"]
    assert [version.name for version in offered] == ["grown", "phi", "ward"]
    # One that came in from outside has no lineage here: a base is likelier than what was made since.
    assert [version.name for version in as_dan.get(page_of(ward)).context["bases"]] == ["phi", "later", "grown"]


def test_choosing_says_what_the_adapter_takes_and_whether_anything_stands_in_its_way(
    as_dan: Client, base: ModelVersion, ward: ModelVersion, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(12):
        page = as_dan.get(page_of(ward), {"base": base.public_id, "rank": 2})
    # Four matrices a layer, two layers: 2·4 bytes · (8+12 + 24+8 + 8+8 + 24+8), twice.
    assert "2 in each of 8 matrices; the adapter takes 0.0 MB" in page.text
    assert page.context["clear"]
    wide = as_dan.get(page_of(ward), {"base": base.public_id, "rank": 8}, headers={"HX-Request": "true"})
    assert "holds all of their change" in wide.text
    assert "<h1>" not in wide.text


def test_one_click_queues_a_job_that_the_engine_takes_and_whose_adapter_is_the_bases(
    as_dan: Client, base: ModelVersion, ward: ModelVersion
) -> None:
    assert 'id="extract"' in as_dan.get(f"/models/{ward.public_id}/").text
    sent = as_dan.post(page_of(ward), fields(base))
    run = Run.objects.get()
    assert sent.headers["Location"] == f"/runs/{run.pk}/"
    taken = specs.engine_spec(Job.objects.get())
    assert isinstance(taken.params, spec.Extract)
    assert (taken.kind, taken.params.rank, sorted(taken.models)) == ("extract", 2, ["base", "expert"])
    assert AuditEntry.objects.get(verb="extraction.started").details["rank"] == 2
    build.finish(run.job, metrics=adapted.EXTRACTED)
    made = ModelVersion.objects.get(name="ward-lora")
    assert (made.kind, made.architecture, made.tokenizer_digest) == (Kind.ADAPTER, base.architecture, base.tokenizer_digest)
    edges = made.parent_edges.order_by("pk")
    assert [(edge.role, str(edge.parent)) for edge in edges] == [("base", "phi"), ("expert", "ward")]
    shown = as_dan.get(f"/runs/{run.pk}/").text
    assert "At rank 2, 50" in shown
    assert shown.count('class="heat-cell"') == 3 + 5  # and the key's
    assert "model.norm.weight" in shown
    assert f"/models/{ward.public_id}/" in shown
    of_model = as_dan.get(f"/models/{made.public_id}/").text
    assert 'id="merge-adapter"' in of_model
    assert 'id="extract"' not in of_model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "phi"}, "phi is taken"),
        ({"rank": "0"}, "greater than or equal to 1"),
        ({"rank": "5000"}, "less than or equal to 4096"),
        ({"base": "00000000-0000-4000-8000-000000000000"}, "not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_queued(
    as_dan: Client, base: ModelVersion, ward: ModelVersion, change: dict[str, Any], said: str
) -> None:
    answer = as_dan.post(page_of(ward), fields(base, **change))
    assert answer.status_code == 422
    assert said in answer.text
    assert not Job.objects.exists()


def test_a_copy_of_the_base_has_nothing_to_extract(as_dan: Client, base: ModelVersion) -> None:
    same = versions.register(name="same", kind=Kind.EXPERT, artifact=base.artifact, actor=None)
    answer = as_dan.post(page_of(same), fields(base))
    assert answer.status_code == 422
    assert "have the very same files" in answer.text


def test_without_a_model_like_it_the_page_says_what_to_bring(as_dan: Client, base: ModelVersion) -> None:
    page = as_dan.get(page_of(base))
    assert "there is nothing to measure its change from" in page.text


def test_an_adapter_is_extracted_from_no_adapter(as_dan: Client, base: ModelVersion, tmp_path: Path) -> None:
    assert as_dan.get(page_of(adapted.adapter(tmp_path, base))).status_code == 404
