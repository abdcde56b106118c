"""The page before the button: what freezing would give, narrowed by what is asked for; what was looked over is what is frozen."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation import campaigns
from annotation.models import Campaign, Sample, Snapshot, Verdict
from tests.annotation.build import campaign, judge, qualification, rewrite
from tests.annotation.test_preferences import row, store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def made(alice: User) -> Campaign:
    built = campaign([alice], pairs=10)
    for number in range(9):
        judge(built, alice, Verdict.FIRST_MUCH if number % 3 else Verdict.FIRST_SLIGHTLY)
    for number, sample in enumerate(Sample.objects.order_by("pk")):
        rewrite(Sample.objects.filter(pk=sample.pk), task_type=("summarization", "text expansion")[number % 2])
    return built


def page(client: Client, campaign: Campaign, query: str = "", **headers: str) -> str:
    answer = client.get(f"/campaigns/{campaign.public_id}/freeze/{query}", headers=headers)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def test_it_shows_stops_and_warnings_splits_reasons_and_targets_before_the_button(as_dan: Client, made: Campaign) -> None:
    shown = page(as_dan, made)
    assert shown.index("Nothing stands in its way") < shown.index("Would be used") < shown.index("Would be left out")
    assert shown.index("How sure the raters were") < shown.index("Freeze what was looked over")
    assert "9 of 10 pairs teach a preference" in shown
    assert "no judgement yet" in shown
    assert 'type="date"' in shown
    assert "imported judgements" not in shown
    assert not Snapshot.objects.exists(), "looking stores nothing"


def test_narrowing_follows_and_what_was_looked_over_is_frozen(as_dan: Client, made: Campaign) -> None:
    query = "?min_judgements=1&min_margin=0.4&task_types=summarization"
    part = page(as_dan, made, query, **{"HX-Request": "true"})
    assert "<html" not in part
    assert "its raters were less sure than asked for" in part
    assert "its task type was not asked for" in part
    for name, value in (("min_margin", "0.4"), ("task_types", "summarization")):
        assert f'<input type="hidden" form="freeze" name="{name}" value="{value}">' in part
    said = {"name": "Narrow", "min_judgements": "1", "min_margin": "0.4", "task_types": "summarization"}
    answer = as_dan.post(f"/campaigns/{made.public_id}/freeze/", said)
    frozen = Snapshot.objects.get()
    assert answer["Location"] == f"/snapshots/{frozen.public_id}/"
    assert frozen.filters == {"min_judgements": 1, "task_types": ["summarization"], "min_margin": 0.4}
    shown = as_dan.get(answer["Location"]).content.decode()
    assert "<dt>Margin</dt><dd>at least 0.4</dd>" in shown
    assert "How sure the raters were" in shown


def test_a_wrong_day_is_said_and_nothing_is_frozen(as_dan: Client, made: Campaign) -> None:
    wrong = {"name": "S", "since": "2026-03-02", "until": "2026-03-01"}
    answer = as_dan.post(f"/campaigns/{made.public_id}/freeze/", wrong)
    assert answer.status_code == 422
    assert "The first day comes after the last." in answer.content.decode()
    assert not Snapshot.objects.exists()
    assert as_dan.get(f"/campaigns/{made.public_id}/freeze/?min_judgements=x").status_code == 422


def test_what_may_not_be_frozen_says_stop(as_dan: Client, alice: User) -> None:
    shown = page(as_dan, qualification([alice]))
    assert "Mend what says stop" in shown
    assert "train nobody" in shown


def test_many_pairs_are_looked_over_after_the_page_came(as_dan: Client, made: Campaign) -> None:
    Campaign.objects.filter(pk=made.pk).update(counts={"pairs": 2001, "prompts": 2001})
    shown = page(as_dan, made)
    assert 'hx-trigger="load"' in shown
    assert "Look them over" in shown, "without a script"
    assert "Nothing stands in its way" in page(as_dan, made, "?min_judgements=1", **{"HX-Request": "true"})


def test_an_imported_campaign_is_frozen_by_the_same_page(as_dan: Client) -> None:
    theirs = store(*(row(number) for number in range(6))).campaign
    shown = page(as_dan, theirs)
    assert "Leave out imported judgements" in shown
    assert "given elsewhere and imported" in shown
    as_dan.post(f"/campaigns/{theirs.public_id}/freeze/", {"name": "Theirs"})
    assert Snapshot.objects.get().external


def test_nobody_looks_at_a_running_campaign_they_judge_in(as_dan: Client, dan: User, made: Campaign) -> None:
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    campaigns.add_members(campaign=made, members=[dan], actor=None)
    assert as_dan.get(f"/campaigns/{made.public_id}/freeze/").status_code == 404


def test_it_asks_the_database_a_number_of_questions_that_does_not_grow(
    as_dan: Client, alice: User, made: Campaign, django_assert_max_num_queries: Any
) -> None:
    larger = campaign([alice], pairs=30)
    for _ in range(30):
        judge(larger, alice)
    for one in (made, larger):
        with django_assert_max_num_queries(45):
            page(as_dan, one)
