"""A waiting job's turn: sooner or later than it came."""

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from jobs import submissions
from jobs.models import Job
from tests.jobs.conftest import ask
from tests.jobs.test_claims import take

pytestmark = pytest.mark.django_db


def url(job: Job) -> str:
    return f"/jobs/{job.public_id}/priority/"


def test_the_last_may_become_the_first(runner: str, dan: User, as_dan: Client) -> None:
    first, second, third = ask(dan), ask(dan), ask(dan)
    assert Job.objects.turns() == {first.pk: 1, second.pk: 2, third.pk: 3}
    as_dan.post(url(third), {"turn": "sooner"})
    as_dan.post(url(first), {"turn": "later"})
    assert Job.objects.turns() == {third.pk: 1, second.pk: 2, first.pk: 3}
    assert list(Job.objects.for_list()) == [third, second, first]
    assert list(AuditEntry.objects.filter(verb="job.prioritised").order_by("pk").values_list("details", flat=True)) == [
        {"was": 0, "now": 1},
        {"was": 0, "now": -1},
    ]


def test_one_comes_back_to_where_one_was(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    assert as_dan.post(url(job), {"turn": "sooner", "back": "jobs"})["Location"] == "/jobs/"
    page = as_dan.post(url(job), {"turn": "sooner"}, follow=True)
    assert page.redirect_chain == [(f"/jobs/{job.public_id}/", 302)]
    assert "priority +2" in page.content.decode()


def test_a_running_job_has_had_its_turn(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job)
    assert "Only a waiting job has a turn; this one is running." in as_dan.post(url(job), {"turn": "sooner"}, follow=True).content.decode()
    job.refresh_from_db()
    assert job.priority == 0


def test_two_who_press_at_once_move_it_twice(runner: str, dan: User) -> None:
    mine, theirs = Job.objects.get(pk=ask(dan).pk), Job.objects.get()
    submissions.prioritise(job=mine, by=1, actor=dan)
    assert submissions.prioritise(job=theirs, by=1, actor=dan).priority == 2
    assert submissions.prioritise(job=theirs, by=1000, actor=dan).priority == 100


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not(runner: str, dan: User, who: str, request: pytest.FixtureRequest) -> None:
    job = ask(dan)
    assert request.getfixturevalue(who).post(url(job), {"turn": "sooner"}).status_code == 403
    job.refresh_from_db()
    assert job.priority == 0
