"""Searching a merge: the form and its refusals, the job it queues, and what its run's page shows."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.models import Job
from modelhub.models import LineageEdge, ModelVersion
from tests.training import build
from training import ingest, preflight, searches, specs
from training.engine import spec
from training.models import Run
from training.runs import Refused

pytestmark = pytest.mark.django_db
PAGE = "/runs/search/"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModelVersion]:
    """A toy base and two toy experts, and a machine on which a job could run."""
    monkeypatch.setattr(preflight, "engine_missing", list)
    build.everything_runs()
    return [
        build.version(tmp_path, "toy-base", "base", toy=True), build.version(tmp_path, "toy-clinical", "expert", toy=True),
        build.version(tmp_path, "toy-medwiki", "expert", toy=True),
    ]  # fmt: skip


def fields(house: list[ModelVersion], **changes: Any) -> dict[str, Any]:
    base, *experts = house
    return {
        "base": base.public_id, "experts": [expert.public_id for expert in experts], "method": "breadcrumbs_ties", "evaluations": 40,
        "name": "toy-searched-1", **changes,
    }  # fmt: skip


def metrics(run: Run, *, best_evaluation: int = 17) -> dict[str, Any]:
    """As the engine tells them (training/engine/kinds/search.py)."""
    start = run.params["recipe"]
    inputs = [entry | {"parameters": {"weight": 1.25, "density": 0.5, "gamma": 0.02}} for entry in start["inputs"]]
    said = {"accuracy": 0.5, "logp": -1.0, "domains": {"clinical": 0.25, "medwiki": 0.75}}
    return {
        "recipe": start | {"inputs": inputs}, "start": start, "evaluations": 40, "best_evaluation": best_evaluation,
        "ended_by": "evaluations", "search_seconds": 60.0,
        "validation": {"questions": 160, "start": said, "best": said | {"accuracy": 0.625}},
    }  # fmt: skip


def test_one_click_queues_a_job_whose_spec_the_engine_takes(as_dan: Client, house: list[ModelVersion]) -> None:
    sent = as_dan.post(PAGE, fields(house, minutes="2"))
    run = Run.objects.get()
    assert sent.headers["Location"] == f"/runs/{run.pk}/"
    job = Job.objects.get()
    taken = specs.engine_spec(job)
    assert isinstance(taken.params, spec.Search)
    assert (taken.kind, taken.params.evaluations, taken.params.seconds, sorted(taken.models)) == (
        "search", 40, 120.0, ["base", "toy-clinical", "toy-medwiki"],
    )  # fmt: skip
    assert run.estimate["basis"] == "weights and questions, for want of a measurement"
    assert run.estimate["high"] <= 160  # two minutes of evaluating, and what is around them


def test_its_page_draws_the_best_so_far_and_then_the_recipe(as_dan: Client, house: list[ModelVersion], dan: User) -> None:
    as_dan.post(PAGE, fields(house))
    run = Run.objects.get()
    found = ((1, "search_score", 0.4), (1, "search_best", 0.4), (2, "search_score", 0.3), (2, "search_best", 0.4))
    events = [{"type": "metric", "step": step, "name": name, "value": value} for step, name, value in found]
    ingest.events(run.job, [*events, {"type": "progress", "phase": "searching", "done": 3, "total": 40, "t": 100.0}])
    live = as_dan.get(f"/runs/{run.pk}/live/").text
    assert live.count('<figure class="chart">') == 1
    assert "best so far" in live
    run.refresh_from_db()
    assert run.pace == {"marks": [[100.0, 3]], "total": 40}
    build.finish(run.job, metrics=metrics(run))
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert "Merge 17 of 40 was the best: 62 % of 160 validation questions right, 50 % at the start." in page.replace("\xa0", " ")
    assert '1.2 <span class="muted">(2.0)</span>' in page
    run.refresh_from_db()
    assert run.recipe is not None
    assert f'href="/merge/?recipe={run.recipe.public_id}"' in page
    assert as_dan.get(f"/merge/?recipe={run.recipe.public_id}").status_code == 200
    made = ModelVersion.objects.get(name="toy-searched-1")
    assert (made.kind, made.toy) == ("merged", True)
    assert set(LineageEdge.objects.filter(child=made).values_list("role", "parent__name")) == {
        ("base", "toy-base"), ("expert:toy-clinical", "toy-clinical"), ("expert:toy-medwiki", "toy-medwiki"),
    }  # fmt: skip


def test_a_search_that_found_nothing_better_says_so(as_dan: Client, house: list[ModelVersion]) -> None:
    as_dan.post(PAGE, fields(house))
    run = Run.objects.get()
    build.finish(run.job, metrics=metrics(run, best_evaluation=1))
    assert "None of 40 merges was better than the start" in as_dan.get(f"/runs/{run.pk}/").text


def test_the_second_search_is_estimated_from_the_first(as_dan: Client, house: list[ModelVersion], dan: User) -> None:
    base, *experts = house
    as_dan.post(PAGE, fields(house))
    run = Run.objects.get()
    build.finish(run.job, metrics=metrics(run))
    # The pretended model has one weight like its base, and took 1.5 s a merge.
    found = searches.estimate(base=base, experts=experts, method="breadcrumbs_ties", evaluations=100, seconds=None, questions=32)
    assert found.basis == "one past search like this"
    assert found.low == pytest.approx(8 + 150 / 1.35)


def test_it_begins_with_the_newest_toys_and_follows_the_form(
    as_dan: Client, house: list[ModelVersion], django_assert_num_queries: Any
) -> None:
    as_dan.get(PAGE)
    with django_assert_num_queries(21):
        page = as_dan.get(PAGE)
    assert page.context["form"].initial["base"] == str(house[0].public_id)
    followed = as_dan.get(PAGE, fields(house), headers={"HX-Request": "true"})
    assert "<html" not in followed.text
    assert "Nothing stands in its way" in followed.text
    assert "Expect about" in followed.text


def test_without_toys_it_says_what_to_do(as_dan: Client) -> None:
    assert "There is no toy family yet" in as_dan.get(PAGE).text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experts": []}, "This field is required"),
        ({"evaluations": 5}, "greater than or equal to 13"),
        ({"method": "slurp"}, "Select a valid choice"),
        ({"name": "toy-base"}, "toy-base is taken"),
        ({"minutes": "0"}, "greater than or equal to 0.1"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_lost(as_dan: Client, house: list[ModelVersion], changes: dict[str, Any], said: str) -> None:
    page = as_dan.post(PAGE, fields(house, **changes))
    assert page.status_code == 422
    assert said in page.text
    assert not Job.objects.exists()
    if "method" not in changes:
        assert 'value="breadcrumbs_ties" selected' in page.text


def test_models_that_do_not_go_together_are_refused_by_name(house: list[ModelVersion], tmp_path: Path, dan: User) -> None:
    base, one, two = house
    real = build.version(tmp_path, "ward-expert", "expert")
    other = build.version(tmp_path, "other-words", "expert", toy=True)
    ModelVersion.objects.filter(pk=other.pk).update(tokenizer_digest="0" * 64)
    other.refresh_from_db()

    def refusal(experts: list[ModelVersion], name: str = "best-1") -> str:
        with pytest.raises(Refused) as refused:
            searches.start(base=base, experts=experts, method="ties", name=name, actor=dan)
        return str(refused.value)

    assert "Choose from 2 to 12" in refusal([one])
    assert "Leave it out of the experts" in refusal([base, one])
    assert "Public benchmarks are never searched on" in refusal([one, real])
    assert "Choose models made from one base" in refusal([one, other])
    assert "Choose another name" in refusal([one, two], name="toy-base")
    assert not Run.objects.exists()


def test_only_trainers_search(as_alice: Client) -> None:
    assert as_alice.get(PAGE).status_code == 403
