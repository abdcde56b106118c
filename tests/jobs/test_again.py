"""Asking once more for what failed."""

import pytest
from django.test import Client

from accounts.models import User
from jobs import claims, kinds, submissions
from jobs.models import Job
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take

pytestmark = pytest.mark.django_db


def url(job: Job) -> str:
    return f"/jobs/{job.public_id}/again/"


def failed(dan: User, **options: object) -> Job:
    job = ask(dan, **options)  # type: ignore[arg-type]
    claims.fail(take(job), code="too_few_pairs", detail="3 pairs are too few.")
    job.refresh_from_db()
    return job


def test_a_failed_job_is_asked_for_again_from_the_beginning(runner: str, dan: User, as_dan: Client) -> None:
    old = failed(dan, steps=7, priority=2)
    page = as_dan.post(url(old), follow=True)
    new = Job.objects.get(repeats=old)
    assert page.redirect_chain == [(f"/jobs/{new.public_id}/", 302)]
    assert "The try before this" in page.content.decode()
    assert (new.state, new.attempts, new.spec, new.priority, new.label, new.requested_by) == ("queued", 0, old.spec, 2, old.label, dan)
    before = as_dan.get(f"/jobs/{old.public_id}/").content.decode()
    assert "It was asked for again: waiting" in before
    assert "Try it again" not in before


def test_what_failed_because_it_waited_comes_along_and_names_the_new_one(runner: str, dan: User, as_dan: Client) -> None:
    first, free = ask(dan), ask(dan)
    second = ask(dan, waits_for=(first,), models={"policy": {"job": str(first.public_id)}})
    third = ask(dan, waits_for=(second, free), models={"policy": {"job": str(second.public_id)}})
    claims.fail(take(first), code="x", detail="y")
    assert [claims.fail_orphans() for _ in range(3)] == [1, 1, 0]
    assert "Try that one again; this one comes along." in as_dan.post(url(third), follow=True).content.decode()
    as_dan.post(url(first))
    one, two, three = (Job.objects.get(repeats=old) for old in (first, second, third))
    assert [set(job.waits_for.all()) for job in (one, two, three)] == [set(), {one}, {two, free}]
    assert (two.spec["models"]["policy"]["job"], three.spec["models"]["policy"]["job"]) == (str(one.public_id), str(two.public_id))
    finish(take(one))
    assert claims.claim(job_id=two.pk, worker="w") is not None


def test_the_rows_of_the_failed_job_are_handed_over_in_the_same_transaction(runner: str, dan: User, as_dan: Client) -> None:
    old = failed(dan)
    handed: list[tuple[int, str]] = []
    hand_over = lambda failed, job: handed.append((failed.pk, job.state))  # noqa: E731
    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "again": hand_over}))
    submissions.again(job=old, actor=dan)
    assert handed == [(old.pk, "queued")]

    def stumble(failed: Job, job: Job) -> None:
        raise RuntimeError

    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "again": stumble}))
    other = failed_again = failed(dan)
    with pytest.raises(RuntimeError):
        submissions.again(job=failed_again, actor=dan)
    assert not Job.objects.filter(repeats=other).exists()


def test_once_is_enough(runner: str, dan: User, as_dan: Client) -> None:
    old = failed(dan)
    as_dan.post(url(old))
    assert "It was asked for again already: “Pretend to succeed”, waiting." in as_dan.post(url(old), follow=True).content.decode()
    assert Job.objects.count() == 2


def test_what_did_not_fail_is_not_tried_again(runner: str, dan: User, as_dan: Client) -> None:
    done = finish(take(ask(dan)))
    page = as_dan.post(url(done), follow=True).content.decode()
    assert "Only a job that failed or was cancelled can be tried again; this one is done." in page
    assert Job.objects.count() == 1


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not(runner: str, dan: User, who: str, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(who).post(url(failed(dan))).status_code == 403
    assert Job.objects.count() == 1
