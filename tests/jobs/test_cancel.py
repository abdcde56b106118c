"""Stopping a job from its page."""

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take

pytestmark = pytest.mark.django_db


def test_a_waiting_job_is_cancelled_at_once(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    page = as_dan.post(f"/jobs/{job.public_id}/cancel/", follow=True)
    assert page.redirect_chain == [(f"/jobs/{job.public_id}/", 302)]
    assert "Cancelled; it was not running." in page.content.decode()
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert AuditEntry.objects.get(verb="job.cancelled").actor_name == "dan"


def test_a_running_job_is_asked_to_stop(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job)
    page = as_dan.post(f"/jobs/{job.public_id}/cancel/", follow=True).content.decode()
    assert "Asked to stop." in page
    job.refresh_from_db()
    assert job.state == "cancelling"


def test_an_ended_job_stays_as_it_is(runner: str, dan: User, as_dan: Client) -> None:
    job = finish(take(ask(dan)))
    page = as_dan.post(f"/jobs/{job.public_id}/cancel/", follow=True).content.decode()
    assert "The job has ended already: done." in page
    job.refresh_from_db()
    assert job.state == "succeeded"


def test_a_link_cannot_cancel(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    assert as_dan.get(f"/jobs/{job.public_id}/cancel/").status_code == 405
    job.refresh_from_db()
    assert job.state == "queued"


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not(runner: str, dan: User, who: str, request: pytest.FixtureRequest) -> None:
    job = ask(dan)
    assert request.getfixturevalue(who).post(f"/jobs/{job.public_id}/cancel/").status_code == 403
    job.refresh_from_db()
    assert job.state == "queued"
