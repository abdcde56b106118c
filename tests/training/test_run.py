"""A run's page: what it measured, what that means, and what can be done now."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import User
from jobs import claims
from modelhub.models import ModelVersion
from tests.training import build
from training import families, ingest, runs
from training.models import Evaluation, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(dan: User, tmp_path: Path) -> Run:
    sft = build.version(tmp_path, "ward-sft")
    return runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan)


def measure(run: Run, name: str, values: list[float]) -> None:
    ingest.events(run.job, [{"type": "metric", "step": step, "name": name, "value": value} for step, value in enumerate(values, start=1)])


def test_a_waiting_run_asks_again_until_it_has_ended(as_dan: Client, run: Run) -> None:
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert f'hx-get="/runs/{run.pk}/live/"' in page
    assert "every 1500ms" in page
    build.finish(run.job)
    assert "every 1500ms" not in as_dan.get(f"/runs/{run.pk}/").text


def test_curves_are_drawn_with_their_numbers_beside(as_dan: Client, run: Run) -> None:
    measure(run, "loss", [0.6931, 0.65, 0.61])
    measure(run, "rewards/accuracies", [0.0, 0.5, 0.75])
    measure(run, "logps/chosen", [-30.0, -29.0, -28.5])
    measure(run, "logps/rejected", [-30.0, -31.0, -33.5])
    part = as_dan.get(f"/runs/{run.pk}/live/").text
    assert "<html" not in part
    assert part.count("<svg") == 3
    assert "0.6931" in part


def test_it_says_in_words_that_the_chosen_answers_become_less_likely(as_dan: Client, run: Run) -> None:
    measure(run, "loss", [0.69] * 20)
    measure(run, "logps/chosen", [-30.0] * 20)
    # Beta is 0.1: a reward of -0.4 is a log-probability 4 lower than the reference's.
    measure(run, "rewards/chosen", [0.0] * 10 + [-0.4] * 10)
    assert "becoming less likely by more than a tenth" in as_dan.get(f"/runs/{run.pk}/").text


def test_a_finished_run_offers_the_comparison(as_dan: Client, run: Run) -> None:
    build.finish(run.job)
    assert "Evaluate before and after" in as_dan.get(f"/runs/{run.pk}/").text
    sent = as_dan.post(f"/runs/{run.pk}/evaluate/")
    started = Evaluation.objects.get()
    assert sent.headers["Location"] == f"/evaluations/{started.public_id}/"
    assert (started.policy.name, started.reference.name) == ("ward-dpo-1", "ward-sft")
    assert "See before and after" in as_dan.get(f"/runs/{run.pk}/").text


def test_asking_twice_while_it_runs_starts_one_comparison(as_dan: Client, run: Run) -> None:
    build.finish(run.job)
    as_dan.post(f"/runs/{run.pk}/evaluate/")
    as_dan.post(f"/runs/{run.pk}/evaluate/")
    assert Evaluation.objects.count() == 1


def test_an_unfinished_run_cannot_be_compared(as_dan: Client, run: Run) -> None:
    page = as_dan.post(f"/runs/{run.pk}/evaluate/", follow=True).text
    assert "Only a finished run" in page
    assert not Evaluation.objects.exists()


def test_a_failed_run_says_why_and_what_to_do(as_dan: Client, run: Run) -> None:
    claims.fail(build.claimed(run.job), code="too_long", detail="pair 3 of train.jsonl has 600 tokens, the limit is 512")
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert "It failed: too_long." in page
    assert "the limit is 512" in page
    assert f"/jobs/{run.job.public_id}/" in page


def test_the_list_shows_runs_with_their_states_and_models(as_dan: Client, run: Run) -> None:
    page = as_dan.get("/runs/").text
    assert "ward-dpo-1" in page
    assert "every 2s" in page
    build.finish(run.job)
    page = as_dan.get("/runs/").text
    assert "every 2s" not in page
    assert f"/models/{ModelVersion.objects.get(name='ward-dpo-1').public_id}/" in page


def test_an_empty_list_says_what_comes_first(as_dan: Client) -> None:
    assert "no snapshot is frozen" in as_dan.get("/runs/").text


def test_the_list_asks_the_database_the_same_number_of_questions_for_many_runs(
    as_dan: Client, dan: User, django_assert_max_num_queries: object
) -> None:
    families.start(preset="test", actor=dan)
    families.start(preset="test", actor=dan)
    with django_assert_max_num_queries(8):  # type: ignore[operator]
        assert as_dan.get("/runs/").text.count("toy2-") >= 13


def test_markup_in_a_name_stays_text(as_dan: Client, run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(name="<script>alert(1)</script>")
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("path", ["/runs/", "/runs/{pk}/", "/runs/{pk}/live/"])
@pytest.mark.parametrize("who", ["alice", "carol", "sam"])
def test_those_who_judge_see_no_runs(request: pytest.FixtureRequest, run: Run, who: str, path: str) -> None:
    assert request.getfixturevalue(f"as_{who}").get(path.format(pk=run.pk)).status_code == 403
