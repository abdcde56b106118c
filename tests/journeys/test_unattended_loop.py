"""Judgements become a proposal by themselves, though whoever is at work is killed at every stage; once, and the same again."""

from pathlib import Path

import pytest

from accounts.models import User
from annotation.models import Snapshot
from jobs.models import Attempt, Job, State
from modelhub import aliases
from modelhub.models import AliasMove, AliasName, ModelVersion
from tests.journeys import loops
from tests.journeys.toys import done
from tests.workers import Processes, wait_until
from training import loop_digests, loop_policies
from training.models import Evaluation, LoopPolicy, LoopRound, Promotion, Run, SuiteRun

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]
SAMPLES = 60


def running(kind: str) -> Job | None:
    """The job of this kind whose child has said something."""
    return Job.objects.filter(kind=kind, state=State.RUNNING).exclude(phase="").first()


def killed_at(processes: Processes, worker: str, kind: str, following: str) -> Job:
    """Kill the worker in the middle of a job of `kind`; another takes its place."""
    wait_until(lambda: running(kind), seconds=300, why=f"a job of the kind {kind} runs", every=0.05)
    hit = running(kind)
    processes.kill(worker)
    assert hit is not None
    hit.refresh_from_db()
    assert hit.state == State.RUNNING
    processes.start_worker(following, slots=1)
    return hit


def policy(name: str, batches: list, start: ModelVersion, dan: User) -> LoopPolicy:  # type: ignore[type-arg]
    campaign = loops.judged(name, batches)
    return loop_policies.put(campaign=campaign, active=True, pairs_needed=20, policy=start, preset="test", seed=1, actor=dan)


def state_of(loop: LoopPolicy) -> str:
    one = LoopRound.objects.filter(loop=loop).first()
    assert one is None or one.state != "failed", one.why_ended
    return one.state if one else ""


def killed_at_every_stage(processes: Processes, tmp_path: Path, dan: User) -> list[str]:
    """The story; the stages at which whoever was at work was killed, each noted once what it left was seen."""
    survived = []
    processes.environment["ROUNDS_LEASE_SECONDS"] = "5"
    base = loops.toy_base(tmp_path / "tiny")
    aliases.move(name=AliasName.CHAMPION, to=base, actor=dan, expected=None, reason="The first")
    batches = loops.two_answers(SAMPLES)
    loop = policy("Toys", batches, base, dan)

    # Freezing: the sweeper is killed while it waits for the campaign's row, and nothing is there.
    with loops.held(loop.campaign):
        processes.start_sweeper()
        loops.until_somebody_waits()
        processes.kill("sweeper")
        processes.start_worker("first", slots=1)
    assert not LoopRound.objects.exists()
    assert not Snapshot.objects.exists()
    survived.append("snapshot")
    processes.start_sweeper()

    # Training, comparing, asking: the worker and its child are killed, and another worker begins the job anew.
    hit = [killed_at(processes, "first", "dpo", "second"), killed_at(processes, "second", "evaluate", "third")]
    hit.append(killed_at(processes, "third", "suite", "fourth"))

    # Proposing: the worker and the sweeper are killed while they wait for the round's row, after its last job has ended.
    one = LoopRound.objects.get()
    asked = [made.job for made in one.suite_runs.select_related("job")]
    assert len(asked) == 2
    with loops.held(one):
        # The one whose worker was killed may well come last: its lease has to run out first.
        wait_until(lambda: all(done(job) for job in asked), seconds=300, why="both have been asked", every=0.1)
        loops.until_somebody_waits()
        processes.kill("fourth")
        processes.kill("sweeper")
    assert state_of(loop) == "working"
    processes.start_sweeper()
    wait_until(lambda: state_of(loop) == "proposed", seconds=120, why="the round is proposed")

    # One of each, however often whoever was at work was killed.
    one.refresh_from_db()
    made = ModelVersion.objects.get(kind="dpo")
    assert (Snapshot.objects.count(), Run.objects.count(), Evaluation.objects.count(), LoopRound.objects.count()) == (1, 1, 1, 1)
    assert sorted(SuiteRun.objects.values_list("version__name", flat=True)) == sorted([made.name, "tiny-base"])
    assert Job.objects.exclude(state=State.SUCCEEDED).count() == 0
    for job in hit:
        assert list(Attempt.objects.filter(job=job).order_by("number").values_list("reason", flat=True)) == ["lease_expired", "succeeded"]
        survived.append(job.kind)
    survived.append("proposing")
    assert one.lineage_digest == loop_digests.of(one)
    # Nothing was promoted.
    assert aliases.current(AliasName.CHAMPION) == base
    assert AliasMove.objects.count() == 1
    assert not Promotion.objects.exists()

    # The same once more, from a copy of the campaign and without a kill: another model version of the same bytes, the same digest.
    copy = policy("Toys, a copy", batches, base, dan)
    processes.start_worker("fifth", slots=1)
    wait_until(lambda: state_of(copy) == "proposed", seconds=400, why="the copy's round is proposed")
    again = LoopRound.objects.get(loop=copy)
    assert again.run is not None
    assert again.run.output is not None
    assert again.run.output != made
    assert again.run.output.artifact == made.artifact
    assert again.lineage_digest == one.lineage_digest
    return survived


def test_the_loop_runs_to_one_proposal_though_it_is_killed_at_every_stage(processes: Processes, tmp_path: Path, dan: User) -> None:
    assert killed_at_every_stage(processes, tmp_path, dan) == ["snapshot", "dpo", "evaluate", "suite", "proposing"]
