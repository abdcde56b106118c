"""The page on which a version is promoted: gates, the name that moves, who reads it."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import User
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from tests.training import build
from training import evaluations, runs
from training.models import Evaluation, Promotion

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("few_pairs_do")]
WORDS = "A pilot on one ward, read by two physicians each."


@pytest.fixture
def evaluation(dan: User, tmp_path: Path) -> Evaluation:
    run = runs.start(
        snapshot=build.snapshot(pairs=48), policy=build.version(tmp_path, "ward-sft"), preset="demo", name="ward-dpo", actor=dan
    )
    build.finish(run.job)
    run.refresh_from_db()
    assert run.output is not None
    return evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=dan)


def url(version: ModelVersion) -> str:
    return f"/models/{version.public_id}/promote/"


def test_two_clicks_from_the_models_page_move_the_name(evaluation: Evaluation, as_dan: Client) -> None:
    version = evaluation.policy
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    assert f'href="{url(version)}"' in as_dan.get(f"/models/{version.public_id}/").content.decode()
    page = as_dan.get(url(version), {"alias": "serving"}).content.decode()
    assert "A server elsewhere keeps what it has loaded" in page
    assert "Promote all the same" in page
    sent = {"expected": "", "alias": "serving", "back": "model", "reason": "won", "override": WORDS}
    after = as_dan.post(f"/evaluations/{evaluation.public_id}/promote/", sent, follow=True)
    assert after.redirect_chain[-1][0] == f"/models/{version.public_id}/"
    assert aliases.current(AliasName.SERVING) == version
    assert aliases.current(AliasName.CHAMPION) is None
    assert "carries the name already" in as_dan.get(url(version), {"alias": "serving"}).content.decode()


def test_a_name_that_moved_meanwhile_stays_where_it_is(evaluation: Evaluation, as_dan: Client, dan: User, tmp_path: Path) -> None:
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    other = build.version(tmp_path, "other", number=55.0)
    aliases.move(name=AliasName.SERVING, to=other, actor=dan, expected=None, reason="")
    sent = {"expected": "", "alias": "serving", "back": "model", "override": WORDS}
    page = as_dan.post(f"/evaluations/{evaluation.public_id}/promote/", sent, follow=True).content.decode()
    assert "Somebody else moved the serving meanwhile; nothing was changed." in page
    assert aliases.current(AliasName.SERVING) == other
    assert not Promotion.objects.exists()


def test_without_evidence_there_is_no_button_but_the_next_step(evaluation: Evaluation, as_dan: Client) -> None:
    page = as_dan.get(url(evaluation.policy)).content.decode()
    assert "nothing a promotion could stand on" in page
    assert "To its run, to evaluate it" in page
    assert "Make it" not in page
    build.finish_evaluation(evaluation, value=0.52, n=60, low=0.4, high=0.64)
    page = as_dan.get(url(evaluation.policy)).content.decode()
    assert "It cannot be promoted on this evidence." in page
    assert page.count('badge-danger">not passed') == 0
    assert page.count('badge-warning">not known yet') == 5
