"""The first page: trainers see where the loop stands, others are led to theirs."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import User
from annotation import judgements
from annotation.answers import Answer
from annotation.models import Harm, Severity, Verdict
from modelhub import aliases
from tests.annotation import build as annotating
from tests.cast import person, signed_in
from tests.training import build
from training import evaluations, families

pytestmark = pytest.mark.django_db


def test_a_clinician_is_led_to_the_queue(as_alice: Client) -> None:
    assert as_alice.get("/").headers["Location"] == "/rate/"


def test_a_lead_clinician_is_led_to_the_queue(as_carol: Client) -> None:
    assert as_carol.get("/").headers["Location"] == "/rate/"


def test_a_steward_is_led_to_the_audit(as_sam: Client) -> None:
    assert as_sam.get("/").headers["Location"] == "/audit/"


def test_someone_without_a_role_is_told_whom_to_ask() -> None:
    page = signed_in(person("newcomer")).get("/")
    assert page.status_code == 200
    assert "Ask your administrator" in page.text


def test_a_stranger_signs_in_first(client: Client) -> None:
    assert client.get("/").headers["Location"].startswith("/accounts/login/")


def test_an_empty_house_asks_for_samples_and_says_that_nobody_works(as_dan: Client) -> None:
    page = as_dan.get("/").text
    assert "Import samples" in page
    assert "Build the tiny family" in page
    assert "No worker serves the queue" in page
    assert page.count("button-primary") == 1


def test_with_a_worker_and_a_sweeper_nothing_is_missing(as_dan: Client) -> None:
    build.everything_runs()
    assert "No worker" not in as_dan.get("/").text


def test_each_stage_has_its_count_and_the_first_thing_to_do_is_the_filled_button(as_dan: Client, tmp_path: Path) -> None:
    build.everything_runs()
    build.version(tmp_path, "ward-sft")
    frozen = build.snapshot(pairs=30)
    page = as_dan.get("/")
    stages = {stage.name: stage for stage in page.context["stages"]}
    assert {name: stage.count for name, stage in stages.items()} == {
        "Samples": 30, "Pairs": 30, "Judgements": 30, "Snapshots": 1, "Runs": 0, "Evaluations": 0, "Blinded studies": 0, "Champion": 0,
    }  # fmt: skip
    assert page.context["next"].name == "Runs"
    assert f"/runs/new/?snapshot={frozen.public_id}" in page.text


def test_simulated_judgements_are_not_counted_as_clinicians(as_dan: Client) -> None:
    build.snapshot(pairs=20, simulated=True)
    judgements = next(stage for stage in as_dan.get("/").context["stages"] if stage.name == "Judgements")
    assert judgements.count == 0
    assert judgements.note == "by clinicians, and 20 by simulated raters"
    assert judgements.badges == ["simulated"]


def test_an_open_campaign_says_how_much_is_given(as_dan: Client, alice: User) -> None:
    campaign = annotating.campaign([alice], pairs=5, name="Letters")
    annotating.judge(campaign, alice)
    judgements = next(stage for stage in as_dan.get("/").context["stages"] if stage.name == "Judgements")
    assert judgements.blocker == "“Letters”: 1 of 5 given."


def test_a_finished_evaluation_waits_for_a_decision(as_dan: Client, dan: User, tmp_path: Path) -> None:
    sft, dpo = build.version(tmp_path, "ward-sft"), build.version(tmp_path, "ward-dpo", "dpo")
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    started = evaluations.start(policy=dpo, reference=sft, snapshot=build.snapshot(), actor=dan)
    build.finish_evaluation(started, value=0.6, low=0.4, high=0.8, n=12)
    champion = next(stage for stage in as_dan.get("/").context["stages"] if stage.name == "Champion")
    assert champion.note == "ward-sft"
    assert champion.action.url == f"/evaluations/{started.public_id}/"


def test_a_set_up_that_goes_on_behind_is_told(as_dan: Client, data_dir: Path) -> None:
    data_dir.mkdir(exist_ok=True)
    (data_dir / "setup.json").write_text(json.dumps({"step": "engine", "state": "running", "detail": "Downloading torch"}))
    assert "Downloading torch" in as_dan.get("/").text
    (data_dir / "setup.json").write_text(json.dumps({"step": "engine", "state": "done", "detail": "Installing"}))
    assert "Still setting up" not in as_dan.get("/").text
    (data_dir / "setup.json").write_text(json.dumps({"step": "family", "state": "running", "detail": "Queueing"}))
    assert "The demonstration is being prepared" in as_dan.get("/").text
    (data_dir / "setup.json").write_text(json.dumps({"step": "engine", "state": "failed", "detail": "Check the network."}))
    assert "The set-up stopped" in as_dan.get("/").text
    (data_dir / "setup.json").write_text("torn {")
    assert as_dan.get("/").status_code == 200


def test_a_family_in_the_making_has_a_progress_bar(as_dan: Client, dan: User) -> None:
    families.start(preset="test", actor=dan)
    page = as_dan.get("/").text
    assert '<progress max="13" value="0"' in page
    assert "0 of 13 jobs" in page


def test_the_button_builds_one_family_and_not_two(as_dan: Client) -> None:
    as_dan.post("/family/")
    page = as_dan.post("/family/", follow=True).text
    assert "being built already" in page
    found = families.progress()
    assert found is not None
    assert (found.name, found.total) == ("toy", 13)


def test_htmx_gets_the_table_alone(as_dan: Client) -> None:
    part = as_dan.get("/", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="overview"' in part


def test_it_asks_the_database_a_fixed_number_of_questions(as_dan: Client, tmp_path: Path, django_assert_max_num_queries: object) -> None:
    build.version(tmp_path, "ward-sft")
    build.snapshot(pairs=30)
    with django_assert_max_num_queries(40):  # type: ignore[operator]
        as_dan.get("/")


def test_open_safety_flags_are_said_first(as_dan: Client, alice: User) -> None:
    assert "flagged as harmful" not in as_dan.get("/").text
    made = annotating.campaign([alice], pairs=2)
    held = annotating.lease(made, alice)
    answer = Answer(verdict=Verdict.FIRST_MUCH, harm_second=Severity.MAJOR, harm_second_type=Harm.WRONG_DOSE)
    judgements.submit(assignment=held, answer=answer, key=uuid4())
    page = " ".join(as_dan.get("/").text.split())
    assert "1 pair flagged as harmful" in page
    assert 'href="/safety/"' in page
