"""The page of one job."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import User
from jobs import attempts, claims, devices
from jobs.clock import after
from jobs.models import Job
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take

pytestmark = pytest.mark.django_db


def url(job: Job) -> str:
    return f"/jobs/{job.public_id}/"


def write_log(job: Job, text: bytes) -> Path:
    path = attempts.folder_of(job, 1) / attempts.LOG
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    return path


def test_a_waiting_job_names_what_it_waits_for(runner: str, dan: User, as_dan: Client) -> None:
    first = ask(dan, behaviour="fail")
    page = as_dan.get(url(ask(dan, waits_for=(first,)))).content.decode()
    assert "It waits for" in page
    assert f'href="{url(first)}"' in page
    assert "It has not started yet." in page


def test_a_running_job_shows_phase_and_progress_and_asks_again(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    claims.heartbeat(take(job), phase="merging", done=3, total=5)
    page = as_dan.get(url(job)).content.decode()
    assert "3 of 5" in page
    assert 'value="3"' in page
    assert "merging" in page
    assert 'hx-trigger="every 2s"' in page


def test_a_poll_gets_the_live_part_alone(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    fragment = as_dan.get(url(job), headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<div class="stack" id="live"')
    assert "Stop this job" not in fragment  # the confirmation is not closed under the reader's hand


def test_an_ended_job_is_quiet(runner: str, dan: User, as_dan: Client) -> None:
    job = finish(take(ask(dan)))
    page = as_dan.get(url(job)).content.decode()
    assert "hx-get" not in page
    assert "Stop this job" not in page


def test_a_failure_says_what_happened_and_what_to_do(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    for _ in range(3):
        claims.retry(take(job), code="no_result", detail="The child ended with signal 9 and left no result.", exit_code=-9)
        Job.objects.filter(pk=job.pk).update(run_after=after(-1))
        claims.requeue()
    page = as_dan.get(url(job)).content.decode()
    assert "It failed: no_progress." in page
    assert "The child ended with signal 9" in page
    assert "Nothing was published." in page
    assert page.count('<th scope="row" class="num">') == 3


def test_a_job_that_is_tried_again_says_why(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    claims.retry(take(job), code="lease_expired", detail="The worker that held the job was not heard of in time.")
    page = as_dan.get(url(job)).content.decode()
    assert "The last try ended early: lease_expired." in page
    assert "trying again" in page


def test_the_end_of_the_log_is_shown_as_text(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job)
    write_log(job, b"x" * 5000 + b"\nstep 1 <script>alert(1)</script>\n")
    page = as_dan.get(url(job)).content.decode()
    assert "step 1 &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "xxx" not in page


def test_a_log_of_one_endless_line_is_cut(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job)
    write_log(job, b"y" * 9000)
    page = as_dan.get(url(job)).content.decode()
    assert page.count("y" * 4096) == 1
    assert "y" * 4097 not in page


@pytest.mark.parametrize("who", ["as_alice", "as_carol", "as_sam"])
def test_others_may_not_look(runner: str, dan: User, who: str, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(who).get(url(ask(dan))).status_code == 403


def test_a_job_that_is_not_there_is_not_found(as_dan: Client) -> None:
    assert as_dan.get(f"/jobs/{uuid4()}/").status_code == 404


def test_its_queries_are_counted(runner: str, dan: User, as_dan: Client, django_assert_num_queries: Any) -> None:
    first, second = ask(dan), ask(dan)
    job = ask(dan, waits_for=(first, second))
    ask(dan, waits_for=(job,))
    # session, user with roles, job, predecessors, tries, successors, repetitions, turns, signs of life, its run, its evaluation
    with django_assert_num_queries(11):
        as_dan.get(url(job))


def test_it_says_from_where_each_try_went_on_and_on_which_gpu(runner: str, dan: User, as_dan: Client, settings: Any) -> None:
    settings.ROUNDS_GPUS = "GPU-aaaa"
    devices.register()
    job = ask(dan, kind="fake-gpu")
    for step in (30, 60):
        held = take(job)
        claims.kept(held, step=step)
        claims.retry(held, code="no_result", detail="The child ended with signal 9.", exit_code=-9)
        Job.objects.filter(pk=job.pk).update(run_after=after(-1))
        claims.requeue()
    held = take(job)
    claims.resumed(held, step=60)
    page = " ".join(as_dan.get(url(job)).content.decode().split())
    assert "The newest checkpoint is of step 60; it went on from one 1 time." in page
    assert "1 of at most 3 tries since there was progress" in page
    assert '<td class="num">60</td>' in page
    assert page.count('<td class="mono">GPU-aaaa</td>') == 3


def test_a_paused_job_says_what_it_needs_and_that_it_goes_on_by_itself(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    held = take(job)
    claims.kept(held, step=30)
    claims.pause(held, code="disk_full", detail="Need 2.2 GB, have 1.0 GB on the volume /data.", needs_bytes=1)
    page = as_dan.get(url(job)).content.decode()
    assert "It is paused: disk_full." in page
    assert "Need 2.2 GB, have 1.0 GB on the volume /data." in page
    assert "It goes on by itself" in page
    assert "goes on from the checkpoint of step 30" in page
