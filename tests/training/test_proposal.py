"""Proposals: the list, how far a round is, its gates and what people can do with it."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation.models import GenerationBatch
from jobs import submissions
from modelhub import aliases
from modelhub.models import AliasName
from tests.cast import signed_in
from tests.training import build, looping
from tests.training.looping import World
from training import loop_rounds
from training.models import LoopRound, SuiteRun

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data_dir(settings: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.DATA_DIR = world.data
    monkeypatch.setattr(loop_rounds, "LOOKING", float("inf"))
    monkeypatch.setattr(loop_rounds, "_next_count", {})
    return world.data


def url(one: LoopRound, verb: str = "") -> str:
    return f"/proposals/{one.public_id}/{verb}"


def test_an_empty_list_says_where_to_begin(as_dan: Client, world: World) -> None:
    page = as_dan.get("/proposals/").text
    assert "No round has begun yet." in page
    assert "See the campaigns" in page


def test_while_it_works_its_page_follows_it(as_dan: Client, world: World) -> None:
    looping.policy(world.campaign)
    loop_rounds.look()
    one = LoopRound.objects.get()
    page = as_dan.get(url(one)).text
    assert "under way" in page
    assert 'hx-trigger="every 2s"' in page
    assert "18 train, 6 evaluation" in page
    assert one.run is not None
    assert f'href="/jobs/{one.run.job.public_id}/"' in page
    assert "Decide" not in page
    part = as_dan.get(url(one), HTTP_HX_REQUEST="true")
    assert "<h1" not in part.text
    # Once it is over the whole page is drawn anew.
    looping.carried_on(one)
    assert as_dan.get(url(one), HTTP_HX_REQUEST="true").headers["HX-Refresh"] == "true"


def test_a_proposal_shows_what_was_made_its_gates_and_what_can_be_done(as_dan: Client, world: World) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    page = as_dan.get(url(one)).text
    assert "waits for a decision" in page
    assert one.run is not None
    assert one.run.output is not None
    assert f'href="/models/{one.run.output.public_id}/promote/"' in page
    assert one.lineage_digest in page
    assert 'hx-trigger="every 2s"' not in page
    assert "A dry run only." in page
    assert "Held-out preference accuracy" in page
    assert page.count("Asked the mini-suite: ") == 2
    home = as_dan.get("/").text
    assert "1 proposal</strong> of the unattended loop waits for a decision" in home
    listed = as_dan.get("/proposals/").text
    assert one.run.output.name in listed
    assert "Letters" in listed
    assert "rater-" not in page


def test_a_champion_that_moved_meanwhile_is_said(as_dan: Client, world: World, tmp_path: Path) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    other = build.version(tmp_path, "ward-new", number=55.0)
    aliases.move(name=AliasName.CHAMPION, to=other, actor=None, expected=None, reason="")
    assert "ward-new has become champion since it was compared with ward-sft." in as_dan.get(url(one)).text


def test_its_gates_stand_as_they_stood_with_a_line_where_todays_differ(as_dan: Client, world: World, tmp_path: Path) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    page = as_dan.get(url(one)).text
    assert "when it was proposed, against ward-sft" in page
    assert "<strong>Today</strong>" not in page
    assert one.gates_digest in page
    aliases.move(name=AliasName.CHAMPION, to=build.version(tmp_path, "ward-new", number=55.0), actor=None, expected=None, reason="")
    page = as_dan.get(url(one)).text
    # Against another champion these three are not known any more; what they said then stays.
    assert page.count("<strong>Today</strong>") == 3
    for code, then, today in (
        ("G1", "the champion 0.500", "the champion was not asked them"),
        ("G2", "no study", ""),
        ("G4", "Mini-suite, 12 tasks, mean +0.0 points", "ward-new not asked"),
        ("G5", "median length 1.00 times", "no answers of both to the same prompts"),
    ):
        row = page.partition(f'id="gate-{code}"')[2].partition("</tr>")[0]
        assert then in row, code
        assert today in row, code
        assert ("<strong>Today</strong>" in row) == bool(today), code
    # What can be done is what can be done today.
    assert "Ask ward-new the same pairs" in page


def test_it_tells_how_it_stands_to_round_0_beside_the_champion(as_dan: Client, world: World) -> None:
    first = looping.proposed(looping.policy(world.campaign))
    page = as_dan.get(url(first)).text
    assert "ward-sft, which it was compared with, is also the model of round 0" in page
    assert "Since round 0" not in page
    assert first.run is not None
    made = first.run.output
    assert made is not None
    aliases.move(name=AliasName.CHAMPION, to=made, actor=None, expected=None, reason="")
    GenerationBatch.objects.filter(system="north").update(system="", version=made)
    following = looping.judged(name="The champion's own", batches=list(GenerationBatch.objects.all()), follows=world.campaign)
    loop_rounds.begin(loop=looping.policy(following, policy="champion"))
    one = LoopRound.objects.get(loop__campaign=following)
    loop_rounds.step(one=one)
    one.refresh_from_db()
    assert one.run is not None
    build.finish(one.run.job, number=91.0)
    one = loop_rounds.step(one=one)
    assert one.evaluation is not None
    assert one.anchor is not None
    build.finish_evaluation(one.evaluation, value=0.7, low=0.6, high=0.8, n=240)
    build.finish_evaluation(one.anchor, value=0.4, low=0.34, high=0.46, n=240)
    for asked in SuiteRun.objects.filter(finished_at=None).select_related("job"):
        build.finish_suite(asked)
    loop_rounds.step(one=one)
    page = as_dan.get(url(one)).text
    card = page.partition('id="anchor-title"')[2].partition("</section>")[0]
    assert "The loop began with" in card
    rows = [row.partition("</tr>")[0] for row in card.split("<tr>")[2:]]
    assert [("worse</span>" in row, row.partition("</th>")[0].rpartition(">")[2]) for row in rows] == [
        (True, "Held-out preferences, one half being no difference"), (False, "Mini-suite"), (False, "Median answer"),
    ]  # fmt: skip
    assert "0.700 on 240 pairs (0.600 to 0.800)" in rows[0]
    assert "0.400 on 240 pairs (0.340 to 0.460)" in rows[0]
    assert "Compared with round 0" in page


def test_putting_it_aside_needs_a_reason(as_dan: Client, world: World) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    assert "Say in a few words why; nothing was changed." in as_dan.post(url(one, "dismiss/"), {"reason": "  "}, follow=True).text
    page = as_dan.post(url(one, "dismiss/"), {"reason": "A trial run."}, follow=True).text
    assert "A trial run." in page
    assert "by dan" in page
    assert 'id="decide"' not in page
    assert "Somebody has decided it meanwhile." in as_dan.post(url(one, "dismiss/"), {"reason": "Again."}, follow=True).text
    assert "of the unattended loop" not in as_dan.get("/").text


def test_a_round_that_came_to_nothing_says_why(as_dan: Client, world: World) -> None:
    loop = looping.policy(world.campaign)
    loop_rounds.look()
    one = LoopRound.objects.get()
    assert one.run is not None
    submissions.cancel(job=one.run.job, actor=None)
    loop_rounds.step(one=one)
    page = as_dan.get(url(one)).text
    assert "It came to nothing." in page
    assert f"“DPO round-{loop.pk}-1” was cancelled." in page


def test_who_rates_in_the_open_campaign_sees_none_of_it(world: World) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    rater = User.objects.get(username="rater")
    RoleGrant.objects.create(user=rater, role=Role.TRAINER)
    client = signed_in(rater)
    assert client.get(url(one)).status_code == 404
    assert client.post(url(one, "dismiss/"), {"reason": "No."}).status_code == 404
    assert "Round 1" not in client.get("/proposals/").text


def test_the_pages_ask_the_database_a_fixed_number_of_questions(as_dan: Client, world: World, django_assert_max_num_queries: Any) -> None:
    one = looping.proposed(looping.policy(world.campaign))
    with django_assert_max_num_queries(22):
        as_dan.get(url(one))
    with django_assert_max_num_queries(12):
        as_dan.get("/proposals/")
