"""A worker killed in the middle of real DPO: another one goes on from the last checkpoint, and exactly one model version comes of it.

Then the run is replayed, the worker is killed again, and the replay makes the same weights: the promotion's gate says so.
"""

import pytest
from django.db.models.functions import Now
from django.test import Client

from accounts.models import User
from jobs.models import Attempt, Job, State
from modelhub.models import ModelVersion
from tests.journeys.toys import done
from tests.training import build
from tests.workers import Processes, wait_until
from training import gates, replays, runs
from training.models import Evaluation, MetricPoint, Run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def state_of(run: Run) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=run.job_id)


def kept_of(run: Run) -> int:
    """The step of the newest checkpoint that the runner has taken out of the attempt's reach, or 0."""
    return Job.objects.values_list("checkpoint_step", flat=True).get(pk=run.job_id) or 0


def reproducible(evaluation: Evaluation) -> gates.Gate:
    """Gate G6, as the promotion's page shows it."""
    return next(gate for gate in gates.of(evaluation=evaluation, champion=None) if gate.code == gates.G6)


def test_a_killed_worker_leaves_exactly_one_model_version_and_so_does_its_replay(processes: Processes, dan: User, as_dan: Client) -> None:
    processes.environment["ROUNDS_LEASE_SECONDS"] = "6"
    processes.start_sweeper()
    processes.start_worker("first", slots=1)
    base = runs.build(
        kind="build-base", name="small-base", label="Build small-base",
        params={"steps": 10, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 32, "layers": 1, "intermediate_size": 64},
        models={}, publish={"kind": "base", "toy": True, "simulated": False, "roles": {}, "corpus": "toy corpus base"},
        waits_for=[], seed=1, preset="", actor=dan,
    )  # fmt: skip
    wait_until(lambda: done(base.job), seconds=120, why="the base is built")
    policy = ModelVersion.objects.get(name="small-base")

    run = runs.start(
        snapshot=build.snapshot(pairs=48), policy=policy, preset="demo", name="twice-begun",
        changes={"epochs": 6.0, "checkpoint_steps": 2}, actor=dan,
    )  # fmt: skip
    wait_until(lambda: kept_of(run) >= 4, seconds=120, why="DPO takes steps, and the runner keeps checkpoints")
    processes.kill("first")
    assert state_of(run) == State.RUNNING
    processes.start_worker("second", slots=1)

    wait_until(lambda: done(run.job), seconds=240, why="the second worker ended the run")
    assert ModelVersion.objects.filter(name="twice-begun").count() == 1
    assert ModelVersion.objects.filter(origin=str(run.job.public_id)).count() == 1
    attempts = Attempt.objects.filter(job=run.job_id).order_by("number")
    assert [attempt.reason for attempt in attempts] == ["lease_expired", "succeeded"]
    # The second attempt went on where the first one's last kept checkpoint was, and its answers to the fixed prompts were not lost.
    made = ModelVersion.objects.get(name="twice-begun")
    assert made.metrics["resumed_from"] >= 4
    assert made.metrics["steps"] > made.metrics["resumed_from"]
    steps = list(MetricPoint.objects.filter(run=run, name="loss").order_by("step").values_list("step", flat=True))
    assert steps == list(range(1, made.metrics["steps"] + 1))

    # An evaluation that has ended, so that there are gates; nobody asks the models anything here.
    asked = Job.objects.create(kind="evaluate", label="Evaluate", state=State.SUCCEEDED, spec={}, spec_digest="d" * 64, ended_at=Now())
    evaluation = Evaluation.objects.create(job=asked, policy=made, reference=policy, snapshot=run.snapshot, finished_at=Now())
    before = reproducible(evaluation)
    assert (before.state, before.value) == ("unknown", "not replayed")
    (begin,) = before.remedies
    as_dan.post(begin.url)
    replay = run.replayed_by.get()
    wait_until(lambda: kept_of(replay) >= 4, seconds=120, why="the replay takes steps")
    assert reproducible(evaluation).value == "being replayed"
    processes.kill("second")
    processes.start_worker("third", slots=1)
    wait_until(lambda: done(replay.job), seconds=240, why="the third worker ended the replay")
    attempts = Attempt.objects.filter(job=replay.job_id).order_by("number")
    assert [attempt.reason for attempt in attempts] == ["lease_expired", "succeeded"]
    agreed = replays.agreement(Run.objects.get(pk=run.pk))
    assert agreed is not None
    assert (agreed.state, agreed.replay) == (replays.SAME, replay)
    after = reproducible(evaluation)
    assert (after.state, after.value) == ("passed", "the same weights, to the last bit")
    # It made no version, and its page says what came of it.
    assert ModelVersion.objects.count() == 2
    assert "the same weights, to the last bit" in as_dan.get(f"/runs/{replay.pk}/").text
