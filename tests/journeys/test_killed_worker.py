"""A worker killed in the middle of real DPO: another one goes on from the last checkpoint, and exactly one model version comes of it."""

import pytest

from accounts.models import User
from jobs.models import Attempt, Job, State
from modelhub.models import ModelVersion
from tests.journeys.toys import done
from tests.training import build
from tests.workers import Processes, wait_until
from training import runs
from training.models import MetricPoint, Run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def state_of(run: Run) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=run.job_id)


def kept_of(run: Run) -> int:
    """The step of the newest checkpoint that the runner has taken out of the attempt's reach, or 0."""
    return Job.objects.values_list("checkpoint_step", flat=True).get(pk=run.job_id) or 0


def test_a_killed_worker_leaves_exactly_one_model_version(processes: Processes, dan: User) -> None:
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
