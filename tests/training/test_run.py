"""A run's page: what it measured, what that means, and what can be done now."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation import campaigns
from annotation.models import Campaign, CampaignState
from jobs import claims
from jobs.models import Job, State
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
    assert f'hx-get="/runs/{run.pk}/live/?seen=queued' in page
    assert "every 1s" in page
    build.finish(run.job)
    assert "every 1s" not in as_dan.get(f"/runs/{run.pk}/").text
    # The page that still asks is drawn anew as a whole: what stands beside the curves has changed too.
    assert as_dan.get(f"/runs/{run.pk}/live/", headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"


def test_curves_are_drawn_with_their_numbers_beside(as_dan: Client, run: Run) -> None:
    measure(run, "loss", [0.6931, 0.65, 0.61])
    measure(run, "rewards/accuracies", [0.0, 0.5, 0.75])
    measure(run, "logps/chosen", [-30.0, -29.0, -28.5])
    measure(run, "logps/rejected", [-30.0, -31.0, -33.5])
    part = as_dan.get(f"/runs/{run.pk}/live/").text
    assert "<html" not in part
    assert part.count('<figure class="chart">') == 3
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


def test_nothing_is_sent_while_nothing_has_changed(as_dan: Client, run: Run) -> None:
    seen = as_dan.get(f"/runs/{run.pk}/").context["seen"]
    assert as_dan.get(f"/runs/{run.pk}/live/", {"seen": seen}).status_code == 204
    measure(run, "loss", [0.69])
    fresh = as_dan.get(f"/runs/{run.pk}/live/", {"seen": seen})
    assert fresh.status_code == 200
    assert 'data-step="1"' in fresh.text


def answer(run: Run, step: int, texts: list[str]) -> None:
    ingest.events(run.job, [{"t": 1.0, "type": "sample", "step": step, "index": index, "text": text} for index, text in enumerate(texts)])


def test_answers_to_the_fixed_prompts_stand_side_by_side_then_and_now(as_dan: Client, run: Run) -> None:
    assert "they appear here" in as_dan.get(f"/runs/{run.pk}/").text
    answer(run, 0, ["Rest and fluids.", "Unsure."])
    answer(run, 20, ["Rest, fluids <b>and</b> review.", "Unsure."])
    answer(run, 40, ["See a physician.", "Ask again."])
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert "At step 0" in page
    assert "At step 40" in page
    assert "Rest and fluids." in page
    assert "See a physician." in page
    assert "<b>and</b>" not in page
    earlier = as_dan.get(f"/runs/{run.pk}/?step=20").text
    assert "&lt;b&gt;and&lt;/b&gt;" in earlier
    assert "See a physician." not in earlier
    assert "the same" in earlier


def test_new_answers_come_by_themselves_and_old_ones_are_not_sent_again(as_dan: Client, run: Run) -> None:
    answer(run, 0, ["First."])
    ask = {"HX-Request": "true"}
    assert as_dan.get(f"/runs/{run.pk}/samples/", {"seen": "0"}, headers=ask).status_code == 204
    answer(run, 20, ["Second."])
    part = as_dan.get(f"/runs/{run.pk}/samples/", {"seen": "0"}, headers=ask)
    assert "Second." in part.text
    assert "<html" not in part.text


def test_a_step_that_is_none_shows_the_latest(as_dan: Client, run: Run) -> None:
    answer(run, 0, ["First."])
    for step in ("99", "nonsense", "-1", "9" * 40):
        assert as_dan.get(f"/runs/{run.pk}/?step={step}").context["step"] == 0


def test_who_judges_in_its_open_campaign_reads_no_answers(as_dan: Client, dan: User, run: Run) -> None:
    answer(run, 0, ["A model wrote this."])
    assert run.snapshot is not None
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    Campaign.objects.filter(pk=run.snapshot.campaign_id).update(state=CampaignState.OPEN)
    campaigns.add_members(campaign=Campaign.objects.get(pk=run.snapshot.campaign_id), members=[dan], actor=None)
    assert "A model wrote this." not in as_dan.get(f"/runs/{run.pk}/").text
    assert as_dan.get(f"/runs/{run.pk}/samples/").status_code == 404


def test_stop_and_keep_asks_the_runner_and_says_what_will_happen(as_dan: Client, run: Run) -> None:
    build.claimed(run.job)
    page = as_dan.post(f"/runs/{run.pk}/stop/", {"how": "keep"}, follow=True)
    assert "becomes a version" in page.text
    run.job.refresh_from_db()
    assert run.job.stop_requested_at is not None
    assert run.job.state == State.RUNNING
    assert "It stops at its next step and keeps its model." in page.text


def test_a_run_that_waits_has_nothing_to_keep(as_dan: Client, run: Run) -> None:
    assert "nothing to keep" in as_dan.post(f"/runs/{run.pk}/stop/", {"how": "keep"}, follow=True).text


def test_stop_and_discard_takes_two_steps_and_leaves_no_model(as_dan: Client, run: Run) -> None:
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert page.index("Stop this run …") < page.index("Stop and discard")
    as_dan.post(f"/runs/{run.pk}/stop/", {"how": "discard"})
    run.job.refresh_from_db()
    assert run.job.state == State.CANCELLED
    assert "Stop this run" not in as_dan.get(f"/runs/{run.pk}/").text


def test_a_run_that_stopped_with_its_model_says_at_which_step(as_dan: Client, run: Run) -> None:
    build.finish(run.job, metrics={"stopped_early": True, "stopped_at": 7, "best_step": 5})
    assert "Stopped early at step 7" in as_dan.get(f"/runs/{run.pk}/").text
    Job.objects.filter(pk=run.job_id).update(stop_requested_at=run.created_at)
    assert "Stopped by request at step 7" in as_dan.get(f"/runs/{run.pk}/").text


def test_what_a_watchdog_found_leads_to_a_clone_with_what_it_asks_for(as_dan: Client, run: Run) -> None:
    claims.fail(build.claimed(run.job), code="chosen_falling", detail="step 40: it fell by 60%; add nll_weight")
    page = as_dan.get(f"/runs/{run.pk}/").text
    assert "A watchdog stopped it: chosen_falling." in page
    address = f"/runs/new/?from={run.pk}&amp;nll_weight=0.1"
    assert address in page
    form = as_dan.get(address.replace("&amp;", "&")).context["form"]
    assert form.initial["nll_weight"] == "0.1"


def test_the_page_asks_the_database_the_same_number_of_questions_whatever_was_measured(
    as_dan: Client, run: Run, django_assert_max_num_queries: object
) -> None:
    for name in ("loss", "rewards/accuracies", "logps/chosen", "kl"):
        measure(run, name, [0.5] * 300)
    for step in range(0, 300, 20):
        answer(run, step, ["One."] * 6)
    with django_assert_max_num_queries(22):  # type: ignore[operator]
        as_dan.get(f"/runs/{run.pk}/")
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        as_dan.get(f"/runs/{run.pk}/live/")


def test_runs_of_the_same_start_are_shown_with_what_differs(as_dan: Client, dan: User, run: Run) -> None:
    assert run.snapshot is not None
    assert run.policy is not None
    for number, beta in ((2, 0.3), (3, 0.5)):
        runs.start(
            snapshot=run.snapshot, policy=run.policy, preset="demo", name=f"ward-dpo-{number}", actor=dan, changes={"beta": beta}, seed=1
        )
    page = as_dan.get(f"/runs/{run.pk}/")
    assert [each["differs"] for each in page.context["siblings"]] == [[("beta", "0.5")], [("beta", "0.3")]]
    other = Run.objects.get(name="ward-dpo-2")
    for each in (run, other):
        measure(each, "loss", [0.69, 0.6])
    compared = as_dan.get(f"/runs/compare/?run={run.pk}&run={other.pk}").text
    assert "<td>0.1</td><td>0.3</td>" in compared
    assert "<svg" in compared
    assert as_dan.get("/runs/compare/?run=99999&run=x").status_code == 404


def test_the_list_is_filtered_and_says_when_nothing_is_like_that(as_dan: Client, dan: User, run: Run) -> None:
    families.start(preset="test", actor=dan)
    assert [each.name for each in as_dan.get("/runs/?kind=dpo").context["page"]] == ["ward-dpo-1"]
    assert [each.name for each in as_dan.get("/runs/?name=ward&state=going").context["page"]] == ["ward-dpo-1"]
    assert "No run is like that" in as_dan.get("/runs/?state=done").text
    assert as_dan.get("/runs/?kind=nonsense&state=x&snapshot=1").status_code == 200


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
