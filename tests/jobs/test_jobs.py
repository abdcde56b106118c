"""The list of jobs."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs import claims, pulses, submissions, sweeper
from jobs.models import Job, State
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take

pytestmark = pytest.mark.django_db
URL = "/jobs/"


def test_an_empty_house_says_what_jobs_are(as_dan: Client) -> None:
    page = as_dan.get(URL).content.decode()
    assert "Nothing was asked for yet." in page
    assert "hx-get" not in page


def test_it_shows_what_runs_what_waits_and_for_what(runner: str, dan: User, as_dan: Client) -> None:
    first = ask(dan)
    ask(dan, behaviour="fail", waits_for=(first,))
    held = take(first)
    claims.heartbeat(held, phase="training", done=12, total=60)
    page = as_dan.get(URL).content.decode()
    assert "training 20 %" in page
    assert f'<a href="/jobs/{first.public_id}/">Pretend to succeed</a></td>' in page.replace("\n", "")
    assert 'hx-trigger="every 2s"' in page


def test_it_stops_asking_when_everything_has_ended(runner: str, dan: User, as_dan: Client) -> None:
    finish(take(ask(dan)))
    page = as_dan.get(URL).content.decode()
    assert "done" in page
    assert "hx-get" not in page


def test_a_poll_gets_the_table_alone(runner: str, dan: User, as_dan: Client) -> None:
    ask(dan)
    fragment = as_dan.get(URL, headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<div class="stack" id="jobs"')
    assert "<html" not in fragment


def test_it_says_what_is_not_running_and_how_to_start_it(runner: str, dan: User, as_dan: Client) -> None:
    ask(dan)
    page = as_dan.get(URL).content.decode()
    assert "python manage.py sweep" in page
    assert f"celery -A config.celery worker -Q {runner}" in page
    sweeper.pulses.beat(pulses.SWEEPER, [])
    pulses.beat("worker:w", [runner, "compute"])
    page = as_dan.get(URL).content.decode()
    assert "Start it with" not in page


def test_a_failed_job_shows_its_code(runner: str, dan: User, as_dan: Client) -> None:
    claims.fail(take(ask(dan)), code="too_few_pairs", detail="3 pairs are too few.")
    assert "too_few_pairs" in as_dan.get(URL).content.decode()


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not_look(who: str, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(who).get(URL).status_code == 403


def test_its_queries_do_not_grow_with_the_jobs(runner: str, dan: User, as_dan: Client, django_assert_num_queries: Any) -> None:
    def chain(length: int) -> None:
        before: tuple[Job, ...] = ()
        for _ in range(length):
            before = (ask(dan, waits_for=before),)

    chain(3)
    # session, user with roles, count, jobs with their people, predecessors, queues in use, signs of life
    with django_assert_num_queries(7):
        as_dan.get(URL)
    chain(12)
    with django_assert_num_queries(7):
        as_dan.get(URL)


def test_older_jobs_are_a_page_away(runner: str, dan: User, as_dan: Client) -> None:
    for _ in range(51):
        submissions.cancel(job=ask(dan), actor=dan)
    assert "Older" in as_dan.get(URL).content.decode()
    assert as_dan.get(URL, {"page": 2}).content.decode().count('<th scope="row">') == 1


def test_what_runs_stands_first_then_what_waits_in_its_turn_then_what_ended(runner: str) -> None:
    ended, first, second, runs = ask(), ask(), ask(), ask()
    Job.objects.filter(pk=ended.pk).update(state=State.CANCELLED)
    Job.objects.filter(pk=runs.pk).update(state=State.RUNNING)
    assert list(Job.objects.for_list()) == [runs, first, second, ended]
