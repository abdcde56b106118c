"""A study starts in one click from a finished evaluation, and says in words why it cannot."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import Role, User
from modelhub import aliases
from tests.cast import person
from tests.training import study as small
from training.models import Evaluation, Run, Study

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    small.smaller(monkeypatch)


@pytest.fixture
def raters() -> list[User]:
    return small.raters()


@pytest.fixture
def evaluation(tmp_path: Path, raters: list[User], dan: User) -> Evaluation:
    return small.evaluation(tmp_path, raters, dan)


def address(evaluation: Evaluation) -> str:
    return f"/evaluations/{evaluation.public_id}/study/"


def test_one_click_on_the_evaluation_asks_the_campaigns_own_raters(as_dan: Client, evaluation: Evaluation, raters: list[User]) -> None:
    page = as_dan.get(f"/evaluations/{evaluation.public_id}/").text
    assert f'<form method="post" action="{address(evaluation)}">' in page
    after = as_dan.post(address(evaluation), follow=True)
    study = Study.objects.get()
    assert after.redirect_chain == [(f"/studies/{study.public_id}/", 302)]
    assert "Both models are answering" in after.text
    assert set(study.raters.all()) == set(raters)
    assert (study.champion.name, study.challenger.name) == ("ward-sft", "ward-dpo")
    # While it is under way there is nothing to click, but the way to it.
    page = as_dan.get(f"/evaluations/{evaluation.public_id}/").text
    assert f"/studies/{study.public_id}/" in page
    assert address(evaluation) not in page
    assert "A study of this evaluation is under way." in as_dan.post(address(evaluation)).text


def test_a_finished_run_has_the_click_too(as_dan: Client, evaluation: Evaluation) -> None:
    run = Run.objects.create(
        job=evaluation.job, name="ward-run", policy=evaluation.reference, output=evaluation.policy, snapshot=evaluation.snapshot
    )
    assert f'action="{address(evaluation)}"' in as_dan.get(f"/runs/{run.pk}/").text
    as_dan.post(address(evaluation))
    assert "See the blinded study" in as_dan.get(f"/runs/{run.pk}/").text


def test_others_are_chosen_on_its_page_with_a_seed(as_dan: Client, evaluation: Evaluation, raters: list[User]) -> None:
    extra = person("dr-khan", Role.ADJUDICATOR)
    page = as_dan.get(address(evaluation)).text
    assert "dr-khan" in page
    assert "12 to 30 judgements by at least 3 raters" in page
    assert "dan" not in page.split("<fieldset")[1].split("</fieldset>")[0]
    as_dan.post(address(evaluation), {"raters": [extra.pk, raters[0].pk, raters[1].pk], "seed": 5})
    study = Study.objects.get()
    assert study.seed == 5
    assert set(study.raters.all()) == {extra, raters[0], raters[1]}


def test_too_few_raters_are_said_where_others_can_be_chosen(as_dan: Client, evaluation: Evaluation, raters: list[User]) -> None:
    answer = as_dan.post(address(evaluation), {"raters": [raters[0].pk], "seed": "5"})
    assert "A verdict needs 3 raters; 1 can be asked." in answer.text
    assert 'value="5"' in answer.text
    assert not Study.objects.exists()
    raters[2].is_active = False
    raters[2].save()
    assert "A verdict needs 3 raters; 2 can be asked." in as_dan.post(address(evaluation)).text
    answer = as_dan.post(address(evaluation), {"seed": "-1"})
    assert "greater than or equal to 0" in answer.text
    assert not Study.objects.exists()


def test_who_lost_the_clinicians_role_is_not_asked(as_dan: Client, evaluation: Evaluation, raters: list[User]) -> None:
    raters[1].grants.all().delete()
    assert "2 can be asked" in as_dan.post(address(evaluation)).text


def test_the_champion_itself_needs_no_study(as_dan: Client, evaluation: Evaluation, dan: User) -> None:
    aliases.move(name="champion", to=evaluation.policy, actor=dan, expected=None, reason="the first")
    assert address(evaluation) not in as_dan.get(f"/evaluations/{evaluation.public_id}/").text
    assert "ward-dpo is the champion already." in as_dan.post(address(evaluation)).text


def test_its_raters_are_kept_from_the_evaluation_meanwhile(as_dan: Client, evaluation: Evaluation, raters: list[User], dan: User) -> None:
    dan.grants.create(role=Role.ANNOTATOR)
    as_dan.post(address(evaluation), {"raters": [dan.pk, raters[0].pk, raters[1].pk]})
    assert as_dan.get(f"/evaluations/{evaluation.public_id}/").status_code == 404
    assert as_dan.get(address(evaluation)).status_code == 404
