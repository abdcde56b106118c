"""Stopping a training where it is, with a model, from its page."""

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from jobs import claims, kinds, submissions
from jobs.clock import after
from jobs.models import Job
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take

pytestmark = pytest.mark.django_db


def url(job: Job) -> str:
    return f"/jobs/{job.public_id}/keep/"


def test_a_running_job_is_asked_once(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    held = take(job)
    assert "Stop here and keep the model" in as_dan.get(f"/jobs/{job.public_id}/").content.decode()
    page = as_dan.post(url(job), follow=True).content.decode()
    assert "It stops at its next step and saves the model as it is then." in page
    assert "Stop here and keep the model" not in page
    as_dan.post(url(job))
    assert claims.heartbeat(held) == ("running", True)
    assert AuditEntry.objects.filter(verb="job.stopped_and_kept", actor_name="dan").count() == 1


def test_a_job_that_waits_has_nothing_to_keep_unless_a_checkpoint_was_kept(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    assert "There is nothing to keep yet." in as_dan.post(url(job), follow=True).content.decode()
    held = take(job)
    claims.kept(held, step=30)
    claims.retry(held, code="no_result", detail="x")
    assert "saves the model" in as_dan.post(url(job), follow=True).content.decode()


def test_a_kind_that_ends_whole_or_not_at_all_keeps_nothing(runner: str, dan: User, as_dan: Client) -> None:
    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "can_keep": False}))
    job = ask(dan)
    take(job)
    assert "Stop here and keep" not in as_dan.get(f"/jobs/{job.public_id}/").content.decode()
    assert "There is nothing to keep yet." in as_dan.post(url(job), follow=True).content.decode()


def test_an_ended_or_stopping_job_stays_as_it_is(runner: str, dan: User, as_dan: Client) -> None:
    job = finish(take(ask(dan)))
    assert "The job is not running any more: done." in as_dan.post(url(job), follow=True).content.decode()
    other = ask(dan)
    take(other)
    submissions.cancel(job=other, actor=dan)
    assert "The job is not running any more: stopping." in as_dan.post(url(other), follow=True).content.decode()
    assert not Job.objects.exclude(stop_requested_at=None).filter(stop_requested_at__gt=after(-3600)).exists()


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not(runner: str, dan: User, who: str, request: pytest.FixtureRequest) -> None:
    job = ask(dan)
    take(job)
    assert request.getfixturevalue(who).post(url(job)).status_code == 403
    job.refresh_from_db()
    assert job.stop_requested_at is None
