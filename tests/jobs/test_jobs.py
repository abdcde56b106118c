"""The list of jobs."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs import claims, devices, pulses, submissions, sweeper
from jobs.clock import after
from jobs.models import Job, Pulse, State
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
    pulses.beat("worker:w", [runner], slots=[1, 2])
    # session, user with roles, count, jobs with their people, predecessors, turns, queues in use, signs of life, workers, what they
    # hold, GPUs
    with django_assert_num_queries(11):
        as_dan.get(URL)
    chain(12)
    with django_assert_num_queries(11):
        as_dan.get(URL)


def test_older_jobs_are_a_page_away(runner: str, dan: User, as_dan: Client) -> None:
    for _ in range(51):
        submissions.cancel(job=ask(dan), actor=dan)
    assert "Older" in as_dan.get(URL).content.decode()
    assert as_dan.get(URL, {"page": 2}).content.decode().count('<th scope="row" class="wrap">') == 1


def test_what_runs_stands_first_then_what_waits_in_its_turn_then_what_ended(runner: str) -> None:
    ended, first, second, runs = ask(), ask(), ask(), ask()
    Job.objects.filter(pk=ended.pk).update(state=State.CANCELLED)
    Job.objects.filter(pk=runs.pk).update(state=State.RUNNING)
    assert list(Job.objects.for_list()) == [runs, first, second, ended]


def test_workers_say_what_they_do_and_how_their_machine_is(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job, f"{devices.here()}:4711:abc")
    machine = {"processor": 0.42, "processors": 8, "memory": 64 * 10**9, "memory_used": 12 * 10**9, "disk_free": 200 * 10**9}
    pulses.beat("worker:compute@here", [runner], slots=[4711, 4712], machine=machine)
    page = " ".join(as_dan.get(URL).content.decode().split())
    for said in ("compute@here", "1 of 2", "42 % of 8", "12.0 GB of 64.0 GB", "200.0 GB"):
        assert said in page
    [worker] = pulses.workers()
    assert (worker.holds, worker.idle) == ([job], 1)
    pulses.beat("worker:elsewhere", [runner], slots=[4711])
    Pulse.objects.filter(name="worker:elsewhere").update(host="another")
    assert [worker.holds for worker in pulses.workers()] == [[job], []]


def test_gpus_say_who_holds_them(runner: str, dan: User, as_dan: Client, settings: Any) -> None:
    settings.ROUNDS_GPUS = "GPU-aaaa,GPU-bbbb"
    devices.register()
    pulses.beat("worker:w", [runner], slots=[1])
    job = ask(dan, kind="fake-gpu", behaviour="fail")
    waiting = [ask(dan, kind="fake-gpu") for _ in range(2)]
    take(job)
    page = " ".join(as_dan.get(URL).content.decode().split())
    assert f'GPU-aaaa</th><td>{devices.here()}</td><td>–</td><td><a href="/jobs/{job.public_id}/">' in page
    assert page.count('<span class="muted">free</span>') == 1
    assert page.count("a free GPU") == len(waiting)


def test_waiting_jobs_show_their_turn(runner: str, dan: User, as_dan: Client) -> None:
    first = ask(dan, priority=-2)
    ask(dan)
    ask(dan, waits_for=(first,))
    page = " ".join(as_dan.get(URL).content.decode().split())
    cells = re.findall(r'<td class="nowrap"> (\d+)? ?(?:<span class="badge">(priority [+-]\d+)</span>)? ?<form', page)
    assert cells == [("1", ""), ("", ""), ("2", "priority -2")]


def test_a_held_job_that_is_not_heard_of_is_called_stuck(runner: str, dan: User, as_dan: Client) -> None:
    job = ask(dan)
    take(job)
    Job.objects.update(heartbeat_at=after(-59))
    assert "stuck" not in as_dan.get(URL).content.decode()
    Job.objects.update(heartbeat_at=after(-61))
    assert '<span class="badge badge-danger" title="Nothing was heard of it for a minute">stuck</span>' in as_dan.get(URL).content.decode()
    assert "It is stuck." in as_dan.get(f"/jobs/{job.public_id}/").content.decode()
    Job.objects.update(state=State.RETRY_WAIT)
    assert "stuck" not in as_dan.get(URL).content.decode()


def test_a_worker_that_does_not_hear_is_shown(runner: str, dan: User, as_dan: Client) -> None:
    ask(dan)
    pulses.beat("worker:w1", [runner], slots=[1])
    Pulse.objects.update(warning="Work waits in its queue and a slot of it is free, but it does not take any.")
    page = as_dan.get(URL).content.decode()
    assert "The worker w1 does not hear." in page
    pulses.beat("worker:w1", [runner], slots=[1])  # a sign of life alone does not take it back
    assert "The worker w1 does not hear." in as_dan.get(URL).content.decode()


def test_a_paused_job_waits_for_room(runner: str, dan: User, as_dan: Client) -> None:
    claims.pause(take(ask(dan)), code="disk_full", detail="Need 2.2 GB, have 1.0 GB on the volume /data.", needs_bytes=1)
    page = as_dan.get(URL).content.decode()
    assert '<span class="badge badge-warning">paused</span>' in page
    assert "room on the disk" in page
