"""The list of studies, and the way to it from the home page, an evaluation and a model."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import User
from tests.training import study as small
from training import studies
from training.models import Evaluation

pytestmark = pytest.mark.django_db


@pytest.fixture
def evaluation(tmp_path: Path, dan: User, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    small.smaller(monkeypatch)
    return small.evaluation(tmp_path, small.raters(), dan)


def test_without_any_it_says_where_one_starts(as_dan: Client, as_carol: Client) -> None:
    page = as_dan.get("/studies/").text
    assert "No study was started yet." in page
    assert 'href="/runs/"' in page
    assert 'class="button button-primary" href="/runs/"' not in as_carol.get("/studies/").text


def test_each_has_its_state_and_verdict(as_carol: Client, evaluation: Evaluation, dan: User, django_assert_max_num_queries: object) -> None:
    first = studies.start(evaluation=evaluation, actor=dan)
    studies.stop(study=first, actor=dan, reason="wrong raters")
    second = studies.start(evaluation=evaluation, actor=dan)
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        page = as_carol.get("/studies/").text
    assert page.index(f"/studies/{second.public_id}/") < page.index(f"/studies/{first.public_id}/")
    assert "Both models are answering" in page
    assert "Stopped" in page
    assert page.count("<td>ward-dpo</td><td>ward-sft</td>") == 2


def test_those_of_one_model_are_found_from_its_page(as_dan: Client, evaluation: Evaluation, dan: User) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    for version in (evaluation.policy, evaluation.reference):
        link = f"/studies/?model={version.public_id}"
        assert f'href="{link}"' in as_dan.get(f"/models/{version.public_id}/").text
        assert f"/studies/{made.public_id}/" in as_dan.get(link).text
    assert as_dan.get("/studies/", {"model": "nonsense"}).status_code == 200


def test_the_home_page_says_where_the_newest_stands(as_dan: Client, evaluation: Evaluation, dan: User) -> None:
    made = studies.start(evaluation=evaluation, actor=dan)
    stage = next(stage for stage in as_dan.get("/").context["stages"] if stage.name == "Blinded studies")
    assert (stage.count, stage.link) == (1, "/studies/")
    assert stage.note == f"study {made.pk}: both models are answering"
